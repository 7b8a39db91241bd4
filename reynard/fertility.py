"""`reynard fertility`: a run's tokenizer beside another one on the same documents, source by source."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from recipes.errors import BadInput
from reynard.where import find_store, refusing

if TYPE_CHECKING:
    from tasks.runtime.production import Reader


def fertility(
    against: Annotated[Path, typer.Option(help="The other tokenizer: a SentencePiece `tokenizer.model`.")],
    run: Annotated[str, typer.Option(help="The run whose tokenizer and documents are used. Default: the latest.")] = "",
    store: Annotated[str, typer.Option(help="Artifact store, whose newest tokens are used: a folder or s3://bucket/prefix.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write the figures as JSON.")] = False,
) -> None:  # fmt: skip
    """Compare how many tokens two tokenizers need for a word and for a byte of each source's documents."""
    from tasks.tokenization.fertility import compare

    with refusing(BadInput, OSError, RuntimeError):  # RuntimeError: SentencePiece cannot read the other model
        if not against.is_file():
            raise BadInput(f"--against {against} is not a file: give a SentencePiece `tokenizer.model`")
        tokens, documents = open_tokens(run, store)
        models = {"own": tokens.path("tokenizer/tokenizer.model").read_bytes(), "other": against.read_bytes()}
        sources = dict.fromkeys(entry.path.split("/")[1] for entry in documents.manifest.matching("documents/"))
        found = {source: row for source in sources if (row := compare(texts(documents, source), models))["documents"]}
    if as_json:
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo(f"{'source':<28}{'bytes':>12}{'own per word':>14}{'other':>8}{'own per byte':>14}{'other':>8}{'own / other':>13}")
    for source, row in found.items():
        own, other = row["own"], row["other"]
        typer.echo(
            f"{source:<28}{row['bytes']:>12,}{own['per_word']:>14.3f}{other['per_word']:>8.3f}{own['per_byte']:>14.3f}{other['per_byte']:>8.3f}"
            f"{own['tokens'] / max(other['tokens'], 1):>13.2f}"
        )


def open_tokens(run: str, root: str) -> "tuple[Reader, Reader]":
    """Open the newest tokens artifact (of a run) and the documents it was made from; BadInput if there is none."""
    from tasks.artifacts.lineage import ancestors
    from tasks.artifacts.manifest import read_manifest
    from tasks.runtime.production import Reader

    where = find_store(run, root)
    folders = [key.removesuffix("/_SUCCESS") for key in where.store.list("tokens") if key.endswith("/_SUCCESS")]
    found = [manifest for folder in folders if (manifest := read_manifest(where.store, folder))]
    if not found:
        raise BadInput(f"{where.store.root} holds no finished tokens: let tokenization finish first, or give --store")
    last = where.versions.get("tokens")
    newest = max(found, key=lambda manifest: (manifest.version == last, str(manifest.recorded.get("finished", ""))))
    documents = next(manifest for manifest in ancestors(where.store, newest) if manifest.kind == "documents")
    return Reader(where.store, newest), Reader(where.store, documents)


def texts(documents: "Reader", source: str) -> Iterator[str]:
    """Yield the texts of a source's documents."""
    from tasks.artifacts.documents import read_lines

    rows: Iterator[dict[str, Any]] = (
        row for entry in documents.manifest.matching(f"documents/{source}/") for row in read_lines(documents.path(entry.path))
    )
    return (row["text"] for row in rows)
