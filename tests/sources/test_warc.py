"""WARC: pages addressed by their records, what is no page counted, broken records stepped over."""

import gzip
from collections import Counter
from pathlib import Path

import pytest

from recipes.errors import BadInput
from tasks.sources.records import read_at
from tests.sources.raw import brief, members, page, read, rules, source, warc_record, write

PAGES = [page(f"<p>page {number}</p>".encode(), f"http://example.org/{number}") for number in range(3)]


def pages_of(records) -> list[str]:
    return [record.fault or record.html.decode() for record in records]


@pytest.mark.parametrize("packed", [False, True])
def test_a_page_is_addressed_by_its_record_and_read_again_from_there(tmp_path: Path, packed: bool):
    raw = [members(one) if packed else one for one in PAGES]
    own = source(write(tmp_path / ("a.warc.gz" if packed else "a.warc"), b"".join(raw)), "warc")
    records = read(own, html="all_text")
    assert pages_of(records) == ["<p>page 0</p>", "<p>page 1</p>", "<p>page 2</p>"]
    assert [record.address.rpartition("#")[2] for record in records] == ["w0", f"w{len(raw[0])}", f"w{len(raw[0]) + len(raw[1])}"]
    assert records[1].url == "http://example.org/1"
    assert [read_at(own, record.address) for record in records] == records
    assert read_at(own, records[2].address, rules(html="all_text")).text == "page 2"
    with pytest.raises(BadInput, match="no page begins at byte 3"):
        read_at(own, f"{own.location}#w3")


def test_what_is_no_page_is_counted(tmp_path: Path):
    others = [
        warc_record("warcinfo", b"software: x", "application/warc-fields"),
        warc_record("request", b"GET / HTTP/1.1\r\n\r\n", "application/http; msgtype=request"),
        page(b"moved", status="301 Moved"), page(b"\x89PNG", kind="image/png"), warc_record("response", b"1.2.3.4", "text/dns"),
    ]  # fmt: skip
    skipped: Counter = Counter()
    own = source(write(tmp_path / "a.warc.gz", members(*others, PAGES[0])), "warc")
    assert pages_of(read(own, skipped=skipped, html="all_text")) == ["<p>page 0</p>"]
    assert skipped == {"warc_warcinfo": 1, "warc_request": 1, "http_status": 1, "content_type": 1, "not_http": 1}


def test_plain_texts_and_extracted_texts_are_records_with_text(tmp_path: Path):
    records = [
        page("Grüße".encode(), kind="text/plain; charset=utf-8"),
        warc_record("conversion", b"Ein Text", "text/plain", "http://a"),
    ]
    assert [record.text for record in read(source(write(tmp_path / "a.warc", b"".join(records)), "warc"))] == ["Grüße", "Ein Text"]


def test_chunks_and_compressed_answers_are_decoded_and_a_bomb_is_too_long(tmp_path: Path):
    packed, bomb = gzip.compress(b"<p>small</p>"), gzip.compress(b"<p>" * 20_000_000, 1)
    answers = [
        page(b"5\r\n<p>hi\r\n0\r\n\r\n", headers=b"Transfer-Encoding: chunked\r\n"),
        page(packed, headers=b"Content-Encoding: gzip\r\n"), page(bomb, headers=b"Content-Encoding: gzip\r\n"), PAGES[0],
    ]  # fmt: skip
    for name, data in (("a.warc.gz", members(*answers)), ("a.warc", b"".join(answers))):
        own = source(write(tmp_path / name, data), "warc")
        assert pages_of(read(own, html="all_text")) == ["<p>hi", "<p>small</p>", "too_long", "<p>page 0</p>"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("keep", [1, 60, 150, -10])
def test_a_torn_end_is_one_unreadable_record(tmp_path: Path, packed: bool, keep: int):
    raw = [members(one) if packed else one for one in PAGES]
    data = raw[0] + raw[1] + raw[2][:keep]
    records = read(source(write(tmp_path / ("a.warc.gz" if packed else "a.warc"), data), "warc"), html="all_text")
    assert pages_of(records)[:2] == ["<p>page 0</p>", "<p>page 1</p>"]
    assert len(records) == 3 and (records[2].fault == "unreadable" or keep == -10)
    assert records[2].address.endswith(f"#w{len(raw[0]) + len(raw[1])}")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("broken", [b"nonsense\r\n\r\n" * 20, PAGES[1].replace(b"WARC/1.0", b"BARC/1.0"), b"WARC/1.0\r\n\r\n"])
def test_reading_goes_on_after_a_broken_record(tmp_path: Path, packed: bool, broken: bytes):
    raw = [members(one) if packed else one for one in (PAGES[0], broken, PAGES[2])]
    records = read(source(write(tmp_path / ("a.warc.gz" if packed else "a.warc"), b"".join(raw)), "warc"), html="all_text")
    assert pages_of(records)[0] == "<p>page 0</p>" and pages_of(records)[-1] == "<p>page 2</p>"


def test_damaged_bytes_of_a_page_cost_that_page(tmp_path: Path):
    import random

    large = page(random.Random(1).randbytes(200_000))
    raw = [members(PAGES[0]), bytearray(members(large)), members(PAGES[2])]
    raw[1][100_000:100_100] = b"\0" * 100
    records = read(source(write(tmp_path / "a.warc.gz", b"".join(raw)), "warc"), html="all_text")
    assert pages_of(records) == ["<p>page 0</p>", "unreadable", "<p>page 2</p>"]
    assert records[1].address.endswith(f"#w{len(raw[0])}")


def test_a_file_that_is_no_warc_is_one_unreadable_record_and_an_empty_one_none(tmp_path: Path):
    assert brief(read(source(write(tmp_path / "a.warc", b"hello\n" * 1000), "warc"))) == [("w0", "[unreadable]")]
    assert read(source(write(tmp_path / "b.warc", b""), "warc")) == []


def test_a_page_above_32_megabytes_is_too_long(tmp_path: Path):
    own = source(write(tmp_path / "a.warc", page(b"x" * 32_000_001) + PAGES[1]), "warc")
    assert pages_of(read(own, html="all_text")) == ["too_long", "<p>page 1</p>"]


def test_a_page_nested_too_deeply_is_unreadable(tmp_path: Path):
    own = source(write(tmp_path / "a.warc", page(b"<div>" * 100_000) + PAGES[1]), "warc")
    assert pages_of(read(own, html="all_text")) == ["unreadable", "<p>page 1</p>"]


def test_a_file_compressed_as_one_piece_is_read_and_its_records_are_found_again(tmp_path: Path):
    own = source(write(tmp_path / "a.warc.gz", gzip.compress(b"".join(PAGES))), "warc")
    records = read(own, html="all_text")
    assert pages_of(records) == ["<p>page 0</p>", "<p>page 1</p>", "<p>page 2</p>"]
    assert len({record.address for record in records}) == 3
    assert [read_at(own, record.address) for record in records] == records


def test_garbage_after_the_last_record_is_one_unreadable_record_after_it(tmp_path: Path):
    own = source(write(tmp_path / "a.warc", PAGES[0] + b"garbage\r\n" * 50), "warc")
    assert brief([record._replace(text="", html=None) for record in read(own, html="all_text")])[1:] == [
        (f"w{len(PAGES[0])}", "[unreadable]")
    ]
