"""Texts to ids by other projects. Every contender leaves uint32 ids per document; their fingerprints are taken after the clock stopped."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.measuring import Task

BATCH_DOCUMENTS = 500
Encode = Callable[[list[str]], list[np.ndarray]]


def batches(texts: list[str]) -> Iterator[list[str]]:
    """Cut texts into the batches that every contender gets."""
    for start in range(0, len(texts), BATCH_DOCUMENTS):
        yield texts[start : start + BATCH_DOCUMENTS]


def row_of(task: Task, found: list[np.ndarray]) -> dict:
    """Write each document's fingerprint for the comparison; return the number of tokens."""
    prints = [hashlib.blake2b(np.ascontiguousarray(ids, dtype=np.uint32).tobytes(), digest_size=8).hexdigest() for ids in found]
    Path(task.settings["fingerprints"]).write_text(json.dumps(prints))
    return {"tokens": sum(map(len, found))}


def encode_all(task: Task, encode: Encode) -> dict:
    """Measure the encoder alone: texts are in memory before the clock starts."""
    texts = list(task.texts())
    encode(["warm up"])
    found: list[np.ndarray] = []
    with task.measured():
        for batch in batches(texts):
            found += encode(batch)
    return row_of(task, found)


def _arrays(rows: list[list[int]]) -> list[np.ndarray]:
    return [np.array(ids, dtype=np.uint32) for ids in rows]


def sentencepiece(task: Task) -> dict:
    """Run SentencePiece's batch encoder."""
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=task.settings["model"])
    return encode_all(task, lambda texts: _arrays(processor.encode(texts, num_threads=1)))


def _tokenizers(task: Task, name: str) -> dict:
    from tokenizers import Tokenizer

    encode = getattr(Tokenizer.from_file(task.settings["converted"]), name)
    return encode_all(task, lambda texts: _arrays([one.ids for one in encode(texts, add_special_tokens=False)]))


def tokenizers(task: Task) -> dict:
    """Run Hugging Face `tokenizers`, with offsets."""
    return _tokenizers(task, "encode_batch")


def tokenizers_fast(task: Task) -> dict:
    """Run Hugging Face `tokenizers` without offsets."""
    return _tokenizers(task, "encode_batch_fast")


def kitoken(task: Task) -> dict:
    """Run kitoken on the SentencePiece model."""
    from kitoken import Kitoken

    encoder = Kitoken.from_sentencepiece(Path(task.settings["model"]).read_bytes())
    return encode_all(task, lambda texts: _arrays(encoder.encode_all(texts, False)))


def gigatoken(task: Task) -> dict:
    """Run gigatoken on the SentencePiece model; its ids come as arrays."""
    from gigatoken import Tokenizer

    encoder = Tokenizer.from_sentencepiece(Path(task.settings["model"]).read_bytes())

    def encode(texts: list[str]) -> list[np.ndarray]:
        layout = encoder.encode_batch(texts, parallel=False).layout
        ids, ends = np.array(layout.content.data, dtype=np.uint32), np.asarray(layout.offsets.data).tolist()
        return [ids[start:end] for start, end in itertools.pairwise(ends)]

    return encode_all(task, encode)


def datatrove(task: Task) -> dict:
    """Run datatrove's reader and DocumentTokenizer in one process, as they write one file of ids in the order of the documents."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    reader = JsonlReader(str(task.input.parent), glob_pattern=task.input.name, id_key="")
    writer = DocumentTokenizer(str(task.scratch / "ids"), task.settings["converted"], shuffle_documents=False, save_final_metadata=False)
    executor = LocalPipelineExecutor([reader, writer], tasks=1, workers=1, logging_dir=str(task.scratch / "logs"))
    with task.measured():
        executor.run()
    (written,) = (task.scratch / "ids").glob("*.ds")
    ids = np.fromfile(written, dtype=np.uint32 if writer.token_size == 4 else np.uint16)
    ends = np.fromfile(f"{written}.index", dtype=np.uint64).astype(np.int64)
    return row_of(task, np.split(ids, ends[:-1]))
