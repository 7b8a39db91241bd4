"""Candidate near duplicates of one bin to verdicts: which are dropped, in favour of which kept document, and how similar they are."""

import struct
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import zstandard

from recipes.curation import Curation, NearDuplicates
from tasks.artifacts.manifest import JSON
from tasks.artifacts.slices import read_slice, write_slices
from tasks.artifacts.store import Store
from tasks.curation.minhash import jaccard, shingle_set
from tasks.curation.near import BIN_ROW
from tasks.curation.rate import scores_of
from tasks.curation.shuffle import UnitWork, by_partition, gather, references, unit_of
from tasks.curation.tagged import iterate_texts, near_keys_of, read_columns
from tasks.runtime.steps import Done, Output

SHINGLE_BYTES = 256_000_000  # of shingle sets that are kept at hand
SIMILARITY_BINS = 20
NEAR_ROW = np.dtype([("row", "<u4"), ("kept", "<u8"), ("similarity", "<f4"), ("kept_id", "S32")])


def gather_texts(store: Store, work: UnitWork, output: Output) -> JSON:
    """Step `gather`: the texts of the unit's candidates with what decides their preference, by bin."""
    bins = int(work.settings["bins"] or 0)
    wanted = gather(store, work.earlier["bins"], "bins.slices", int(work.settings["units"] or 0), work.unit.number, BIN_ROW)
    wanted = wanted[np.argsort(wanted["row"])]
    pieces: Iterator[tuple[int, bytes]] = iter(())
    if len(wanted):
        rule = work.section.near_duplicates[work.rules.near_duplicates or ""]
        rows = wanted["row"].astype(np.int64)
        path = work.unit.tagged.path(store, "attributes.parquet")
        columns = read_columns(path, ["id", "characters"])
        columns["quality"] = scores_of(store, work, len(columns["id"]))
        keys = near_keys_of(path, rows, rule.bands)
        texts = _compressed(work.unit.tagged.path(store, "text.parquet"), rows)
        members: dict[int, list[int]] = defaultdict(list)
        for place, number in enumerate(wanted["bin"].tolist()):
            members[number].append(place)
        pieces = (
            (number, pack([_candidate(work, columns, wanted, place) for place in places], keys[places], [texts[place] for place in places]))
            for number, places in sorted(members.items())
        )
    write_slices(output.scratch / "texts.slices", max(bins, 1), pieces)
    output.add(output.scratch / "texts.slices", "texts.slices")
    return {"documents": len(wanted)}


def _compressed(path: Path, rows: np.ndarray) -> list[bytes]:
    compressor = zstandard.ZstdCompressor(level=1)
    return [compressor.compress(text.encode()) for _, text in iterate_texts(path, rows)]


def _candidate(work: UnitWork, columns: dict[str, np.ndarray], wanted: np.ndarray, place: int) -> list:
    row = int(wanted["row"][place])
    quality = float(columns["quality"][row])
    reference = int(references(work.unit.number, wanted["row"][place : place + 1])[0])
    worth = -1.0 if np.isnan(quality) else quality  # documents that are not scored come after those that are
    return [int(wanted["component"][place]), reference, work.unit.source, worth, int(columns["characters"][row]), columns["id"][row]]


def pack(candidates: list[list], keys: np.ndarray, texts: list[bytes]) -> bytes:
    """Write candidates, their band keys and their compressed texts as one piece."""
    head = orjson.dumps([candidate + [len(text)] for candidate, text in zip(candidates, texts, strict=True)])
    return struct.pack("<QQ", len(head), keys.shape[1]) + head + keys.tobytes() + b"".join(texts)


@dataclass(frozen=True)
class Candidate:
    """A document that shares a bucket with another; `place` and `bytes` say where its compressed text lies in the bin's scratch file."""

    component: int
    reference: int
    source: int
    quality: float
    characters: int
    id: str
    place: int
    bytes: int
    keys: tuple[int, ...]

    def preference(self, frozen: bool) -> tuple:
        """Sort key: what is preferred comes first (reference documents, source as listed, quality, length, id, address)."""
        return (not frozen, self.source, -self.quality, -self.characters, self.id, self.reference)


@dataclass(frozen=True)
class BinWork:
    """One bin, and the texts that every unit sent to it."""

    bin: int
    bins: int
    units: int
    texts: list[Done]
    section: Curation


