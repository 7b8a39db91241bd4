"""`reynard ui`: open MLflow's own interface on a run's tracking store."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

LATEST = Path(os.environ.get("REYNARD_RUNS", "runs")) / "latest"


def ui(
    run: Annotated[Path, typer.Argument(help="A run's folder.")] = LATEST,
    port: Annotated[int, typer.Option(help="The port on 127.0.0.1.")] = 5000,
) -> None:
    """Show a run in MLflow's interface."""
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        if uri.startswith("http"):
            typer.echo(f"this run is tracked by the MLflow server at {uri}: open that address")
            return
    else:
        database = run.resolve() / "mlflow.db"
        if not database.is_file():
            typer.secho(f"error: {run} has no mlflow.db: run `make run` first, or give a run's folder", fg="red", err=True)
            raise typer.Exit(2)
        uri = f"sqlite:///{database}"
    typer.echo(f"MLflow on http://127.0.0.1:{port} (stop with Ctrl-C)")
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        uri,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    raise typer.Exit(subprocess.run(command).returncode)
