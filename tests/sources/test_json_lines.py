"""JSON lines: addresses that lead back to the bytes, fields, and lines that are hostile."""

import gzip
import json
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
import zstandard

from recipes.errors import BadInput
from tasks.sources.records import read_at, read_unit
from tasks.sources.units import pin_files, plan_units
from tests.sources.raw import brief, lines, read, rules, source, write

THREE = lines({"text": "one"}, {"text": "two"}, {"text": "drei ä"})  # 16 + 16 bytes before the third


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_record_is_addressed_by_its_lines_first_plain_byte_and_read_again_from_there(tmp_path: Path, suffix: str):
    data = {"": THREE, ".gz": gzip.compress(THREE), ".zst": zstandard.ZstdCompressor().compress(THREE)}[suffix]
    own = source(write(tmp_path / f"a.jsonl{suffix}", data))
    records = read(own)
    assert brief(records) == [("b0", "one"), ("b16", "two"), ("b32", "drei ä")]
    assert [read_at(own, record.address) for record in records] == records


def test_members_and_frames_one_after_the_other_are_one_stream(tmp_path: Path):
    half, rest = THREE[:20], THREE[20:]
    write(tmp_path / "a.jsonl.gz", gzip.compress(half) + gzip.compress(rest) + b"\0" * 512)
    write(tmp_path / "b.jsonl.zst", zstandard.ZstdCompressor().compress(half) + zstandard.ZstdCompressor().compress(rest))
    texts = [record.text for record in read(source(tmp_path / "*"))]
    assert texts == ["one", "two", "drei ä"] * 2


def test_lines_that_are_no_good_are_unreadable_one_by_one_and_blank_lines_are_nothing(tmp_path: Path):
    deep = b'{"text": ' + b"[" * 5000 + b"]" * 5000 + b"}"
    cases = [
        b'{"text": "\xff"}', b'{"text": "\\ud800"}', b'{"text": "a\x00b"}', deep, b"[1]", b'{"text": 5}', b'{"other": "x"}', b'{"text": null}',
        b"\x00\x00", b'{"text": "torn',
    ]  # fmt: skip
    own = source(write(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + lines({"text": "first"}, b"", b"  ", *cases, {"text": "last <s> \x01"})))
    records = read(own)
    assert [record.fault for record in records] == [""] + ["unreadable"] * len(cases) + [""]
    assert (records[0].text, records[-1].text) == ("first", "last <s> \x01")  # control characters and literals stay: they are text
    assert read_at(own, records[0].address).text == "first"


