"""Curated documents to token streams: tokenizer trained or given, documents held out by content hash, ids written flat."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import sentencepiece

from recipes.errors import BadInput
from recipes.schema import Tokenization
from tasks.artifacts.documents import read_lines, write_lines
from tasks.artifacts.manifest import JSON
from tasks.artifacts.token_streams import token_type
from tasks.runtime.progress import Progress
from tasks.tokenization.sentencepiece_model import check_conversion, load_given, open_model, to_transformers, train

LENGTH_EDGES = [0, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]
CHECKED_DOCUMENTS = 40  # of each source, compared between SentencePiece and the converted tokenizer at every run
BATCH_DOCUMENTS = 64

Shards = dict[str, list[Path]]
Add = Callable[[Path, str], None]


def is_held_out(document_id: str, fraction: float) -> bool:
    """Tell whether a document is kept for validation: a function of its id alone, so new shards never move old documents."""
    return int(hashlib.sha256(f"held-out:{document_id}".encode()).hexdigest()[:13], 16) / 16**13 < fraction


def tokenize(section: Tokenization, shards: Shards, scratch: Path, add: Add) -> tuple[JSON, JSON]:
    """Tokenize all documents (paths of document shards by source); return the artifact's counts and details."""
    if section.train is not None:
        print(f"  training a {section.train.type} tokenizer of {section.vocabulary_size:,} pieces", flush=True)
        data = train(section, _interleave(shards, section.held_out_fraction))
        licence = "as its training documents"
    else:
        assert section.load is not None
        data, licence = load_given(section.load), section.load.licence
    processor = open_model(data, section.vocabulary_size)
    folder = scratch / "tokenizer"
    to_transformers(data, section.bos_per_document, folder)
    compared = check_conversion(processor, folder, _first_texts(shards))
    for file in sorted(folder.iterdir()):
        add(file, f"tokenizer/{file.name}")
    sources = {}
    total_bytes = sum(path.stat().st_size for paths in shards.values() for path in paths)
    with Progress("tokenize", total_bytes or None, "bytes of shards") as progress:
        for source, paths in shards.items():
            sources[source] = _write_source(section, processor, source, paths, scratch, add, progress)
    counts = {
        "tokens": sum(row["tokens"] for row in sources.values()),
        "held_out_tokens": sum(row["held_out_tokens"] for row in sources.values()),
        "documents": sum(row["documents"] for row in sources.values()),
        "vocabulary_size": section.vocabulary_size,
    }
    if not counts["held_out_tokens"]:
        raise BadInput(
            f"tokenization.held_out_fraction {section.held_out_fraction} holds out none of {counts['documents']} documents, and evaluation needs some: "
            "raise it, or add documents"
        )
    tokenizer = {
        "type": "trained " + section.train.type if section.train else "given", "pieces": processor.vocab_size(), "licence": licence,
        "sha256": hashlib.sha256(data).hexdigest(), "bos": processor.bos_id(), "eos": processor.eos_id(),
        "documents_compared_with_conversion": compared,
    }  # fmt: skip
    return counts, {"sources": sources, "tokenizer": tokenizer}


def _interleave(shards: Shards, fraction: float) -> Iterator[str]:
    """Take training documents from all sources in turn, so that a sample of any size sees every source."""
    readers = [(row for path in paths for row in read_lines(path)) for paths in shards.values()]
    while readers:
        for reader in list(readers):
            row = next(reader, None)
            if row is None:
                readers.remove(reader)
            elif not is_held_out(row["id"], fraction):
                yield row["text"]


def _first_texts(shards: Shards) -> Iterator[str]:
    for paths in shards.values():
        for number, row in enumerate(read_lines(paths[0])):
            if number >= CHECKED_DOCUMENTS:
                break
            yield row["text"][:20_000]


def _write_source(
    section: Tokenization,
    processor: sentencepiece.SentencePieceProcessor,
    source: str,
    paths: list[Path],
    scratch: Path,
    add: Add,
    progress: Progress,
) -> JSON:
    kind = token_type(section.vocabulary_size)
    files = {split: (scratch / f"{split}.bin").open("wb") for split in ("train", "held_out")}
    index: dict[str, list[JSON]] = {"train": [], "held_out": []}
    ends = {"train": 0, "held_out": 0}
    for path in paths:
        size = path.stat().st_size
        for rows, part in _batches(path):
            for row, ids in zip(rows, processor.encode([row["text"] for row in rows], num_threads=2), strict=True):
                split = "held_out" if is_held_out(row["id"], section.held_out_fraction) else "train"
                ids = [*([processor.bos_id()] if section.bos_per_document else []), *ids, processor.eos_id()]
                files[split].write(np.asarray(ids, dtype=kind).tobytes())
                index[split].append(
                    {"id": row["id"], "start": ends[split], "tokens": len(ids), "bytes": len(row["text"].encode()), "raw": row["raw"]}
                )
                ends[split] += len(ids)
            progress.advance(size * part)
    for split, file in files.items():
        file.close()
        add(scratch / f"{split}.bin", f"tokens/{source}/{split}.bin")
        write_lines(scratch / "index.jsonl.zst", index[split])
        add(scratch / "index.jsonl.zst", f"tokens/{source}/{split}.index.jsonl.zst")
    lengths = [row["tokens"] for rows in index.values() for row in rows]
    return {
        "documents": len(index["train"]), "tokens": ends["train"], "held_out_documents": len(index["held_out"]), "held_out_tokens": ends["held_out"],
        "bytes": sum(row["bytes"] for rows in index.values() for row in rows),
        "length_histogram": {"edges": LENGTH_EDGES, "counts": np.histogram(lengths, bins=[*LENGTH_EDGES[:-1], 2**62])[0].tolist()},
    }  # fmt: skip


def _batches(path: Path) -> Iterator[tuple[list[JSON], float]]:
    """Read a shard in batches of documents, each with the share of the shard it is."""
    rows = list(read_lines(path))
    for start in range(0, len(rows), BATCH_DOCUMENTS):
        batch = rows[start : start + BATCH_DOCUMENTS]
        yield batch, len(batch) / len(rows)
