"""`reynard plan`: what a run takes, how long, how much, and what of it is done already, before anything is spent."""

import os
from pathlib import Path
from typing import Annotated

import orjson
import typer

from recipes.errors import BadInput
from recipes.load import load_recipe
from reynard.where import refusing


def plan(
    recipe: Annotated[Path, typer.Argument(help="The recipe file.")] = Path("recipes/tiny.yaml"),
    profile: Annotated[str, typer.Option(help="Cluster profile: local, smoke, or h100xN (N H100s). Default: REYNARD_PROFILE, or local.")] = "",
    mfu: Annotated[float, typer.Option(help="Part of the GPUs' dense bfloat16 peak that training reaches; 0.40 to 0.48 is published.")] = 0.4,
    price: Annotated[float, typer.Option(help="Price of a GPU-hour.")] = 2.5,
    micro_batch_tokens: Annotated[int, typer.Option(help="Tokens that a GPU takes at once. Default: the profile's.")] = 0,
    tokens_per_second: Annotated[float, typer.Option(help="Measured tokens per second of all workers, in place of --mfu.")] = 0.0,
    name: Annotated[str, typer.Option(help="The run whose store is looked at: runs/NAME/store. Default: the recipe's name.")] = "",
    store: Annotated[str, typer.Option(help="Artifact store: a folder or s3://bucket/prefix. Default: REYNARD_STORE, or runs/NAME/store.")] = "",
    html: Annotated[Path | None, typer.Option(help="Write the plan as a page, too.")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write the plan as JSON, too.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End with exit code 1 if there are warnings.")] = False,
) -> None:  # fmt: skip
    """Plan a run: stages, tokens, epochs, learning rate, time, memory, storage, money, and which artifacts stay valid."""
    with refusing(BadInput, OSError):
        loaded = load_recipe(recipe)
        from tasks.panels.plan import plan_page
        from tasks.planning.plan import Assumptions, make_plan, store_root
        from tasks.planning.text import plan_text

        profile = profile or os.environ.get("REYNARD_PROFILE", "local")
        made = make_plan(
            loaded, Assumptions(profile, mfu, price, micro_batch_tokens, tokens_per_second), store_root(name or loaded.name, store)
        )
        if html:
            html.write_text(plan_page(made), encoding="utf-8")
        if as_json:
            as_json.write_bytes(orjson.dumps(made, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS))
    typer.echo(plan_text(made))
    if strict and made["warnings"]:
        raise typer.Exit(1)
