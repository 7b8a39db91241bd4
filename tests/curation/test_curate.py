"""Whole curation on planted files: every document is kept or removed for a reason that is known by hand."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recipes.errors import BadInput
from recipes.schema import Curation
from tasks.artifacts.documents import document_id, read_lines
from tasks.curation.curate import curate

TEXTS = [f"Document {n}: " + " ".join(f"the word {n * 7919 + i} of it is {n}{i}" for i in range(60)) for n in range(6)]


def section(sources: list[dict], **changes) -> Curation:
    values = {
        "sources": [{"kind": "reference", "format": "jsonl", "licence": "CC0", "quality": "none"} | source for source in sources],
        "max_unreadable_fraction": 0.2, "min_characters": 200, "exact_duplicates": {"scope": "across_sources", "false_positive_rate": 1e-9},
        "near_duplicates": {
            "unit": "character", "shingle_length": 13, "permutations": 128, "bands": 9, "rows": 13, "jaccard_threshold": 0.8, "scope": "across_sources",
        },
        "min_quality": 0.0,
    }  # fmt: skip
    return Curation.model_validate(values | changes)


def run(curation: Curation, out: Path) -> tuple[dict, dict, dict[str, list[str]], list[dict]]:
    scratch = out / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)

    def add(local: Path, path: str) -> None:
        target = out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        local.rename(target)

    counts, details = curate(curation, scratch, add)
    kept = {
        folder.name: [row["text"] for file in sorted(folder.iterdir()) for row in read_lines(file)]
        for folder in (out / "documents").iterdir()
    }
    return counts, details, kept, list(read_lines(out / "removed.jsonl.zst"))


def write_jsonl(path: Path, rows: list) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps({"text": row[0]})) + "\n" for row in rows))
    return str(path)


def warc_record(page: str) -> bytes:
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + page.encode()
    head = (
        "WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:0>\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + http + b"\r\n\r\n")


def test_each_planted_fault_is_removed_for_its_own_reason(tmp_path: Path):
    near = TEXTS[2].replace("word 15841", "vixen")
    first = write_jsonl(tmp_path / "a.jsonl", [[TEXTS[0]], [TEXTS[1]], [TEXTS[2]], ["too short"], [TEXTS[0]], "{broken"])
    second = write_jsonl(tmp_path / "b.jsonl", [[TEXTS[1]], [near], [TEXTS[3]], [TEXTS[4]], [TEXTS[5]], '{"txt": 1}'])
    counts, details, kept, removed = run(section([{"name": "a", "location": first}, {"name": "b", "location": second}]), tmp_path / "out")
    assert (counts["documents_in"], counts["documents_kept"]) == (12, 6)
    assert sorted(kept["a"]) == sorted(TEXTS[:3]) and sorted(kept["b"]) == sorted(TEXTS[3:])
    assert details["sources"]["a"]["removed"] == {"unreadable": 1, "too_short": 1, "exact_duplicate": 1}
    assert details["sources"]["b"]["removed"] == {"unreadable": 1, "exact_duplicate": 1, "near_duplicate": 1}
    by_reason = {row["reason"]: row for row in removed if row["source"] == "b"}
    assert by_reason["near_duplicate"]["duplicate_of"] == document_id(TEXTS[2]) and by_reason["near_duplicate"]["similarity"] > 0.8
    assert by_reason["near_duplicate"]["raw"].endswith("b.jsonl#2")
    assert details["across_sources"] == [["a", "a", 1], ["b", "a", 2]]


def test_the_order_of_files_and_records_does_not_change_the_result(tmp_path: Path):
    for name, order in (("one", [0, 1, 2, 3]), ("two", [3, 2, 1, 0])):
        (tmp_path / name).mkdir()
        for number, text in enumerate(order):
            write_jsonl(tmp_path / name / f"{number}.jsonl", [[TEXTS[text]], [TEXTS[text] + " once more the same"]])
    results = [
        run(section([{"name": "a", "location": str(tmp_path / name / "*.jsonl")}]), tmp_path / f"out-{name}") for name in ("one", "two")
    ]
    assert results[0][2] == results[1][2]
    assert results[0][0] == results[1][0]


def test_curating_what_was_kept_keeps_it_all(tmp_path: Path):
    first = write_jsonl(tmp_path / "a.jsonl", [[text] for text in [*TEXTS, *TEXTS]])
    once = run(section([{"name": "a", "location": first}]), tmp_path / "once")
    again = run(
        section([{"name": "a", "location": write_jsonl(tmp_path / "b.jsonl", [[text] for text in once[2]["a"]])}]), tmp_path / "again"
    )
    assert sorted(again[2]["a"]) == sorted(once[2]["a"])


@pytest.mark.parametrize("kind", ["jsonl.gz", "parquet", "warc.gz", "text"])
def test_a_users_own_files_of_every_format_are_read(tmp_path: Path, kind: str):
    path = tmp_path / f"own.{kind}"
    if kind == "jsonl.gz":
        path.write_bytes(gzip.compress("".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()))
    elif kind == "parquet":
        pq.write_table(pa.table({"text": TEXTS}), path)
    elif kind == "text":
        path.write_text(TEXTS[0])
    else:
        path.write_bytes(b"".join(warc_record(f"<html><body><main><p>{text}</p></main></body></html>") for text in TEXTS))
    counts, _, kept, _ = run(section([{"name": "a", "location": str(path), "format": kind.split(".")[0]}]), tmp_path / "out")
    expected = [TEXTS[0]] if kind == "text" else TEXTS
    assert counts["documents_kept"] == len(expected)
    assert sorted(text.strip() for text in kept["a"]) == sorted(expected)


def test_too_many_unreadable_records_stop_the_run_with_one_sentence(tmp_path: Path):
    path = write_jsonl(tmp_path / "a.jsonl", [[TEXTS[0]], "{", "{", [TEXTS[1]]])
    with pytest.raises(BadInput, match=r"source 'a': 2 of 4 records are unreadable, more than max_unreadable_fraction 0.2 allows"):
        run(section([{"name": "a", "location": path}]), tmp_path / "out")


def test_a_source_without_a_readable_record_is_named(tmp_path: Path):
    path = write_jsonl(tmp_path / "a.jsonl", ['{"body": "x"}'])
    with pytest.raises(BadInput, match=r"source 'a' has no readable record .* check its format \(jsonl\) and text_field \('text'\)"):
        run(section([{"name": "a", "location": path}]), tmp_path / "out")


def test_a_location_that_matches_nothing_is_named(tmp_path: Path):
    with pytest.raises(BadInput, match=r"source 'a': nothing matches '.*missing\.jsonl'"):
        run(section([{"name": "a", "location": str(tmp_path / "missing.jsonl")}]), tmp_path / "out")
