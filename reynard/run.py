"""`reynard run`: a recipe's whole pipeline, a friendly front of `pyflyte run`."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from recipes.errors import BadInput
from recipes.load import load_recipe

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = ("pipeline", "plan", "data", "pretrain", "sft", "evaluate", "release", "checkpoints")


def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe file.")] = Path("recipes/tiny.yaml"),
    workflow: Annotated[str, typer.Option(help=f"What to run: {', '.join(WORKFLOWS)}.")] = "pipeline",
    name: Annotated[str, typer.Option(help="The run's name; its folder is runs/NAME. Default: the recipe's name.")] = "",
    store: Annotated[
        str, typer.Option(help="Artifact store: a folder or s3://bucket/prefix. Default: REYNARD_STORE, or runs/NAME/store.")
    ] = "",
) -> None:
    """Run a workflow on a recipe: raw documents to a released chat model."""
    try:
        if workflow not in WORKFLOWS:
            raise BadInput(f"workflow {workflow!r} does not exist: choose one of {', '.join(WORKFLOWS)}")
        load_recipe(recipe)
    except BadInput as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(2) from None
    pyflyte = Path(sys.executable).with_name("pyflyte")
    command = [str(pyflyte), "run", str(ROOT / "workflows" / f"{workflow}.py"), workflow, "--recipe", str(recipe.absolute())]
    command += ["--name", name] if name else []
    command += ["--store", store] if store else []
    typer.echo(f"$ pyflyte {' '.join(shlex.quote(part.removeprefix(str(ROOT) + '/')) for part in command[1:])}")
    runs = os.environ.get("REYNARD_RUNS", str(Path.cwd() / "runs"))
    process = subprocess.Popen(command, env=os.environ | {"REYNARD_RUNS": runs})
    signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(number))  # it knows how to end without losing a step
    while True:
        with contextlib.suppress(KeyboardInterrupt):  # which the terminal sends to both
            raise typer.Exit(process.wait())
