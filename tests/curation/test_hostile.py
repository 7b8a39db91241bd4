"""Input made to crash, hang, flood or deceive: each is handled by a stated rule, and nothing is lost silently."""

import gzip
import json
from pathlib import Path

import pytest

from tests.curation.corpora import PLAIN, TEXTS, Result, run, section, write_jsonl

PAGES = {"html": "main_content", "near_duplicates": None}


def warc_record(page: bytes, number: int) -> bytes:
    """Make one gzip member of a WARC file: a response that holds a page."""
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + page
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{number}>\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
        f"WARC-Target-URI: http://site{number}.example/page\r\nContent-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + http + b"\r\n\r\n")


def page(text: str) -> bytes:
    return f"<html><head><title>t</title></head><body><main><p>{text}</p></main></body></html>".encode()


def curate_pages(tmp_path: Path, pages: list[bytes], **changes) -> Result:
    path = tmp_path / "pages.warc.gz"
    path.write_bytes(b"".join(warc_record(body, number) for number, body in enumerate(pages)))
    rules = {"plain": PLAIN | PAGES}
    source = {"name": "a", "location": str(path), "format": "warc", "kind": "common_crawl"}
    return run(section([source], rules, **({"max_unreadable_fraction": 1.0} | changes)), tmp_path / "out")


def test_nested_pages_neither_crash_nor_hang_and_the_others_are_kept(tmp_path: Path):
    bombs = [
        b"<div>" * 200_000,
        b"<p>" + b"<b>" * 300_000 + b"deep",
        b"<table><tr><td>" * 60_000,
        b"<" * 2_000_000,
        b"<a href='" + b"x" * 500_000,
    ]
    result = curate_pages(tmp_path, [page(TEXTS[0]), *bombs, page(TEXTS[1])])
    assert [text.strip() for text in result.texts("a")] == sorted(TEXTS[:2])
    assert len(result.verdicts["a"]) == 7 and all(
        row["reason"] for row in result.verdicts["a"] if row["id"] not in {r["id"] for r in result.kept["a"]}
    )


def test_a_page_that_the_reader_cannot_finish_is_quarantined_with_its_address(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tasks.curation.tag.DOCUMENT_SECONDS", 0.7)
    attributes = b"<p " + b" ".join(f"a{n}=1".encode() for n in range(50_000)) + b">text</p>"  # seconds of work in compiled code
    result = curate_pages(tmp_path, [page(TEXTS[0]), attributes, page(TEXTS[1])])
    assert [text.strip() for text in result.texts("a")] == sorted(TEXTS[:2])
    assert result.details["sources"]["a"]["removed"] == {"crashed": 1}
    (quarantined,) = result.details["work"]["quarantined"]
    assert quarantined["why"] == "no result within 0.7 s" and quarantined["address"] in result.reasons("a")


def test_a_torn_gzip_file_gives_what_was_whole_and_says_where_it_tears(tmp_path: Path):
    whole = gzip.compress("".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 50).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) * 2 // 3])
    source = {"name": "a", "location": str(tmp_path / "a.jsonl.gz")}
    result = run(section([source], {"plain": PLAIN | {"near_duplicates": None}}), tmp_path / "out")
    assert result.details["sources"]["a"]["removed"]["unreadable"] == 1 and result.counts["documents_kept"] == len(TEXTS)
    assert 100 < result.counts["documents_in"] < 300


def test_a_document_of_a_hundred_megabytes_is_too_long_and_the_next_is_read(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    with path.open("w") as file:
        file.write(json.dumps({"text": TEXTS[0]}) + "\n" + '{"text": "')
        for _ in range(100):
            file.write("x" * 1_000_000)
        file.write('"}\n' + json.dumps({"text": TEXTS[1]}) + "\n")
    result = run(section([{"name": "a", "location": str(path)}]), tmp_path / "out")
    assert result.texts("a") == sorted(TEXTS[:2]) and result.details["sources"]["a"]["removed"] == {"too_long": 1}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "\xff\xfe broken utf-8"}', "unreadable"),
        (b'{"text": "\\ud800 lone surrogate"}', "unreadable"),
        (b'{"text": ["a", "list"]}', "unreadable"),
        (b"[" * 100_000, "unreadable"),
        (b'{"text": ""}', "too_short"),
        (b'{"text": "\\u0000\\u0001\\u0002\\u200b"}', "too_short"),
    ],
)
def test_a_hostile_line_has_a_reason(tmp_path: Path, line: bytes, reason: str):
    (tmp_path / "a.jsonl").write_bytes(
        json.dumps({"text": TEXTS[0]}).encode() + b"\n" + line + b"\n" + json.dumps({"text": TEXTS[1]}).encode()
    )
    result = run(section([{"name": "a", "location": str(tmp_path / "a.jsonl")}], max_unreadable_fraction=0.5), tmp_path / "out")
    assert result.texts("a") == sorted(TEXTS[:2]) and result.details["sources"]["a"]["removed"] == {reason: 1}


def test_control_tokens_and_control_characters_are_text_and_noise(tmp_path: Path):
    path = write_jsonl(tmp_path / "a.jsonl", [[f"<s>{TEXTS[0]}</s> <|endoftext|> \x00\x07 [INST]"]])
    result = run(section([{"name": "a", "location": path}]), tmp_path / "out")
    assert result.texts("a") == [f"<s>{TEXTS[0]}</s> <|endoftext|>  [INST]"]


def test_empty_files_hold_no_records(tmp_path: Path):
    (tmp_path / "empty.jsonl").touch()
    write_jsonl(tmp_path / "full.jsonl", [[TEXTS[0]]])
    assert run(section([{"name": "a", "location": str(tmp_path / "*.jsonl")}]), tmp_path / "out").counts["documents_in"] == 1


def test_documents_without_a_shingle_are_not_each_others_duplicates(tmp_path: Path):
    path = write_jsonl(tmp_path / "a.jsonl", [["!?. " * 80], ["-- .. " * 70]])
    rules = {"plain": PLAIN | {"min_characters": 0}}
    assert run(section([{"name": "a", "location": path}], rules), tmp_path / "out").counts["documents_kept"] == 2
