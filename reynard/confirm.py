"""`reynard confirm`: does another program read a released model as it was released?"""

from pathlib import Path
from typing import Annotated

import typer

from recipes.errors import BadInput

READERS = ("llama.cpp", "vllm")


def confirm(
    folder: Annotated[Path, typer.Argument(help="The released folder, such as runs/latest/release/chat.")],
    url: Annotated[str, typer.Option(help="A server that serves it, such as http://127.0.0.1:8080.")],
    reader: Annotated[str, typer.Option(help=f"The program behind it: {' or '.join(READERS)}.")] = "llama.cpp",
    margin: Annotated[float, typer.Option(help="Compare an answer up to the first token that led by less, in logits.")] = 0.05,
) -> None:
    """Compare tokens and greedy answers of an independent reader with those in the folder's reynard/samples.json."""
    from tasks.serving.reader import confirm as compare

    try:
        if reader not in READERS:
            raise BadInput(f"--reader {reader!r} is not known: choose one of {', '.join(READERS)}")
        readings = compare(folder, url, reader, margin)
    except BadInput as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(2) from None
    for one in readings:
        answer = (
            f"{one.agreed} of {one.compared} answer tokens agree" if one.compared else "undecided from the first token on: none is compared"
        )
        typer.echo(f"{'✓' if one.agrees else '✗'} {one.prompt!r:.70}: tokens {'agree' if one.tokens_agree else 'differ'}, {answer}")
    if not all(one.agrees for one in readings):
        typer.secho(f"{reader} reads {folder} differently: do not publish before it is known why", fg="red", err=True)
        raise typer.Exit(1)