def verify_bin(store: Store, work: BinWork, output: Output) -> JSON:
    """Step `verify`: resolve every component of a bin. Memory: one component's keys, and SHINGLE_BYTES of shingle sets."""
    path = output.scratch / "texts"
    components: dict[int, list[Candidate]] = defaultdict(list)
    with path.open("wb") as file:
        for done in work.texts:
            for candidate in _unpack(read_slice(store, done.key("texts.slices"), work.bins, work.bin), file):
                components[candidate.component].append(candidate)
    verdicts: list[tuple[Candidate, Candidate, float]] = []
    removed, rejected, clusters, across = (np.zeros(SIMILARITY_BINS, np.int64), np.zeros(SIMILARITY_BINS, np.int64), Counter(), Counter())
    with path.open("rb") as file:
        for _, members in sorted(components.items()):
            resolver = Resolver(work.section, file)
            verdicts += resolver.resolve(members)
            removed += resolver.removed
            rejected += resolver.rejected
            clusters.update(Counter(kept.reference for _, kept, _ in resolver.verdicts).values())
    for dropped, kept, _ in verdicts:
        across[work.section.sources[dropped.source].name, work.section.sources[kept.source].name] += 1
    rows = np.empty(len(verdicts), dtype=NEAR_ROW)
    for place, (dropped, kept, similarity) in enumerate(verdicts):
        rows[place] = (dropped.reference & 0xFFFFFFFF, kept.reference, similarity, kept.id.encode())
    units = unit_of(np.array([dropped.reference for dropped, _, _ in verdicts], dtype=np.uint64))
    write_slices(output.scratch / "near.slices", work.units, by_partition(units, rows))
    output.add(output.scratch / "near.slices", "near.slices")
    return {
        "removed": removed.tolist(), "rejected": rejected.tolist(), "clusters": sorted([size + 1, n] for size, n in clusters.items()),
        "across": sorted([a, b, n] for (a, b), n in across.items()), "documents": sum(len(members) for members in components.values()),
    }  # fmt: skip


def _unpack(piece: bytes, file) -> Iterator[Candidate]:
    """Read candidates, writing their compressed texts to the bin's scratch file."""
    if not piece:
        return
    head_bytes, bands = struct.unpack_from("<QQ", piece)
    rows = orjson.loads(piece[16 : 16 + head_bytes])
    keys = np.frombuffer(piece, dtype=np.uint64, count=len(rows) * bands, offset=16 + head_bytes).reshape(len(rows), bands)
    place = 16 + head_bytes + keys.nbytes
    for number, row in enumerate(rows):
        at = file.tell()
        file.write(piece[place : place + row[-1]])
        place += row[-1]
        yield Candidate(*row[:-1], place=at, bytes=row[-1], keys=tuple(keys[number].tolist()))


class Resolver:
    """Decides one component: in order of preference, a document is dropped in favour of the most similar kept one, or kept itself."""

    def __init__(self, section: Curation, file) -> None:
        self.section, self.file = section, file
        self.sets: OrderedDict[int, np.ndarray] = OrderedDict()
        self.set_bytes = 0
        self.removed, self.rejected = np.zeros(SIMILARITY_BINS, np.int64), np.zeros(SIMILARITY_BINS, np.int64)
        self.verdicts: list[tuple[Candidate, Candidate, float]] = []

    def resolve(self, members: list[Candidate]) -> list[tuple[Candidate, Candidate, float]]:
        """Return (dropped, kept, similarity) for every document that is dropped."""
        frozen = {member.reference for member in members if self.section.sources[member.source].role == "reference"}
        members.sort(key=lambda member: member.preference(member.reference in frozen))
        rule = self._rule(members[0])
        buckets: dict[tuple[int, int], list[Candidate]] = defaultdict(list)
        for member in members:
            best: tuple[float, Candidate] | None = None
            if member.reference not in frozen:
                for other in self._kept_before(buckets, member):
                    similarity = jaccard(self._set(member, rule), self._set(other, rule))
                    similar = similarity >= rule.jaccard_threshold
                    (self.removed if similar else self.rejected)[min(int(similarity * SIMILARITY_BINS), SIMILARITY_BINS - 1)] += 1
                    if similar and (best is None or similarity > best[0]):
                        best = (similarity, other)
            if best is not None:
                self.verdicts.append((member, best[1], best[0]))
            else:
                for band, key in enumerate(member.keys):
                    if key:
                        buckets[band, key].append(member)
        return self.verdicts

    def _rule(self, member: Candidate) -> NearDuplicates:
        return self.section.near_duplicates[self.section.rules_of(self.section.sources[member.source]).near_duplicates or ""]

    def _kept_before(self, buckets: dict, member: Candidate) -> list[Candidate]:
        """Return the kept documents that share a bucket with a document and are compared with it, in order of preference."""
        scope = self._rule(member).scope
        mine = self.section.sources[member.source]
        found: dict[int, Candidate] = {}
        for band, key in enumerate(member.keys):
            for other in buckets.get((band, key), ()):
                theirs = self.section.sources[other.source]
                apart = (scope == "within_sources" and mine.name != theirs.name) or (scope == "within_kinds" and mine.kind != theirs.kind)
                if not apart:
                    found[other.reference] = other
        frozen_first = {other.reference: self.section.sources[other.source].role == "reference" for other in found.values()}
        return sorted(found.values(), key=lambda other: other.preference(frozen_first[other.reference]))

    def _set(self, member: Candidate, rule: NearDuplicates) -> np.ndarray:
        """Return a document's shingles, made anew if they were not used for long."""
        found = self.sets.pop(member.reference, None)
        if found is None:
            self.file.seek(member.place)
            found = shingle_set(zstandard.ZstdDecompressor().decompress(self.file.read(member.bytes)).decode(), rule)
            self.set_bytes += found.nbytes
        self.sets[member.reference] = found
        while self.set_bytes > SHINGLE_BYTES and len(self.sets) > 2:
            self.set_bytes -= self.sets.popitem(last=False)[1].nbytes
        return found
