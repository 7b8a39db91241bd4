"""Curated documents to token streams, in steps that are each resumable: a rerun after any kill makes only what is missing.

    vocabulary   train or load the SentencePiece model, convert it for `transformers`, and compare the two
    encode       a shard of documents to a shard of tokens; documents chosen by their content hash are held out
    hold_out     all held-out documents of a source

A shard of tokens follows from its documents and the tokenizer alone, so nothing depends on the number of workers.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from recipes.errors import BadInput
from recipes.schema import Tokenization
from tasks.artifacts.documents import read_lines, write_lines
from tasks.artifacts.manifest import JSON
from tasks.artifacts.store import Store, sha256_bytes
from tasks.artifacts.token_streams import STREAMS, block_hashes, documents_file, token_type
from tasks.runtime.code import code_digest
from tasks.runtime.steps import Done, Item, Output, Steps
from tasks.tokenization.encoder import Encoder, EncodersDiffer, faster_encoder
from tasks.tokenization.sentencepiece_model import check_conversion, load_given, open_model, to_transformers, train

LENGTH_EDGES = [0, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]
CHECKED_DOCUMENTS = 40  # of each source, compared between SentencePiece and the converted tokenizer
CHECKED_CHARACTERS = 20_000  # of each of them
BATCH_CHARACTERS = 1_000_000
LIST, HELD_OUT_LIST = "documents.jsonl.zst", "held_out.documents.jsonl.zst"

Publish = Callable[[Done, str, str], None]  # a finished item's file becomes a file of the artifact
Add = Callable[[Path, str], None]


@dataclass(frozen=True)
class Shard:
    """A shard of curated documents, as a file in the store."""

    source: str
    number: int
    key: str
    bytes: int
    sha256: str

    def rows(self, store: Store, scratch: Path) -> Iterator[JSON]:
        """Read its documents, checked; a copy from across a network lies in `scratch` meanwhile."""
        return read_lines(store.local_copy(self.key, self.sha256, cache=scratch))


def is_held_out(document_id: str, fraction: float) -> bool:
    """Tell whether a document is kept for validation: a function of its id alone, so new shards never move old documents."""
    return int(sha256_bytes(f"held-out:{document_id}".encode())[:13], 16) / 16**13 < fraction


def tokenize(section: Tokenization, shards: list[Shard], steps: Steps, publish: Publish, add: Add, scratch: Path) -> tuple[JSON, JSON]:
    """Tokenize all documents; the artifact's files go out through `publish` and `add`. Return its counts and details."""
    code = code_digest("tasks.tokenization.tokenize")
    rule = section.model_dump(mode="json")
    work = VocabularyWork(section, shards)
    key = {"section": rule, "shards": [[shard.source, shard.sha256] for shard in shards]}
    vocabulary = steps.run("vocabulary", make_vocabulary, [Item(key, work)], code)[0]
    for name in sorted(vocabulary.files):
        publish(vocabulary, name, f"tokenizer/{name}")
    fixed = {"tokenizer": vocabulary.files["tokenizer.model"]["sha256"]} | {
        name: rule[name] for name in ("bos_per_document", "held_out_fraction", "vocabulary_size")
    }
    tokenizer = dict(vocabulary.counts)
    for slowly in (False, True):
        items = [
            Item(fixed | {"documents": shard.sha256, "slowly": slowly}, EncodeWork(section, shard, vocabulary, slowly), shard.bytes)
            for shard in shards
        ]
        encoded = steps.run("encode", encode_shard, items, code, "bytes of shards")
        if not (different := next((done.counts["different"] for done in encoded if "different" in done.counts), None)):
            break
        print(f"  {different}: everything is encoded again, by SentencePiece itself", flush=True)
        tokenizer["encoder"] = {"encoder": "SentencePiece", "why": different}
    by_source: dict[str, list[Done]] = {}
    rows = []
    for shard, done in zip(shards, encoded, strict=True):
        by_source.setdefault(shard.source, []).append(done)
        publish(done, "ids.bin", f"tokens/{shard.source}/{shard.number:05d}.bin")
        publish(done, "blocks", f"tokens/{shard.source}/{shard.number:05d}.blocks")
        publish(done, LIST, documents_file(shard.source, shard.number))
        sizes = {name: done.counts[name] for name in ("tokens", "documents", "first_id")}
        rows.append({"source": shard.source, "shard": shard.number} | sizes | {"blocks": done.files["blocks"]["sha256"]})
    write_lines(scratch / STREAMS, rows)
    add(scratch / STREAMS, STREAMS)
    together = [Item({"encoded": [done.digest for done in dones]}, dones) for dones in by_source.values()]
    for source, done in zip(by_source, steps.run("hold_out", join_held_out, together, code), strict=True):
        publish(done, "held_out.bin", f"held_out/{source}.bin")
        publish(done, HELD_OUT_LIST, f"held_out/{source}.documents.jsonl.zst")
    return facts(section, {source: [done.counts for done in dones] for source, dones in by_source.items()}, tokenizer)


