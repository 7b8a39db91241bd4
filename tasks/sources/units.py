"""Pinned raw files to units of work of about equal size: which records one worker reads, so that each is read exactly once."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from recipes.curation import DERIVED, Source
from tasks.sources.files import RawFile, find_files, fingerprint, is_compressed, locate


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """A raw file, its size, and the mark that identifies its bytes. A dataset of the hub is one, with size 0 if it is unknown."""

    path: str
    address: str
    bytes: int
    mark: str

    @property
    def raw(self) -> RawFile:
        """The file itself."""
        return RawFile(self.path, self.address)


@dataclass(frozen=True, slots=True)
class Unit:
    """Whole files of a source, or the part [begin, end) of one file.

    A part is a range of bytes of an uncompressed JSON-lines file (a line belongs to the part in which it begins), of row groups of
    a Parquet file, or of shards of a dataset.
    """

    source: str
    files: tuple[PinnedFile, ...]
    begin: int | None = None
    end: int | None = None

    @property
    def bytes(self) -> int:
        """The size of the unit's files as they lie; a part of a Parquet file counts as the whole file."""
        if self.begin is not None and self.end is not None and len(self.files) == 1 and self.files[0].bytes >= self.end:
            return min(self.files[0].bytes, self.end - self.begin) if is_splittable_lines(self.files[0].path) else self.files[0].bytes
        return sum(file.bytes for file in self.files)

    def identity(self) -> dict[str, Any]:
        """Return what the unit's bytes are: addresses, sizes and marks of its files, and which part; not where they lie."""
        files = [[file.address, file.bytes, file.mark] for file in self.files]
        return {"files": files, "begin": self.begin, "end": self.end}

    def to_json(self) -> dict[str, Any]:
        """Return plain values, from which `from_json` makes the unit again."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Unit":
        """Make a unit from plain values."""
        return cls(values["source"], tuple(PinnedFile(**file) for file in values["files"]), values["begin"], values["end"])


def is_splittable_lines(path: str) -> bool:
    """Tell whether a file of lines can be read from its middle: not if it is compressed."""
    return not is_compressed(path)


def pin_files(source: Source) -> list[PinnedFile]:
    """Find the files of a source and what identifies their bytes; none for a source made from others. BadInput as `find_files`."""
    if source.format in DERIVED:
        return []
    if source.format == "dataset":
        from tasks.sources.hub_datasets import dataset_address, pin_dataset

        return [PinnedFile(source.location, dataset_address(source), *pin_dataset(source))]
    found = find_files(source.location, f"source {source.name!r}", source.revision)
    return [PinnedFile(file.path, file.address, *fingerprint(file)) for file in found]


def pinned_file(source: Source, place: dict[str, Any]) -> PinnedFile:
    """Find a pinned file again from the address, size and mark that were recorded of it."""
    path = source.location if source.format == "dataset" else locate(place["address"], f"source {source.name!r}").path
    return PinnedFile(path, place["address"], place["bytes"], place["mark"])


def plan_units(source: Source, files: Iterable[PinnedFile], target_bytes: int) -> list[Unit]:
    """Cut a source's files into units of about `target_bytes`, in order: small files together, large ones in parts.

    Compressed files and WARC files are never cut. Every record is in exactly one unit, whatever `target_bytes` is.
    """
    assert target_bytes > 0, "a unit has at least a byte"
    units: list[Unit] = []
    group: list[PinnedFile] = []
    for file in files:
        ranges = list(_ranges(source, file, target_bytes))
        if ranges or (group and sum(one.bytes for one in group) + file.bytes > target_bytes):
            units += [Unit(source.name, tuple(group))] if group else []
            group = []
        if ranges:
            units += [Unit(source.name, (file,), begin, end) for begin, end in ranges]
        else:
            group.append(file)
    return units + ([Unit(source.name, tuple(group))] if group else [])


def _ranges(source: Source, file: PinnedFile, target_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a file that are units of their own; none for a file that is read whole."""
    if source.format == "dataset":
        from tasks.sources.hub_datasets import count_shards

        yield from pairwise(range(count_shards(source) + 1))
    elif file.bytes <= target_bytes:
        return
    elif source.format == "jsonl" and is_splittable_lines(file.path):
        yield from pairwise([*range(0, file.bytes, target_bytes), file.bytes])
    elif source.format == "parquet":
        from tasks.sources.parquet import row_group_rows

        rows = row_group_rows(file.raw)
        if rows is None or len(rows) < 2 or sum(rows) == 0:
            return
        borders, size = [0], 0.0
        for number, group_rows in enumerate(rows):
            size += file.bytes * group_rows / sum(rows)
            if size >= target_bytes or number == len(rows) - 1:
                borders.append(number + 1)
                size = 0.0
        yield from pairwise(borders)
