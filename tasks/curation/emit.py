"""Tagged units and verdicts to the shards of the artifact: documents worth training on, and a row for every record that was read.

Step `emit` writes a unit's kept documents and all its verdicts by range of document ids; step `shard` collects one range, orders
it by id and writes `documents.jsonl.zst` and `verdicts.parquet`. Within a source documents are ordered by id, so the shards do not
depend on how the raw data was cut into files.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.artifacts.documents import write_lines
from tasks.artifacts.manifest import JSON
from tasks.artifacts.slices import Spool, read_slice, write_slices
from tasks.artifacts.store import Store
from tasks.curation.cleaning import EDITS
from tasks.curation.facts import measure
from tasks.curation.paragraphs import REPEAT_ROW, settled, without_lines
from tasks.curation.rate import hash_places, scores_of
from tasks.curation.rules import REASONS
from tasks.curation.shuffle import UnitWork, gather
from tasks.curation.tagged import SCHEMA, iterate_texts
from tasks.runtime.steps import Done, Output

EXAMPLES = 10
EXAMPLE_CHARACTERS = 200
VERDICT_COLUMNS = [name for name in SCHEMA.names if name != "near"]


def emit_unit(store: Store, work: UnitWork, output: Output) -> JSON:
    """Step `emit`: a unit's documents and verdicts by range of ids; return everything that the report counts."""
    reasons, copies, near = settled(store, work)
    table = pq.read_table(work.unit.tagged.path(store, "attributes.parquet"), columns=VERDICT_COLUMNS, use_threads=False)
    table = table.append_column("quality", pa.array(scores_of(store, work, len(table))))
    table = table.append_column("hash_place", pa.array(hash_places(table["hash"].to_numpy()))).drop_columns("hash")
    ids = table["id"].to_pylist()
    shards = int(work.settings["shards"] or 1)
    place = np.array([shard_of(id, shards) for id in ids], dtype=np.int64)
    repeats = _repeats(store, work)
    documents = Spool(output.scratch)
    characters = table["characters"].to_numpy().copy()
    sizes = {"characters_kept": 0, "bytes_kept": 0}
    qualities, raws = table["quality"].to_pylist(), table["raw"].to_pylist()
    for row, text in iterate_texts(work.unit.tagged.path(store, "text.parquet"), np.flatnonzero(reasons == 0)):
        if row in repeats:
            text = without_lines(text, repeats[row])
            if _too_short(text, work.rules.min_characters):
                reasons[row] = REASONS.index("emptied")
                continue
        quality = None if np.isnan(qualities[row]) else round(qualities[row], 6)
        documents.add(int(place[row]), orjson.dumps({"id": ids[row], "text": text, "raw": raws[row], "quality": quality}) + b"\n")
        sizes["characters_kept"] += len(text)
        sizes["bytes_kept"] += len(text.encode())
    write_slices(output.scratch / "documents.slices", shards, documents.pieces())
    output.add(output.scratch / "documents.slices", "documents.slices")
    verdicts = _verdicts(work, table, reasons, copies, near, repeats)
    write_slices(output.scratch / "verdicts.slices", shards, _tables(verdicts, place))
    output.add(output.scratch / "verdicts.slices", "verdicts.slices")
    return sizes | _counts(work, verdicts, reasons, characters, copies) | {"examples": _examples(store, work, verdicts, reasons)}


def shard_of(id: str, shards: int) -> int:
    """Return the shard of a document id: equal ranges of ids; records without an id are in the first."""
    return int(id[:8], 16) * shards >> 32 if id else 0


def _too_short(text: str, min_characters: int) -> bool:
    from tasks.curation.facts import FACTS

    return measure([text])[0, FACTS.index("stripped_characters")] < max(min_characters, 1)


def _repeats(store: Store, work: UnitWork) -> dict[int, np.ndarray]:
    if not work.earlier.get("repeats"):
        return {}
    rows = gather(store, work.earlier["repeats"], "repeats.slices", int(work.settings["units"] or 0), work.unit.number, REPEAT_ROW)
    found: dict[int, list[int]] = defaultdict(list)
    for row, line in zip(rows["row"].tolist(), rows["line"].tolist(), strict=True):
        found[row].append(line)
    return {row: np.array(sorted(lines)) for row, lines in found.items()}


def _verdicts(work: UnitWork, table: pa.Table, reasons: np.ndarray, copies: np.ndarray, near: np.ndarray, repeats: dict) -> pa.Table:
    """Return a unit's verdicts: reason, the document in whose favour, and how similar, beside what was measured."""
    sources = [source.name for source in work.section.sources]
    of_unit = np.asarray(work.source_of_unit)
    duplicate_of, kept_source = [""] * len(reasons), [""] * len(reasons)
    similarity = np.full(len(reasons), np.nan, dtype=np.float32)
    ids = table["id"].to_pylist()
    for row, kept in copies.tolist():
        duplicate_of[row], kept_source[row], similarity[row] = ids[row], sources[of_unit[kept >> 32]], 1.0
    for row, kept, value, id in near.tolist():
        duplicate_of[row], kept_source[row], similarity[row] = id.decode(), sources[of_unit[kept >> 32]], value
    names = np.array(REASONS, dtype=object)[reasons]
    columns = {
        "reason": pa.array(names.tolist(), pa.string()), "duplicate_of": pa.array(duplicate_of, pa.string()), "kept_source": pa.array(kept_source, pa.string()),
        "similarity": pa.array(similarity), "paragraphs_removed": pa.array([len(repeats.get(row, ())) for row in range(len(reasons))], pa.int64()),
    }  # fmt: skip
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table


