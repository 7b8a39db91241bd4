"""Documents with what was measured on them, to a pair of Parquet tables a unit of work, and back.

`text.parquet` holds the texts, `attributes.parquet` everything that rules decide from: row N of one belongs to row N of the other.
Records that could not be read have a row too, with a fault in place of a text. Both are plain Parquet: any tool can query them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from tasks.artifacts.documents import document_id
from tasks.curation.cleaning import EDITS
from tasks.curation.facts import FACTS

BATCH_CHARACTERS, BATCH_DOCUMENTS = 4_000_000, 2_000
STRINGS = ("id", "raw", "fault", "url", "licences", "programming_language", "language", "benchmark_item")
SCHEMA = pa.schema(
    [(name, pa.string()) for name in STRINGS]
    + [("hash", pa.binary(16)), ("language_score", pa.float32())]
    + [(name, pa.bool_()) for name in ("generated", "blocked_url", "c4_page")]
    + [(name, pa.int64()) for name in ("c4_sentences", "benchmark_matches", *EDITS, *FACTS)]
    + [("near", pa.binary())]
)


@dataclass
class Tagged:
    """One document on its way into the tables; what no rule asked for keeps its neutral value."""

    text: str
    raw: str
    fault: str = ""
    url: str = ""
    licences: str = ""
    programming_language: str = ""
    language: str = ""
    language_score: float = 0.0
    generated: bool = False
    blocked_url: bool = False
    c4_page: bool = False
    c4_sentences: int = 0
    benchmark_matches: int = 0
    benchmark_item: str = ""
    edits: dict[str, int] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The id: it follows from the text alone; a record without a text has none."""
        return "" if self.fault else document_id(self.text)


def content_hash(text: str) -> bytes:
    """Return the 16 bytes by which exact copies are recognised: of UTF-8 if it is ASCII, else of UTF-16, which is quicker to make."""
    return xxhash.xxh3_128_digest(text.encode() if text.isascii() else text.encode("utf-16-le", "surrogatepass"))


class TaggedWriter:
    """Writes the two tables in batches; equal documents give equal bytes."""

    def __init__(self, folder: Path) -> None:
        options = {"compression": "zstd", "compression_level": 1}
        self.texts = pq.ParquetWriter(folder / "text.parquet", pa.schema([("text", pa.string())]), use_dictionary=False, **options)
        self.attributes = pq.ParquetWriter(folder / "attributes.parquet", SCHEMA, **options)

    def write(self, documents: list[Tagged], facts: np.ndarray, near: np.ndarray | None) -> None:
        """Append documents with their facts (documents x FACTS) and near-duplicate keys (documents x bands, or none)."""
        columns = {name: [getattr(document, name) for document in documents] for name in SCHEMA.names if hasattr(Tagged, name)}
        columns["raw"] = [document.raw for document in documents]
        columns["hash"] = [content_hash(document.text) for document in documents]
        columns |= {name: [document.edits.get(name, 0) for document in documents] for name in EDITS}
        columns |= {name: facts[:, place].astype(np.int64) for place, name in enumerate(FACTS)}
        columns["near"] = [b""] * len(documents) if near is None else [row.tobytes() for row in near]
        self.attributes.write_table(pa.Table.from_pydict({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA))
        self.texts.write_table(pa.table({"text": pa.array([document.text for document in documents], pa.string())}))

    def close(self) -> None:
        """Finish both files."""
        self.texts.close()
        self.attributes.close()


def read_columns(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """Read attribute columns as numpy arrays; strings come as arrays of Python strings."""
    table = pq.read_table(path, columns=names, use_threads=False)
    return {name: table[name].to_numpy(zero_copy_only=False) for name in names}


def near_keys_of(path: Path, rows: np.ndarray, bands: int) -> np.ndarray:
    """Return the near-duplicate keys (rows x bands) of some rows of a unit."""
    column = pq.read_table(path, columns=["near"], use_threads=False)["near"].combine_chunks().take(pa.array(rows, pa.int64()))
    return np.frombuffer(b"".join(column.to_pylist()), dtype=np.uint64).reshape(len(rows), bands)


def iterate_texts(path: Path, rows: np.ndarray) -> Iterator[tuple[int, str]]:
    """Yield (row, text) for rows in ascending order, holding one batch of the unit at a time."""
    file = pq.ParquetFile(path)
    begin = 0
    for group in range(file.num_row_groups):
        end = begin + file.metadata.row_group(group).num_rows
        wanted = rows[np.searchsorted(rows, begin) : np.searchsorted(rows, end)]
        if len(wanted):
            column = file.read_row_group(group, columns=["text"], use_threads=False)["text"]
            yield from zip(wanted.tolist(), column.take(pa.array(wanted - begin, pa.int64())).to_pylist(), strict=True)
        begin = end
