"""`reynard reproduce`: a released model's recipe once more, from its folder alone, and whether the same digests come out."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from recipes.errors import BadInput
from reynard.run import ROOT
from reynard.where import find_store, printable, refusing

if TYPE_CHECKING:
    from tasks.lineage.compare import Row
    from tasks.lineage.models import Model

PACKAGES_SHOWN, REASONS_SHOWN = 8, 6


def reproduce(
    model: Annotated[Path, typer.Argument(help="A released folder: its reynard/recipe.yaml and reynard/lineage.json are all that is needed.")],
    into: Annotated[str, typer.Option(help="The run's folder, which must not be there yet. Default: runs/NAME-again.")] = "",
    made: Annotated[str, typer.Option(help="Run nothing: compare with the store of a run that was made before.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write the table as JSON, after the run's own output.")] = False,
) -> None:  # fmt: skip
    """Run the recipe of a released model again into a fresh store, and compare digests artifact by artifact."""
    with refusing(BadInput, OSError):
        from tasks.artifacts.store import open_store
        from tasks.lineage.compare import compare, compare_files
        from tasks.lineage.graph import store_graph
        from tasks.lineage.models import LINEAGE, RECIPE, open_model

        if not (model / LINEAGE).is_file() or not (model / RECIPE).is_file():
            raise BadInput(f"{model} has no {LINEAGE} and {RECIPE}: only a released folder can be made again")
        earlier = find_store("", made).store if made else None
        released = open_model(str(model), None)
        graph = store_graph(earlier or open_store(run_again(model, released, into)))
        rows = compare(released.graph, released.roots, graph) + compare_files(model, graph)
    if as_json:
        typer.echo(orjson.dumps([row.__dict__ for row in rows], option=orjson.OPT_INDENT_2).decode())
    else:
        show(rows)
    if any(row.verdict != "equal" for row in rows):
        raise typer.Exit(1)


def run_again(folder: Path, released: "Model", into: str) -> str:
    """Say what is not as it was, run the pipeline into a fresh store, and return the store; OSError if the run fails."""
    from recipes.load import load_recipe
    from tasks.lineage.compare import changed_code, changed_environment, workers_of
    from tasks.lineage.models import RECIPE

    recipe = load_recipe(folder / RECIPE)
    target = Path(into or Path(os.environ.get("REYNARD_RUNS", "runs")) / f"{recipe.name}-again").absolute()
    if target.exists():
        raise BadInput(f"{target} is there already, and a model is made again from nothing: name another place by --into, or delete it")
    for package in changed_code(released.graph):
        typer.secho(f"! the code of {package} is not that which made the model: digests may differ", fg="yellow")
    packages = changed_environment(folder, released.graph)
    for line in packages[:PACKAGES_SHOWN]:
        typer.secho(f"! {printable(line)}", fg="yellow")
    if len(packages) > PACKAGES_SHOWN:
        typer.secho(f"! and {len(packages) - PACKAGES_SHOWN} more packages of another version", fg="yellow")
    pyflyte = Path(sys.executable).with_name("pyflyte")
    command = [str(pyflyte), "run", str(ROOT / "workflows/pipeline.py"), "pipeline", "--recipe", str((folder / RECIPE).absolute())]
    workers = workers_of(released.graph)
    variables = {"REYNARD_RUNS": str(target.parent), "REYNARD_STORE": str(target / "store")}
    variables |= {"REYNARD_WORKERS": str(workers)} if workers else {}
    variables |= {"REYNARD_APPROVE": "yes"}  # of a model that somebody released before: nothing leaves this machine
    variables |= {"REYNARD_LATEST": "no"}  # a run that only checks another is not what people want to chat with
    done = subprocess.run([*command, "--name", target.name], env=os.environ | variables)
    if done.returncode:
        raise OSError(f"the run ended with status {done.returncode}: its output above says why")
    return variables["REYNARD_STORE"]


def show(rows: list["Row"]) -> None:
    """Print the table, then the first artifact that differs and what may be the reason."""
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        colour = {"equal": "green", "different": "red"}.get(row.verdict, "yellow")
        digests = row.digest[:16] if row.verdict == "equal" else f"{row.digest[:16]} → {row.again[:16] or '–'}"
        typer.echo(f"  {printable(row.name):<{width}}  ", nl=False)
        typer.secho(f"{row.verdict:<10}", fg=colour, nl=False)
        typer.echo(digests)
    first = next((row for row in rows if row.verdict != "equal"), None)
    equal = sum(row.verdict == "equal" for row in rows)
    if first is None:
        typer.secho(f"✓ made again: all {equal} have the same digests", fg="green", bold=True)
        return
    typer.secho(f"✗ {len(rows) - equal} of {len(rows)} are not equal; the first: {printable(first.name)}", fg="red", bold=True)
    for reason in first.reasons[:REASONS_SHOWN]:
        typer.echo(f"  {printable(reason)}")
