"""`reynard affected`: what a take-down of a source, a document or a conversation touches, and where training starts again."""

from typing import Annotated, Any

import orjson
import typer

from recipes.errors import BadInput
from reynard.where import find_store, printable, refusing

JSON = dict[str, Any]


def affected(
    document: Annotated[str, typer.Option(help="A document's id (32 hex digits), or the address of a conversation's raw row (or its end).")] = "",
    source: Annotated[str, typer.Option(help="A source's name, as in the recipe.")] = "",
    run: Annotated[str, typer.Option(help="The run in whose store to look. Default: the latest.")] = "",
    store: Annotated[str, typer.Option(help="Artifact store: a folder or s3://bucket/prefix.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write what is known as JSON.")] = False,
) -> None:  # fmt: skip
    """List the artifacts and models that something is in, the tokens trained from it, and the cheapest place to start again."""
    with refusing(BadInput, LookupError, OSError):
        if bool(document) == bool(source):
            raise BadInput("say what has to go: --document ID or --source NAME, one of them")
        from tasks.lineage import affected as removal
        from tasks.lineage.graph import store_graph
        from tasks.lineage.seen import Training

        where = find_store(run, store).store
        graph = store_graph(where)
        training = Training(where, graph)
        if source:
            target = removal.source_target(graph, training, source)
        elif len(document) == 32 and set(document.lower()) <= set("0123456789abcdef"):
            target = removal.document_target(where, graph, training, document.lower())
        else:
            target = removal.conversation_target(graph, training, document)
        found = removal.affected(graph, training, target)
    if as_json:
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        show(found)


def show(found: JSON) -> None:
    """Print what holds it, what was trained on it, and where each model starts again."""
    typer.secho(printable(found["removed"]), bold=True)
    for note in found["notes"]:
        typer.echo(f"  note: {printable(note)}")
    typer.echo("artifacts")
    for row in found["artifacts"]:
        typer.echo(f"  {printable(row['artifact']):<36} {printable(row['why'])}")
    if not found["artifacts"]:
        typer.echo("  none")
    typer.echo("trained on")
    for row in found["stages"]:
        share = f", {row['tokens'] / row['stage_tokens']:.2%} of its own" if row["stage_tokens"] else ""
        typer.echo(
            f"  {row['checkpoint']:<36} {row['tokens']:,} tokens{share}; first at step {row['first_step']:,}, last at step {row['last_step']:,}"
        )
    if not found["stages"]:
        typer.echo("  by no stage")
    if found["published"]:
        typer.echo("published: to be withdrawn, or replaced by a new version")
        for line in dict.fromkeys(found["published"]):
            typer.secho(f"  {printable(line)}", fg="red")
    typer.echo("models")
    for row in found["models"]:
        show_model(row)


def show_model(row: JSON) -> None:
    """Print where a model starts again."""
    name = f"{row['model']}{' (' + row['repository'] + ')' if row['repository'] else ''}"
    if (restart := row["restart"]) is None:
        typer.secho(f"  {name}: no step saw it, the weights stay as they are", fg="green")
        return
    whole = f"{restart['tokens_again']:,} of {restart['tokens_all']:,} tokens"
    start = (
        f"from {restart['from']}, the last checkpoint before" if restart["from"] else "from the first step: no checkpoint is from before"
    )
    when = f" (step {restart['first_step']:,})" if restart["first_step"] else ""
    said = "may have seen it" if row["unknown"] else f"saw {row['tokens']:,} tokens of it"
    typer.secho(f"  {name}: {said}", fg="red")
    typer.echo(f"    start again {start} it{when}: {', '.join(restart['stages_again'])}; {whole}")
    if restart["published_before"]:
        typer.echo(f"    {restart['published_before']} is nearer, and has weights alone: AdamW's moments would begin anew")
