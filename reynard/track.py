"""`reynard track`: send to MLflow what it did not take while a run went on, from the notes in the artifact store."""

from typing import Annotated

import typer

from recipes.errors import BadInput
from reynard.where import find_store, printable, refusing

SECONDS = 3600.0


def track(
    run: Annotated[str, typer.Option(help="The run in whose store notes are looked for. Default: the latest.")] = "",
    store: Annotated[str, typer.Option(help="Artifact store: a folder or s3://bucket/prefix.")] = "",
    to: Annotated[str, typer.Option(help="MLflow's address, if the same server is found elsewhere now.")] = "",
) -> None:
    """Send what MLflow missed: runs, metrics and their ends. What it has already is not sent again."""
    from tasks.runtime.outbox import Outbox
    from tasks.runtime.tracking import send_owed

    with refusing(BadInput, OSError):
        outbox = Outbox(find_store(run, store).store)
        addresses = {folder.split("/")[1]: to or outbox.note(folder)["uri"] for folder in outbox.owed()}
    left = 0
    for parent, uri in addresses.items():
        owed = len(outbox.owed(parent))
        still = send_owed(outbox, uri, parent, SECONDS)
        left += still
        typer.echo(f"{parent}: {owed - still} of {owed} notes sent to {printable(uri)}")
    if left:
        typer.secho(
            f"error: {left} notes are still to be sent: try again when MLflow answers, or say by --to where it is now", fg="red", err=True
        )
        raise typer.Exit(1)
    if not addresses:
        typer.echo("nothing is to be sent: MLflow has all that the store says")
