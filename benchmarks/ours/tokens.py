"""Texts to ids by this project: the encoder alone, and with reading the documents and writing their ids."""

from pathlib import Path

import numpy as np

from benchmarks.measuring import Task
from benchmarks.peers.tokens import encode_all, row_of
from tasks.tokenization.encoder import Encoder


def encoder(task: Task) -> dict:
    """Encode texts as the tokenization stage does, SentencePiece's share of checked documents included."""
    ours = Encoder(Path(task.settings["model"]).read_bytes())
    return encode_all(task, ours.encode) | {"encoder": ours.choice.encoder}


def read_encode_write(task: Task) -> dict:
    """Read and parse the file, encode, and write ids and where documents end as flat files."""
    ours = Encoder(Path(task.settings["model"]).read_bytes())
    ours.encode(["warm up"])
    kind = np.uint16 if ours.processor.vocab_size() <= 1 << 16 else np.uint32
    lengths: list[int] = []
    with task.measured():
        with (task.scratch / "ids.bin").open("wb") as file:
            for batch in task.batches():
                found = ours.encode(batch)
                lengths += map(len, found)
                file.write(np.concatenate(found).astype(kind).tobytes())
        ends = np.cumsum(lengths)
        ends.tofile(task.scratch / "ends.bin")
    return row_of(task, np.split(np.fromfile(task.scratch / "ids.bin", dtype=kind), ends[:-1])) | {"encoder": ours.choice.encoder}
