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
WORKFLOWS = ("pipeline", "plan", "data", "pretrain", "sft", "evaluate", "release", "publish", "checkpoints")


def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe file.")] = Path("recipes/tiny.yaml"),
    workflow: Annotated[str, typer.Option(help=f"What to run: {', '.join(WORKFLOWS)}.")] = "pipeline",
    name: Annotated[str, typer.Option(help="The run's name; its folder is runs/NAME. Default: the recipe's name.")] = "",
    store: Annotated[
        str, typer.Option(help="Artifact store: a folder or s3://bucket/prefix. Default: REYNARD_STORE, or runs/NAME/store.")
    ] = "",
    approve: Annotated[
        bool,
        typer.Option(
            "--approve", help="Approve the releases that passed all checks, where the recipe asks for a person (release.approval)."
        ),
    ] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="Then publish models, checkpoints and data to the Hugging Face Hub, with HF_TOKEN.")
    ] = False,
) -> None:
    """Run a workflow on a recipe: raw documents to a released chat model."""
    try:
        if workflow not in WORKFLOWS:
            raise BadInput(f"workflow {workflow!r} does not exist: choose one of {', '.join(WORKFLOWS)}")
        section = load_recipe(recipe).release
        if publish or workflow == "publish":
            may_publish(section.organization)
    except (BadInput, OSError) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(2 if isinstance(error, BadInput) else 1) from None
    for one in dict.fromkeys([workflow, *(["publish"] if publish else [])]):
        if status := run_workflow(recipe, one, name, store, approve):
            raise typer.Exit(status)


def may_publish(organization: str) -> None:
    """Ask the Hub, before anything is spent, whether the token may publish under an account; BadInput if not."""
    from tasks.hub.client import Hub, endpoint, token

    Hub(endpoint(), token()).account(organization)


def run_workflow(recipe: Path, workflow: str, name: str, store: str, approve: bool) -> int:
    """Run `pyflyte run` on a workflow, hand on the signals that end it, and return its status."""
    pyflyte = Path(sys.executable).with_name("pyflyte")
    command = [str(pyflyte), "run", str(ROOT / "workflows" / f"{workflow}.py"), workflow, "--recipe", str(recipe.absolute())]
    command += ["--name", name] if name else []
    command += ["--store", store] if store else []
    typer.echo(f"$ pyflyte {' '.join(shlex.quote(part.removeprefix(str(ROOT) + '/')) for part in command[1:])}")
    runs = os.environ.get("REYNARD_RUNS", str(Path.cwd() / "runs"))
    process = subprocess.Popen(command, env=os.environ | {"REYNARD_RUNS": runs} | ({"REYNARD_APPROVE": "yes"} if approve else {}))
    signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(number))  # it knows how to end without losing a step
    while True:
        with contextlib.suppress(KeyboardInterrupt):  # which the terminal sends to both
            return process.wait()
