"""A token artifact to the held-out documents of every source."""

from tasks.artifacts.token_streams import read_documents, token_type
from tasks.evaluation.evaluate import HeldOut
from tasks.runtime.production import Reader


def held_out_documents(tokens: Reader) -> list[HeldOut]:
    """List every source's held-out stream with its documents' places and sizes."""
    kind = token_type(tokens.manifest.counts["vocabulary_size"]).name
    found = []
    for source in sorted(tokens.manifest.details["sources"]):
        rows = read_documents(tokens.path(f"held_out/{source}.documents.jsonl.zst"))
        documents = [(row["start"], row["tokens"], row["bytes"]) for row in rows]
        name = f"held_out/{source}.bin"
        key, sha256 = f"{tokens.folder}/{name}", tokens.manifest.file(name).sha256
        found.append(HeldOut(source, str(tokens.path(name)), kind, documents, key, sha256))
    return found
