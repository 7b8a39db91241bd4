"""Token ids of documents to flat streams and back: `tokens/<source>/<split>.bin` with its index.

A stream is all documents of a source and split (`train`, `held_out`), in order of document ids, each ending with EOS, in the
narrowest unsigned type that holds the vocabulary. The index (`.index.jsonl.zst`) has a row per document: `id`, `start`, `tokens`,
`bytes` (UTF-8), `raw` (the address of the raw record).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.artifacts.documents import read_lines
from tasks.artifacts.manifest import JSON
from tasks.artifacts.store import open_store


def token_type(vocabulary_size: int) -> np.dtype:
    """Return the narrowest type for ids below `vocabulary_size`."""
    return np.dtype(np.uint16 if vocabulary_size <= 2**16 else np.uint32)


@dataclass(frozen=True)
class StreamFile:
    """One source's stream in a store; it can be sent to another machine and opened there."""

    store: str
    key: str
    sha256: str
    type: str

    def tokens(self) -> np.ndarray:
        """Map the stream into memory, shape (tokens,), from a local and verified copy."""
        path = open_store(self.store).local_copy(self.key, self.sha256)
        kind = np.dtype(self.type)
        return np.memmap(path, dtype=kind, mode="r") if path.stat().st_size else np.zeros(0, dtype=kind)


def read_index(path: Path) -> list[JSON]:
    """Read a stream's index."""
    return list(read_lines(path))
