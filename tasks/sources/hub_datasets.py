"""A dataset of the Hugging Face hub, or a local folder in its layout, to rows: streamed shard by shard, no code of its own run.

A location is `NAME [CONFIG] [SPLIT]`: with two words the second is the split; the split is `train` if none is given.
"""

import hashlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow

from recipes.curation import Source
from recipes.errors import BadInput
from tasks.artifacts.store import sha256_file
from tasks.sources.record import Record, faulty
from tasks.sources.rows import Row, ToRecord

DAMAGE = (pyarrow.ArrowInvalid, UnicodeDecodeError)


def split_location(source: Source) -> tuple[str, str | None, str]:
    """Return the name, configuration and split of a dataset's location; BadInput if it has not one to three words."""
    words = shlex.split(source.location)
    if not 1 <= len(words) <= 3:
        raise BadInput(
            f"source {source.name!r}: location {source.location!r} of format dataset must be NAME [CONFIG] [SPLIT], such as `allenai/c4 en train`"
        )
    return words[0], words[1] if len(words) == 3 else None, words[-1] if len(words) > 1 else "train"


def open_dataset(source: Source) -> Any:
    """Open a source's dataset for streaming; BadInput if it is not there, has no such split, or wants to run code."""
    import datasets

    name, config, split = split_location(source)
    try:
        return datasets.load_dataset(name, config, split=split, revision=source.revision, streaming=True)
    except Exception as error:
        raise BadInput(
            f"source {source.name!r}: dataset {source.location!r} cannot be opened ({type(error).__name__}: {str(error)[:160]}): "
            "check its name, configuration, split and revision, the network, and HF_TOKEN if it is gated"
        ) from None


def dataset_address(source: Source) -> str:
    """Return what precedes `#shard:row` in the addresses of a dataset's records."""
    name = split_location(source)[0]
    return name if Path(name).is_dir() else f"{name}@{source.revision or 'main'}"


def pin_dataset(source: Source) -> tuple[int, str]:
    """Return a dataset's size in bytes (0 on the hub) and what identifies its bytes: a commit, or the files of a local folder."""
    name = split_location(source)[0]
    if Path(name).is_dir():
        files = sorted(path for path in Path(name).rglob("*") if path.is_file() and not path.name.startswith("."))
        lines = "".join(f"{path.relative_to(name).as_posix()} {sha256_file(path)}\n" for path in files)
        return sum(path.stat().st_size for path in files), f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"
    import huggingface_hub

    try:
        return 0, f"commit:{huggingface_hub.HfApi().dataset_info(name, revision=source.revision).sha}"
    except Exception as error:
        raise BadInput(
            f"source {source.name!r}: dataset {name!r} at revision {source.revision or 'main'!r} is not found on the hub "
            f"({type(error).__name__}: {str(error)[:160]}): check its name and revision, the network, and HF_TOKEN if it is gated"
        ) from None


def count_shards(source: Source) -> int:
    """Return how many shards a dataset has; each is read on its own."""
    return max(1, int(open_dataset(source).num_shards))


def read_shard(source: Source, address: str, fields: list[str], needed: list[str], to_record: ToRecord, shard: int) -> Iterator[Record]:
    """Read the records of one shard; what follows damaged bytes in it is one unreadable record. BadInput as `read_parquet`."""
    row = 0
    try:
        for values in _rows(source, fields, needed, shard):
            record = to_record(values, f"{address}#{shard}:{row}")
            row += 1
            if record is not None:
                yield record
    except DAMAGE:
        yield faulty(f"{address}#{shard}:{row}")


def read_dataset_row(source: Source, fields: list[str], needed: list[str], shard: int, row: int) -> Row:
    """Return one row; BadInput if the dataset has no such row any more."""
    try:
        for values in _rows(source, fields, needed, shard, skip=row):
            return values
    except DAMAGE:
        pass
    raise BadInput(
        f"row {row} of shard {shard} of dataset {source.location!r} is not there any more, or is damaged: was its revision changed?"
    )


def _rows(source: Source, fields: list[str], needed: list[str], shard: int, skip: int = 0) -> Iterator[Row]:
    stream = open_dataset(source)
    shards = max(1, int(stream.num_shards))
    if shard >= shards:
        raise BadInput(
            f"source {source.name!r}: dataset {source.location!r} has {shards} shards, no shard {shard}: was its revision changed?"
        )
    if known := list(stream.features or []):
        first = {field: field if field in known else field.partition(".")[0] for field in fields}
        if missing := [field for field in needed if first[field] not in known]:
            raise BadInput(
                f"dataset {source.location!r} has no column {missing[0]!r}: set the source's fields to some of {', '.join(sorted(known))}"
            )
        stream = stream.select_columns(list(dict.fromkeys(column for column in first.values() if column in known)))
    yield from stream.shard(num_shards=shards, index=shard).skip(skip)
