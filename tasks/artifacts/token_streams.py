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


def token_type(vocabulary_size: int) -> np.dtype:
    """Return the narrowest type for ids below `vocabulary_size`."""
    return np.dtype(np.uint16 if vocabulary_size <= 2**16 else np.uint32)


@dataclass(frozen=True)
class Stream:
    """One source's stream, on disk."""

    path: Path
    type: np.dtype

    def tokens(self) -> np.ndarray:
        """Map the stream into memory, shape (tokens,)."""
        if self.path.stat().st_size == 0:
            return np.zeros(0, dtype=self.type)
        return np.memmap(self.path, dtype=self.type, mode="r")


def read_index(path: Path) -> list[JSON]:
    """Read a stream's index."""
    return list(read_lines(path))
