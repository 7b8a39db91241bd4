"""`reynard rescore`: the metrics of stored answers, computed once more without a model, and whether they are what the cards say."""

from typing import Annotated, Any

import orjson
import typer

from recipes.errors import BadInput
from reynard.where import find_store, printable, refusing


def rescore(
    label: Annotated[str, typer.Argument(help="A card, or scores with all of theirs: `name@version`. Default: every card of the store.")] = "",
    run: Annotated[str, typer.Option(help="The run whose store is looked into. Default: the latest.")] = "",
    store: Annotated[str, typer.Option(help="Artifact store: a folder or s3://bucket/prefix.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write what was found as JSON.")] = False,
) -> None:  # fmt: skip
    """Recompute every metric from the stored answers, without a model, and say what is not as its card says."""
    found: list[dict[str, Any]] = []
    with refusing(BadInput, OSError):
        from tasks.evaluation.cards import find_cards
        from tasks.evaluation.rescore import rescore as recompute

        where = find_store(run, store)
        for card in find_cards(where.store, label):
            named = {"card": f"{card.name}@{card.version[:8]}", "task": card.counts["task"]}
            try:
                found.append(named | recompute(where.store, card))
            except OSError as error:
                found.append(named | {"results": {}, "task_hashes": {}, "items": 0, "differences": [str(error)]})
            if not as_json:
                show(found[-1])
    if as_json:
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    if any(one["differences"] for one in found):
        raise typer.Exit(1)


def show(one: dict[str, Any]) -> None:
    """Print a card's metrics, and either that they are equal or what differs."""
    own = one["results"].get(one["task"], {})
    values = "  ".join(f"{key.removesuffix(',none')} {100 * value:.2f}" for key, value in own.items() if "_stderr" not in key)
    typer.echo(f"{one['card']}  {one['items']:,} items  {values}  ", nl=False)
    typer.secho("equal" if not one["differences"] else "NOT equal", fg="red" if one["differences"] else "green")
    for said in one["differences"]:
        typer.secho(f"  {printable(said)}", fg="red")
