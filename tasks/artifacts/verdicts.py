"""A documents artifact to the few rows of it that are asked for: verdicts on records, and the texts that were kept.

`verdicts/<source>/<number>.parquet` has a row for every record that was read: `id` (empty if it has no text), `raw` (its address),
`reason` (empty if it was kept), `duplicate_of`, `similarity`, `kept_source` and what was measured. Searching streams through
a few columns, from S3 too, and holds a row group at a time; the file of a row that is shown is checked against its sha256 first.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.artifacts.documents import read_lines
from tasks.artifacts.manifest import JSON, Manifest, read_manifest
from tasks.artifacts.store import Store


@dataclass(frozen=True)
class Place:
    """Where a row lies: a verdict file of the artifact and the row's number in it."""

    file: str
    row: int

    @property
    def source(self) -> str:
        """The source that the record is of."""
        return self.file.split("/")[1]


def sealed_documents(store: Store) -> list[Manifest]:
    """Return the manifests of a store's finished documents artifacts, newest first; OSError if one was altered since."""
    folders = [key.removesuffix("/_SUCCESS") for key in store.list("documents") if key.endswith("/_SUCCESS")]
    found = [manifest for folder in folders if folder.count("/") == 1 and (manifest := read_manifest(store, folder))]
    return sorted(found, key=lambda manifest: (str(manifest.recorded.get("finished", "")), manifest.version), reverse=True)


class Verdicts:
    """The verdicts and texts of one documents artifact."""

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self.store, self.manifest = store, manifest
        self.folder = f"{manifest.kind}/{manifest.version}"

    def find(
        self, column: str, value: str, also: tuple[str, ...], *, prefix: bool = False, source: str = ""
    ) -> Iterator[tuple[Place, JSON]]:
        """Yield place and columns (`column` and `also`) of rows whose column is, or begins with, a value."""
        for entry in self.manifest.matching(f"verdicts/{source}/" if source else "verdicts/"):
            for row, values in self._find_in_file(entry.path, column, value, also, prefix):
                yield Place(entry.path, row), values

    def _find_in_file(self, path: str, column: str, value: str, also: tuple[str, ...], prefix: bool) -> Iterator[tuple[int, JSON]]:
        uri = self.store.uri(f"{self.folder}/{path}")
        with closing(open(uri, "rb") if self.store.is_local else self.store.files.open(uri, "rb")) as stream:
            file, begin = pq.ParquetFile(stream), 0
            place = file.schema_arrow.names.index(column)
            for group in range(file.num_row_groups):
                metadata = file.metadata.row_group(group)
                if _may_hold(metadata.column(place).statistics, value, prefix):
                    rows = file.read_row_group(group, columns=list({column, *also}), use_threads=False)
                    strings = rows[column].cast(pa.string())
                    mask = pc.starts_with(strings, pattern=value) if prefix else pc.equal(strings, value)
                    matched = pc.indices_nonzero(mask)
                    for number, found in zip(matched.to_pylist(), rows.take(matched).to_pylist(), strict=True):
                        yield begin + number, found
                begin += metadata.num_rows

    def row(self, place: Place) -> JSON:
        """Return all columns of a row, binary ones in hex; OSError if the file is not the one that was sealed."""
        entry = self.manifest.file(place.file)
        file = pq.ParquetFile(self.store.local_copy(f"{self.folder}/{entry.path}", entry.sha256))
        begin = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if place.row < begin + rows:
                (values,) = file.read_row_group(group, use_threads=False).slice(place.row - begin, 1).to_pylist()
                return {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}
            begin += rows
        raise IndexError(f"{place.file} has {begin} rows, not a row {place.row}")

    def kept_text(self, source: str, id: str, first: str = "") -> str | None:
        """Return a kept document's text, None if no shard holds it; the shard with the number `first` is looked through first."""
        shards = self.manifest.matching(f"documents/{source}/")
        for entry in sorted(shards, key=lambda entry: (entry.path.rsplit("/", 1)[1].split(".")[0] != first, entry.path)):
            for row in read_lines(self.store.local_copy(f"{self.folder}/{entry.path}", entry.sha256)):
                if row["id"] == id:
                    return row["text"]
        return None


def _may_hold(statistics: pq.Statistics | None, value: str, prefix: bool) -> bool:
    """Tell by smallest and largest value whether a row group may hold a value: rows are in order of id, so most need no reading."""
    if statistics is None or not statistics.has_min_max:
        return True
    low, high = statistics.min, statistics.max
    if prefix:
        low, high = low[: len(value)], high[: len(value)]
    return low <= value <= high
