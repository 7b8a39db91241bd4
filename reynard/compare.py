"""`reynard compare`: our models beside a report's table, with 95 % intervals, or a refusal where cards were not made alike."""

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from recipes.errors import BadInput
from reynard.where import find_store, refusing


def compare(
    models: Annotated[list[str] | None, typer.Argument(help="Scores, checkpoints or cards, or summary.json of MT-Bench. Default: all scores.")] = None,
    table: Annotated[str, typer.Option(help="The report's table: fox1-6, moxin-2, moxin-3 or moxin-4.")] = "moxin-2",
    run: Annotated[str, typer.Option(help="The run whose store is looked into. Default: the latest.")] = "",
    store: Annotated[str, typer.Option(help="Artifact store: a folder or s3://bucket/prefix.")] = "",
    html: Annotated[Path | None, typer.Option(help="Draw the comparison as a page, too.")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write the comparison as JSON, too.")] = None,
) -> None:  # fmt: skip
    """Set our models beside a report's table."""
    with refusing(BadInput, OSError):
        from tasks.evaluation.compare import compare as set_beside
        from tasks.evaluation.compare import find_entries
        from tasks.panels.comparison import comparison
        from tasks.panels.page import page

        where = find_store(run, store)
        found = set_beside(where.store, find_entries(where.store, models or latest(where.versions)), table)
        if html:
            facts = [("table", table), ("store", where.store.root)]
            html.write_text(page("Our scores beside a report's", found["source"], facts, [comparison(found)]), encoding="utf-8")
        if as_json:
            as_json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")
    show(found)


def latest(versions: dict[str, str]) -> list[str]:
    """Return the scores of a run by what its summary names; empty, which means all of the store, where it has none."""
    return [f"{name}@{version.rpartition('@')[2]}" for name, version in sorted(versions.items()) if name.startswith("scores-")]


def show(found: dict[str, Any]) -> None:
    """Print the table, ours first, and the differences between ours."""
    typer.echo(found["source"])
    if found["limit"] is not None:
        typer.echo(f"ours: the first {found['limit']:,} items of each part; the report's: full sets")
    wide = max(len(row["name"]) for row in found["rows"]) + 2
    typer.echo(" " * wide + "".join(f"{column['title']:>22}" for column in found["columns"]))
    for row in found["rows"]:
        cells = [f"{value['score']:.2f}" + ("" if row["reported"] else f" [{value['low']:.1f}, {value['high']:.1f}]") if value else "-"
                 for value in row["values"]]  # fmt: skip
        typer.echo(f"{row['name']:<{wide}}" + "".join(f"{cell:>22}" for cell in cells) + ("  reported" if row["reported"] else ""))
    for one in found["differences"]:
        typer.echo(
            f"{one['of']} above {one['above']} on {one['task']}, {one['shots']}-shot: {one['difference']:+.2f} [{one['low']:+.2f}, {one['high']:+.2f}]"
        )
