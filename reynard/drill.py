"""`reynard drill`: a recipe's pre-training killed at random points, and the proof that nothing was lost."""

import tempfile
from pathlib import Path
from typing import Annotated

import orjson
import typer

from recipes.errors import BadInput
from recipes.load import load_recipe


def drill(
    recipe: Annotated[Path, typer.Argument(help="The recipe file: a small one, since it is trained once a draw.")] = Path("recipes/tiny.yaml"),
    draws: Annotated[int, typer.Option(help="How often something is killed.")] = 5,
    seed: Annotated[int, typer.Option(help="Decides what is killed when.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write the rows to this file.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where stores and logs go. Default: a temporary folder.")] = None,
) -> None:  # fmt: skip
    """Kill a worker, the Ray head, the driver, the S3 server and the MLflow server at random points; compare with an undisturbed run."""
    from tasks.drill.drill import Drill, Services

    try:
        loaded = load_recipe(recipe)
        if draws < 1:
            raise BadInput(f"--draws {draws}: give at least 1")
        with tempfile.TemporaryDirectory(prefix="reynard-drill-") as temporary:
            where = (folder or Path(temporary)).absolute()
            where.mkdir(parents=True, exist_ok=True)
            with Services(where) as services:
                rows = run_draws(Drill(loaded, where, services), draws, seed)
    except BadInput as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(2) from None
    if json:
        json.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2) + b"\n")
    equal = sum(row["equal"] for row in rows)
    typer.secho(
        f"{equal} of {len(rows)} draws ended bit for bit as the undisturbed run", fg="green" if equal == len(rows) else "red", bold=True
    )
    raise typer.Exit(int(equal != len(rows)))


def run_draws(made, draws: int, seed: int) -> list[dict]:
    """Run undisturbed, then all draws, with a line each."""
    found = made.undisturbed()
    typer.echo(f"undisturbed: {len(found['losses'])} steps, last loss {found['losses'][-1]:.4f}")
    typer.echo(f"{'draw':>4}  {'killed':<8}{'after step':>11}{'attempts':>10}{'seconds':>9}  result")
    rows = []
    for number in range(draws):
        row = made.draw(number, seed)
        rows.append(row)
        result = "equal, bit for bit" if row["equal"] else f"DIFFERS: {', '.join(row['differs']) or 'nothing was killed'}"
        result += " (during an upload)" if row["during_upload"] else ""
        typer.echo(
            f"{number:>4}  {row['victim']:<8}{row['killed_after_step'] or '–':>11}{row['attempts']:>10}{row['seconds']:>9.1f}  {result}"
        )
    return rows