def test_a_line_of_a_hundred_megabytes_is_too_long_and_never_held(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "before"}\n{"text": "')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n{"text": "after"}\n')
    own = source(path)
    (unit,) = plan_units(own, pin_files(own), 1 << 30)
    tracemalloc.start()
    records = list(read_unit(own, rules(max_characters=1_000_000), unit))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert brief(records) == [("b0", "before"), ("b19", "[too_long]"), (f"b{19 + 10 + 100_000_000 + 3}", "after")]
    assert peak < 16_000_000


def test_a_text_above_max_characters_is_too_long_unless_its_source_cuts_long_ones(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", lines({"text": "x" * 11}, {"text": "x" * 10}))
    assert [record.fault for record in read(source(path), max_characters=10)] == ["too_long", ""]
    assert [record.fault for record in read(source(path, split_above_characters=5), max_characters=10)] == ["", ""]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_what_precedes_the_tear_of_a_compressed_file_is_read_and_one_record_says_where_it_is(tmp_path: Path, suffix: str):
    import random

    texts = ["".join(random.Random(number).choices("abcdefgh", k=2000)) for number in range(300)]
    data = lines(*({"text": text} for text in texts))
    whole = gzip.compress(data) if suffix == ".gz" else zstandard.ZstdCompressor().compress(data)
    whole_records = read(source(write(tmp_path / f"whole.jsonl{suffix}", whole)))
    assert len(whole_records) == 300
    for cut in (len(whole) - 1, len(whole) // 2, 5):
        *good, torn = read(source(write(tmp_path / f"torn.jsonl{suffix}", whole[:cut])))
        assert [record.text for record in good] == texts[: len(good)] and torn.fault == "unreadable"
        assert torn.address.endswith(f"#b{2013 * len(good)}")  # a line is {"text": "..."} and its end: 2,013 bytes
        assert len(good) >= 300 * cut // len(whole) - 80  # a block of zstd holds 65 of these lines


def test_damage_in_the_middle_is_one_unreadable_record(tmp_path: Path):
    whole = gzip.compress(THREE) + gzip.compress(THREE)
    damaged = whole[: len(whole) // 2 + 20] + b"\0" * 8 + whole[len(whole) // 2 + 28 :]
    records = read(source(write(tmp_path / "a.jsonl.gz", damaged)))
    assert [record.text for record in records[:3]] == ["one", "two", "drei ä"]
    assert [record.fault for record in records][3:] in (["unreadable"], ["", "unreadable"])


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_a_file_of_no_bytes_has_no_records(tmp_path: Path, name: str):
    assert read(source(write(tmp_path / name, b""))) == []


def test_a_bomb_of_gzip_is_read_in_bounded_memory(tmp_path: Path):
    bomb = gzip.compress(b" " * 60_000_000 + b"\n" + THREE, 1)
    assert len(bomb) < 600_000
    own = source(write(tmp_path / "a.jsonl.gz", bomb))
    (unit,) = plan_units(own, pin_files(own), 1 << 30)
    tracemalloc.start()
    records = list(read_unit(own, rules(), unit))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [record.fault or record.text for record in records] == ["too_long", "one", "two", "drei ä"] and peak < 16_000_000


def test_fields_of_fields_give_text_url_licences_and_path(tmp_path: Path):
    row = {"meta": {"body": "text", "url": "http://a"}, "max_licences": ["MIT", "BSD"], "ext": "py", "one": "MIT"}
    path = write(tmp_path / "a.jsonl", lines(row))
    (record,) = read(source(path, fields={"text": "meta.body", "url": "meta.url", "licence": "max_licences", "path": "ext"}))
    assert (record.text, record.url, record.licences, record.path) == ("text", "http://a", ("MIT", "BSD"), "py")
    (record,) = read(source(path, fields={"text": "meta.body", "licence": "one", "url": "absent.url"}))
    assert (record.licences, record.url) == (("MIT",), "")


def test_a_field_whose_name_has_a_dot_is_found_by_it(tmp_path: Path):
    (record,) = read(source(write(tmp_path / "a.jsonl", lines({"a.b": "dotted"})), fields={"text": "a.b"}))
    assert record.text == "dotted"


def test_a_template_joins_fields_and_a_row_without_one_is_unreadable(tmp_path: Path):
    rows = [{"q": "Why?", "a": {"text": "Because."}, "n": 2}, {"q": "Why?"}, {"q": "Why?", "a": {"text": None}, "n": 2}]
    own = source(write(tmp_path / "a.jsonl", lines(*rows)), fields={"template": "{q} {{{n}}}\n\n{a.text}"})
    assert [record.fault or record.text for record in read(own)] == ["Why? {2}\n\nBecause.", "unreadable", "unreadable"]


def test_a_template_that_cannot_be_read_is_refused(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", THREE)
    with pytest.raises(BadInput, match="names no field"):
        read(source(path, fields={"template": "only words"}))
    with pytest.raises(BadInput, match="cannot be read"):
        read(source(path, fields={"template": "{text"}))


def test_rows_that_where_excludes_are_counted_and_no_records(tmp_path: Path):
    rows = [{"text": str(n), "meta": {"set": kind}} for n, kind in enumerate(["CC", "Wiki", "CC"])] + [{"text": "3"}, b"{broken"]
    own = source(write(tmp_path / "a.jsonl", lines(*rows)), where={"meta.set": ["CC", "C4"]})
    skipped: Counter = Counter()
    assert [record.fault or record.text for record in read(own, skipped=skipped)] == ["0", "2", "unreadable"]
    assert skipped == {"where": 2}


def test_rows_of_html_come_as_pages_to_extract(tmp_path: Path):
    own = source(write(tmp_path / "a.jsonl", lines({"text": "<p>Grüße</p>"})))
    (record,) = read(own, html="all_text")
    assert record.text is None and record.html == b"\xef\xbb\xbf" + "<p>Grüße</p>".encode()
    assert read_at(own, record.address, rules(html="all_text")).text == "Grüße"


def test_a_part_of_a_long_text_is_read_again_from_its_address(tmp_path: Path):
    own = source(write(tmp_path / "a.jsonl", lines({"text": "aaaa\nbbbb\ncccc"})), split_above_characters=6)
    address = f"{tmp_path}/a.jsonl#b0+5"
    assert read_at(own, address, rules()).text == "bbbb\n"
    with pytest.raises(BadInput, match="holds no part"):
        read_at(own, f"{tmp_path}/a.jsonl#b0+6", rules())


def test_an_address_that_leads_nowhere_any_more_is_said_to(tmp_path: Path):
    own = source(write(tmp_path / "a.jsonl", THREE))
    for position, message in (("b5", "no line begins at byte 5"), ("b900", "no line begins"), ("r1", "is no address of a record")):
        with pytest.raises(BadInput, match=message):
            read_at(own, f"{tmp_path}/a.jsonl#{position}")
    with pytest.raises(BadInput, match="is not there any more"):
        read_at(own, f"{tmp_path}/gone.jsonl#b0")
    with pytest.raises(BadInput, match="is no address"):
        read_at(own, "gone.jsonl")
    packed = source(write(tmp_path / "a.jsonl.gz", gzip.compress(json.dumps({"text": "x"}).encode())))
    with pytest.raises(BadInput, match="no line begins at byte 99"):
        read_at(packed, f"{tmp_path}/a.jsonl.gz#b99")


def test_a_lost_connection_is_an_error_and_not_a_damaged_record(tmp_path: Path, monkeypatch):
    import io

    from tasks.sources import json_lines
    from tasks.sources.compression import decompressed

    class Lost(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, target):
            raise ConnectionError("the connection was lost")

    write(tmp_path / "a.jsonl.gz", gzip.compress(THREE))
    monkeypatch.setattr(json_lines, "open_raw", lambda path: decompressed(io.BufferedReader(Lost()), ".gz"))
    with pytest.raises(ConnectionError):
        read(source(tmp_path / "a.jsonl.gz"))
