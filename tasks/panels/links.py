"""An artifact to a panel that leads from Flyte's console to its run in MLflow and its place in the store."""

from tasks.artifacts.manifest import Manifest
from tasks.panels.formats import escaped
from tasks.panels.markup import Markup, panel, table


def links(manifest: Manifest, folder: str, mlflow: str) -> str:
    """Show where an artifact is tracked and kept; `mlflow` is the address of its run's page, or empty."""
    shown = Markup(f'<a href="{escaped(mlflow)}">{escaped(mlflow)}</a>') if mlflow.startswith(("http://", "https://")) else None
    rows = [["MLflow", shown], ["artifact", folder], ["digest", manifest.digest]]
    return panel(
        f"{manifest.name}@{manifest.version[:8]}", "Where it is tracked, and where it is kept.", table("", ["what", "where"], rows)
    )
