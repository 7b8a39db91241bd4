"""Token ids of documents to streams and back: a source's training tokens, however many shards hold them, as one long array.

A shard of documents becomes a shard of tokens with the same number: `tokens/<source>/<number>.bin`, its documents in order of id,
each ending with EOS, in the narrowest unsigned type that holds the vocabulary. Beside it lie `.blocks`, an xxh3 of every
BLOCK_TOKENS ids, and `.documents.jsonl.zst`, a row a document: `id`, `start`, `tokens`, `bytes` (UTF-8), `raw` (its address).
`streams.jsonl.zst` has a row a shard and is all that a reader opens: from there it fetches the blocks that it needs, each checked.

Held-out documents are few: `held_out/<source>.bin` and `.documents.jsonl.zst`.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import xxhash

from tasks.artifacts.documents import read_lines
from tasks.artifacts.manifest import JSON
from tasks.artifacts.store import Damaged, open_store, sha256_bytes

STREAMS = "streams.jsonl.zst"
BLOCK_TOKENS = 1 << 16
HASH_MASK = (1 << 62) - 1
HELD_BLOCKS = 64  # of a stream: 16 MB at 32 bits an id
FETCHES_AT_ONCE = 16  # from a store across a network


def token_type(vocabulary_size: int) -> np.dtype:
    """Return the narrowest type for ids below `vocabulary_size`."""
    return np.dtype(np.uint16 if vocabulary_size <= 2**16 else np.uint32)


def block_hashes(ids: np.ndarray) -> bytes:
    """Return the hashes of a shard's blocks, 8 bytes each."""
    return b"".join(xxhash.xxh3_64_digest(ids[start : start + BLOCK_TOKENS].tobytes()) for start in range(0, len(ids), BLOCK_TOKENS))


def targets_hash(rows: Iterable[np.ndarray]) -> int:
    """Hash the target tokens of sequences (int64, contiguous): a sum of 62 bits, the same in any order and however they are dealt."""
    return sum(xxhash.xxh3_64_intdigest(row.tobytes()) for row in rows) & HASH_MASK


def documents_file(source: str, shard: int) -> str:
    """Return the path in a tokens artifact of the list of a shard's documents."""
    return f"tokens/{source}/{shard:05d}.documents.jsonl.zst"


@dataclass(frozen=True)
class Stream:
    """A source's training tokens in a store. Picklable: it can be sent to another machine, and opens there what it is asked for."""

    store: str
    folder: str  # of the source, a key in the store
    type: str
    ends: np.ndarray  # int64[shards]: where each shard ends in the stream
    first_ids: list[str]  # by shard: the smallest id of its training documents; "" if it has none
    blocks_sha256: np.ndarray  # uint8[shards, 32]: of each shard's block hashes

    def __getstate__(self) -> dict:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @property
    def tokens(self) -> int:
        """Count the tokens of the stream."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def begin(self, shard: int) -> int:
        """Return where a shard begins in the stream."""
        return int(self.ends[shard - 1]) if shard else 0

    def pieces(self, start: int, end: int) -> list[tuple[int, int, int]]:
        """Cut the tokens [start, end) of the stream into (shard, from, to), counted from the beginning of each shard."""
        found = []
        shard = int(np.searchsorted(self.ends, start, side="right"))
        while start < end:
            stop, begin = min(end, int(self.ends[shard])), self.begin(shard)
            if stop > start:
                found.append((shard, start - begin, stop - begin))
            start, shard = stop, shard + 1
        return found

    def read(self, ranges: Iterable[tuple[int, int]]) -> list[np.ndarray]:
        """Return the tokens of ranges [start, end) of the stream; OSError if a block is not what was sealed."""
        wanted = [self.pieces(start, end) for start, end in ranges]
        blocks = self._blocks.get({
            (shard, block) for pieces in wanted for shard, low, high in pieces for block in range(low // BLOCK_TOKENS, -(-high // BLOCK_TOKENS))
        })  # fmt: skip
        return [
            np.concatenate([np.zeros(0, self.type), *(part for piece in pieces for part in _parts(blocks, *piece))]) for pieces in wanted
        ]

    @cached_property
    def _blocks(self) -> "_Blocks":
        return _Blocks(self)


def _parts(blocks: dict[tuple[int, int], np.ndarray], shard: int, low: int, high: int) -> Iterable[np.ndarray]:
    for block in range(low // BLOCK_TOKENS, -(-high // BLOCK_TOKENS)):
        begin = block * BLOCK_TOKENS
        yield blocks[shard, block][max(low - begin, 0) : high - begin]


class _Blocks:
    """Blocks of a stream's shards, checked, the last used ones at hand."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.store = stream, open_store(stream.store)
        self.held: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self.hashes: dict[int, bytes] = {}  # by shard

    def get(self, wanted: set[tuple[int, int]]) -> dict[tuple[int, int], np.ndarray]:
        """Return blocks by (shard, number); those that are not at hand are fetched, side by side if they come across a network."""
        missing = sorted(wanted - self.held.keys())
        for shard in {shard for shard, _ in missing} - self.hashes.keys():
            self.hashes[shard] = self._fetch_hashes(shard)
        if self.store.is_local or len(missing) < 2:
            self.held.update((place, self._fetch(place)) for place in missing)
        else:
            with ThreadPoolExecutor(FETCHES_AT_ONCE) as threads:
                self.held.update(zip(missing, threads.map(self._fetch, missing), strict=True))
        found = {place: self.held[place] for place in wanted}
        for place in wanted:
            self.held.move_to_end(place)
        while len(self.held) > HELD_BLOCKS:
            self.held.popitem(last=False)
        return found

    def _fetch_hashes(self, shard: int) -> bytes:
        key = f"{self.stream.folder}/{shard:05d}.blocks"
        data = self.store.read(key)
        if bytes.fromhex(sha256_bytes(data)) != self.stream.blocks_sha256[shard].tobytes():
            raise Damaged(f"{self.store.uri(key)} was changed or damaged since it was sealed: tokenize again")
        return data

    def _fetch(self, place: tuple[int, int]) -> np.ndarray:
        shard, block = place
        key, kind = f"{self.stream.folder}/{shard:05d}.bin", np.dtype(self.stream.type)
        size = int(self.stream.ends[shard]) - self.stream.begin(shard)
        data = self.store.read_range(key, block * BLOCK_TOKENS * kind.itemsize, min((block + 1) * BLOCK_TOKENS, size) * kind.itemsize)
        if xxhash.xxh3_64_digest(data) != self.hashes[shard][8 * block : 8 * block + 8]:
            raise Damaged(
                f"{self.store.uri(key)} holds other tokens in block {block} than were sealed: it was changed or damaged, tokenize again"
            )
        return np.frombuffer(data, dtype=kind)