def facts(section: Tokenization, sources: dict[str, list[JSON]], tokenizer: JSON) -> tuple[JSON, JSON]:
    """Add up what the shards counted; BadInput if no document is held out."""
    details = {}
    for source, shards in sources.items():
        names = ("documents", "tokens", "held_out_documents", "held_out_tokens", "bytes")
        details[source] = {name: sum(shard[name] for shard in shards) for name in names} | {
            "length_histogram": {"edges": LENGTH_EDGES, "counts": np.sum([shard["lengths"] for shard in shards], axis=0).tolist()},
            "longer_than": dict(
                zip(map(str, LENGTH_EDGES[1:]), np.sum([shard["longer"] for shard in shards], axis=0).tolist(), strict=True)
            ),
        }
    counts = {name: sum(row[name] for row in details.values()) for name in ("tokens", "held_out_tokens", "documents")}
    if not counts["held_out_tokens"]:
        raise BadInput(
            f"tokenization.held_out_fraction {section.held_out_fraction} holds out none of {counts['documents']} documents, and evaluation needs some: "
            "raise it, or add documents"
        )
    return counts | {"vocabulary_size": section.vocabulary_size}, {"sources": details, "tokenizer": tokenizer}


# --- the tokenizer ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VocabularyWork:
    """All documents, of which the tokenizer is trained on a sample."""

    section: Tokenization
    shards: list[Shard]


def make_vocabulary(store: Store, work: VocabularyWork, output: Output) -> JSON:
    """Step `vocabulary`: the files that `transformers` loads; return what is known of the tokenizer."""
    section = work.section
    if section.train is not None:
        texts = _interleave(store, work.shards, section.held_out_fraction, output.scratch)
        data, kind, licence = train(section, texts), f"trained {section.train.type}", "as its training documents"
    else:
        assert section.load is not None
        data, kind, licence = load_given(section.load), "given", section.load.licence
    processor = open_model(data, section.vocabulary_size)
    folder = output.scratch / "tokenizer"
    to_transformers(data, section.bos_per_document, folder)
    compared = check_conversion(processor, folder, _first_texts(store, work.shards, output.scratch))
    encoder = faster_encoder(data, _first_texts(store, work.shards, output.scratch))
    for file in sorted(folder.iterdir()):
        output.add(file, file.name)
    return {
        "type": kind, "pieces": processor.vocab_size(), "licence": licence, "sha256": output.files["tokenizer.model"]["sha256"],
        "bos": processor.bos_id(), "eos": processor.eos_id(), "documents_compared_with_conversion": compared,
        "encoder": asdict(encoder.choice),
    }  # fmt: skip


def _interleave(store: Store, shards: list[Shard], fraction: float, scratch: Path) -> Iterator[str]:
    """Take training documents from all sources in turn, so that a sample of any size sees every source."""
    sources = dict.fromkeys(shard.source for shard in shards)
    readers = [(row for shard in shards if shard.source == source for row in shard.rows(store, scratch)) for source in sources]
    while readers:
        for reader in list(readers):
            row = next(reader, None)
            if row is None:
                readers.remove(reader)
            elif not is_held_out(row["id"], fraction):
                yield row["text"]


def _first_texts(store: Store, shards: list[Shard], scratch: Path) -> Iterator[str]:
    given: dict[str, int] = {}
    for shard in shards:
        if given.get(shard.source, 0) < CHECKED_DOCUMENTS:
            for row in shard.rows(store, scratch):
                given[shard.source] = given.get(shard.source, 0) + 1
                yield row["text"][:CHECKED_CHARACTERS]
                if given[shard.source] == CHECKED_DOCUMENTS:
                    break


# --- tokens -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EncodeWork:
    """A shard of documents and the tokenizer for it; `slowly` is by SentencePiece itself, though a faster encoder was found equal before."""

    section: Tokenization
    shard: Shard
    vocabulary: Done
    slowly: bool


