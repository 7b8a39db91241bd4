"""An artifact to a line that leads from Flyte's console to its run in MLflow and its place in the store."""

from tasks.artifacts.manifest import Manifest
from tasks.panels.formats import escaped


def links(manifest: Manifest, folder: str, mlflow: str) -> str:
    """Write where an artifact is kept, and where it is tracked; `mlflow` is the address of its run's page, or empty."""
    tracked = f" · {link('run in MLflow', mlflow)}" if mlflow.startswith(("http://", "https://")) else ""
    return (
        f'<p class="place"><strong>{escaped(manifest.name)}@{escaped(manifest.version[:8])}</strong>{tracked}<br/>'
        f"<code>{escaped(folder)}</code><br/><code>{escaped(manifest.digest)}</code></p>"
    )


def link(text: str, address: str) -> str:
    """Write a link that leaves Flyte's frame, where other sites may not be shown."""
    return f'<a href="{escaped(address)}" target="_blank" rel="noopener noreferrer">{escaped(text)}</a>'