@dataclass(frozen=True)
class FlatFile:
    """A flat file of numbers in a store, small enough to be fetched whole. Picklable."""

    store: str
    key: str
    sha256: str
    type: str

    def numbers(self) -> np.ndarray:
        """Map the file into memory, shape (numbers,), from a local and verified copy."""
        path = open_store(self.store).local_copy(self.key, self.sha256)
        kind = np.dtype(self.type)
        return np.memmap(path, dtype=kind, mode="r") if path.stat().st_size else np.zeros(0, dtype=kind)


def open_streams(store: str, folder: str, table: Path, kind: np.dtype, sources: Iterable[str] | None = None) -> dict[str, Stream]:
    """Open a tokens artifact's streams (all, or those of some sources) from a local copy of its `streams.jsonl.zst`."""
    rows: dict[str, list[JSON]] = {source: [] for source in sources or ()}
    for row in read_lines(table):
        if sources is None or row["source"] in rows:
            rows.setdefault(row["source"], []).append(row)
    return {
        source: Stream(
            store, f"{folder}/tokens/{source}", kind.name, np.cumsum([row["tokens"] for row in shards], dtype=np.int64),
            [row["first_id"] for row in shards],
            np.frombuffer(bytes.fromhex("".join(row["blocks"] for row in shards)), dtype=np.uint8).reshape(len(shards), 32),
        )
        for source, shards in rows.items()
    }  # fmt: skip


def read_documents(path: Path) -> list[JSON]:
    """Read a list of documents."""
    return list(read_lines(path))


def documents_between(stream: Stream, start: int, end: int, documents: Callable[[int], list[JSON]]) -> list[JSON]:
    """Return the documents that tokens [start, end) of a stream are from, and which of their tokens; `documents(shard)` lists a shard's."""
    found = []
    for shard, low, high in stream.pieces(start, end):
        for row in documents(shard):
            first, last = max(low - row["start"], 0), min(high - row["start"], row["tokens"])
            if first < last:
                found.append({"id": row["id"], "raw": row["raw"], "shard": shard, "from": first, "to": last, "tokens": row["tokens"]})
    return found


def shard_of_id(stream: Stream, id: str) -> int:
    """Return the shard that holds a document of this id if any does: shards are ranges of ids, in order."""
    filled = [shard for shard, first in enumerate(stream.first_ids) if first]
    place = bisect_left(filled, True, key=lambda shard: stream.first_ids[shard] > id)
    return filled[max(place - 1, 0)] if filled else 0