@lru_cache(maxsize=1)
def _open_encoder(path: Path, slowly: bool) -> Encoder:
    encoder = Encoder(path.read_bytes())
    if slowly:
        encoder.fall_back("it differed from a faster one")
    return encoder


def encode_shard(store: Store, work: EncodeWork, output: Output) -> JSON:
    """Step `encode`: training ids with the hashes of their blocks and the list of their documents; the same for those held out.

    Where the fast encoder is found to differ from SentencePiece the result says so, and has no files.
    """
    section, tokenizer = work.section, work.vocabulary.counts
    slowly = work.slowly or tokenizer["encoder"]["encoder"] == "SentencePiece"
    encoder = _open_encoder(work.vocabulary.path(store, "tokenizer.model"), slowly)
    try:
        ids, lists = _encode(work, store, encoder, output.scratch)
    except EncodersDiffer as error:
        _open_encoder.cache_clear()
        return {"different": str(error)}
    files = {False: ("ids.bin", LIST), True: ("held_out.bin", HELD_OUT_LIST)}
    for split, (flat, list_file) in files.items():
        together = np.concatenate([np.zeros(0, dtype=token_type(section.vocabulary_size)), *ids[split]])
        (output.scratch / flat).write_bytes(together.tobytes())
        output.add(output.scratch / flat, flat)
        write_lines(output.scratch / list_file, lists[split])
        output.add(output.scratch / list_file, list_file)
        if not split:
            (output.scratch / "blocks").write_bytes(block_hashes(together))
            output.add(output.scratch / "blocks", "blocks")
    lengths = np.array([row["tokens"] for rows in lists.values() for row in rows])
    return {
        "documents": len(lists[False]), "tokens": sum(row["tokens"] for row in lists[False]), "first_id": lists[False][0]["id"] if lists[False] else "",
        "held_out_documents": len(lists[True]), "held_out_tokens": sum(row["tokens"] for row in lists[True]),
        "bytes": sum(row["bytes"] for rows in lists.values() for row in rows),
        "lengths": np.histogram(lengths, bins=[*LENGTH_EDGES[:-1], 2**62])[0].tolist(),
        "longer": [int((lengths > edge).sum()) for edge in LENGTH_EDGES[1:]],
    }  # fmt: skip


def _encode(work: EncodeWork, store: Store, encoder: Encoder, scratch: Path) -> tuple[dict[bool, list[np.ndarray]], dict[bool, list[JSON]]]:
    """Return the ids of each document and the list of documents: of those that are trained on (False) and of those held out (True)."""
    section, tokenizer = work.section, work.vocabulary.counts
    kind = token_type(section.vocabulary_size)
    before, after = (np.array(one, dtype=kind) for one in ([tokenizer["bos"]] if section.bos_per_document else [], [tokenizer["eos"]]))
    ids: dict[bool, list[np.ndarray]] = {False: [], True: []}
    lists: dict[bool, list[JSON]] = {False: [], True: []}
    ends = {False: 0, True: 0}
    for rows in _batches(work.shard.rows(store, scratch)):
        for row, encoded in zip(rows, encoder.encode([row["text"] for row in rows]), strict=True):
            split = is_held_out(row["id"], section.held_out_fraction)
            ids[split].append(np.concatenate([before, encoded.astype(kind), after]))
            size = len(ids[split][-1])
            lists[split].append(
                {"id": row["id"], "start": ends[split], "tokens": size, "bytes": len(row["text"].encode()), "raw": row["raw"]}
            )
            ends[split] += size
    return ids, lists


def _batches(rows: Iterator[JSON]) -> Iterator[list[JSON]]:
    batch: list[JSON] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row["text"])
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def join_held_out(store: Store, encoded: list[Done], output: Output) -> JSON:
    """Step `hold_out`: the held-out documents of a source's shards, one after the other."""
    rows: list[JSON] = []
    with (output.scratch / "held_out.bin").open("wb") as file:
        end = 0
        for done in encoded:
            rows += [row | {"start": row["start"] + end} for row in read_lines(done.path(store, HELD_OUT_LIST))]
            file.write(done.path(store, "held_out.bin").read_bytes())
            end += done.counts["held_out_tokens"]
    output.add(output.scratch / "held_out.bin", "held_out.bin")
    write_lines(output.scratch / HELD_OUT_LIST, rows)
    output.add(output.scratch / HELD_OUT_LIST, HELD_OUT_LIST)
    return {"documents": len(rows)}