def _tables(verdicts: pa.Table, place: np.ndarray) -> Iterator[tuple[int, bytes]]:
    for shard in np.unique(place).tolist():
        sink = pa.BufferOutputStream()
        part = verdicts.take(pa.array(np.flatnonzero(place == shard), pa.int64())).combine_chunks()
        with pa.ipc.new_stream(sink, part.schema) as stream:
            stream.write_table(part)
        yield shard, sink.getvalue().to_pybytes()


def _counts(work: UnitWork, verdicts: pa.Table, reasons: np.ndarray, characters: np.ndarray, copies: np.ndarray) -> JSON:
    kept = reasons == 0
    removed = {REASONS[n]: [int((reasons == n).sum()), int(characters[reasons == n].sum())] for n in np.unique(reasons[~kept]).tolist()}
    quality = verdicts["quality"].to_numpy()
    scored = ~np.isnan(quality) & (kept | (reasons == REASONS.index("low_quality")))
    bins = np.clip((np.nan_to_num(quality) * 20).astype(int), 0, 19)
    languages: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    if work.rules.language:
        for language, is_kept, size in zip(verdicts["language"].to_pylist(), kept.tolist(), characters.tolist(), strict=True):
            row = languages[language]
            row[0], row[1], row[2] = row[0] + 1, row[1] + is_kept, row[2] + size
    across = Counter(verdicts["kept_source"].take(pa.array(copies["row"].astype(np.int64))).to_pylist())
    edits = {name: int(verdicts[name].to_numpy()[kept].sum()) for name in (*EDITS, "paragraphs_removed")}
    return {
        "documents_in": len(reasons), "documents_kept": int(kept.sum()), "characters_in": int(characters.sum()), "removed": removed,
        "quality_kept": np.bincount(bins[scored & kept], minlength=20).tolist(),
        "quality_removed": np.bincount(bins[scored & ~kept], minlength=20).tolist(),
        "languages": dict(sorted(languages.items())), "across": sorted(across.items()),
        "edits": {name: number for name, number in edits.items() if number},
    }  # fmt: skip


def _examples(store: Store, work: UnitWork, verdicts: pa.Table, reasons: np.ndarray) -> JSON:
    """Choose examples of each reason: those with the smallest ids, which are random and yet the same every time."""
    ids, raws = verdicts["id"].to_pylist(), verdicts["raw"].to_pylist()
    chosen: dict[int, str] = {}
    for number in np.unique(reasons[reasons > 0]).tolist():
        for row in sorted(np.flatnonzero(reasons == number).tolist(), key=lambda row: (ids[row], raws[row]))[:EXAMPLES]:
            chosen[row] = REASONS[number]
    found: dict[str, list[JSON]] = defaultdict(list)
    for row, text in iterate_texts(work.unit.tagged.path(store, "text.parquet"), np.array(sorted(chosen), dtype=np.int64)):
        values = {name: verdicts[name][row].as_py() for name in ("id", "raw", "duplicate_of", "similarity", "quality")}
        values = {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in values.items()}
        found[chosen[row]].append({"source": work.source.name, "reason": chosen[row], "text": text[:EXAMPLE_CHARACTERS]} | values)
    return dict(found)


@dataclass(frozen=True)
class ShardWork:
    """One range of a source's document ids, what the source's units sent to it, and into how many files it is cut."""

    shard: int
    shards: int
    files: int
    emitted: list[Done]


def write_shard(store: Store, work: ShardWork, output: Output) -> JSON:
    """Step `shard`: one range of a source's documents in order of id, and its verdicts, in files of about equal ranges."""
    first = work.shard * work.files
    spool = Spool(output.scratch)
    for done in work.emitted:
        for line in read_slice(store, done.key("documents.slices"), work.shards, work.shard).splitlines(keepends=True):
            spool.add(shard_of(orjson.loads(line)["id"], work.shards * work.files) - first, line)
    documents = 0
    found = spool.pieces()
    file, data = next(found, (work.files, b""))
    for number in range(work.files):  # a range without documents has an empty file
        lines: list[bytes] = []
        if file == number:
            lines = data.splitlines()
            file, data = next(found, (work.files, b""))
        rows = sorted((orjson.loads(line) for line in lines), key=lambda row: (row["id"], row["raw"]))
        write_lines(output.scratch / "documents", rows)
        output.add(output.scratch / "documents", f"documents-{number:05d}.jsonl.zst")
        documents += len(rows)
    tables = [read_slice(store, done.key("verdicts.slices"), work.shards, work.shard) for done in work.emitted]
    parts = [pa.ipc.open_stream(data).read_all() for data in tables if data]
    if parts:
        table = pa.concat_tables(parts).sort_by([("id", "ascending"), ("raw", "ascending")])
        place = np.array([shard_of(id, work.shards * work.files) - first for id in table["id"].to_pylist()])
        for file in np.unique(place).tolist():
            begin, end = np.searchsorted(place, [file, file + 1])
            path = output.scratch / "verdicts"
            pq.write_table(table.slice(begin, end - begin), path, compression="zstd", compression_level=3, row_group_size=50_000)
            output.add(path, f"verdicts-{file:05d}.parquet")
    return {"documents": documents}
