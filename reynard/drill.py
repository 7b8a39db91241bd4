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
    draws: Annotated[int, typer.Option(help="How often the recipe is trained with kills.")] = 5,
    kills: Annotated[int, typer.Option(help="How often something is killed in a draw.")] = 1,
    seed: Annotated[int, typer.Option(help="Decides at which steps something is killed.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write the rows to this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the table and the loss curves to this page.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where stores and logs go. Default: a temporary folder.")] = None,
) -> None:  # fmt: skip
    """Kill workers, the Ray head, the driver, the S3 server and the MLflow server at random points; compare with an undisturbed run."""
    from tasks.drill.drill import open_drill
    from tasks.drill.task import run_draws
    from tasks.panels.drill import drill_page

    try:
        loaded = load_recipe(recipe)
        for name, value, most in (("draws", draws, 10_000), ("kills", kills, loaded.pretraining.steps - 1)):
            if not 1 <= value <= most:
                raise BadInput(f"--{name} {value}: give at least 1 and at most {most:,}")
        with (
            tempfile.TemporaryDirectory(prefix="reynard-drill-") as temporary,
            open_drill(loaded, (folder or Path(temporary)).absolute(), kills) as made,
        ):
            rows = run_draws(made, draws, seed)
    except BadInput as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(2) from None
    if json:
        json.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2) + b"\n")
    if html:
        html.write_text(drill_page(loaded.name, made.baseline["losses"], rows, made.losses))
    equal = sum(row["equal"] for row in rows)
    typer.secho(
        f"{equal} of {len(rows)} draws ended bit for bit as the undisturbed run", fg="green" if equal == len(rows) else "red", bold=True
    )
    raise typer.Exit(int(equal != len(rows)))
