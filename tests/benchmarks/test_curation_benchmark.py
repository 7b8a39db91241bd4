"""The curation benchmark on a megabyte: the shape of its rows, and that this project and datasketch remove the same documents."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.contenders import CONTENDERS, EXACT, GROUPS, NEAR, ONE, PARSING, TWO, VERIFIED
from benchmarks.corpus import build, cut, edit, kind_of, write_warc
from benchmarks.curation import compare, goals, line_of, take_documents
from benchmarks.ours.near import greedily
from benchmarks.peers.near import cleaned, hashed_shingles, shingles
from recipes.curation import NearDuplicates

ROOT = Path(__file__).resolve().parents[2]
RULE = NearDuplicates(
    unit="character", shingle_length=13, permutations=128, bands=9, rows=13, jaccard_threshold=0.8, scope="across_sources"
)  # fmt: skip
SENTENCES = [
    f"Number {n} of the sentences says that {n * 7919 % 1000} apples and {n * 104729 % 997} pears are {n * 31 % 89} boxes of fruit."
    for n in range(4000)
]


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> list[Path]:
    """Return a folder of texts and pages: 300 files of forty sentences each."""
    folder = tmp_path_factory.mktemp("texts")
    chance = random.Random(1)
    for number in range(300):
        lines = chance.sample(SENTENCES, 40)
        name, text = (f"{number}.html", "<p>" + "<p>".join(lines)) if number % 10 == 0 else (f"{number}.txt", "\n\n".join(lines))
        (folder / name).write_text(text)
    return [folder]


@pytest.fixture(scope="module")
def corpus(roots, tmp_path_factory) -> Path:
    """Return a corpus of 0.8 MB, in which 10 % are planted copies."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    documents, _ = build(roots, 800_000, seed=0)
    path.write_text("".join(json.dumps({"id": str(number), "text": text}) + "\n" for number, text in enumerate(documents)))
    return path


def test_rows_have_their_fields_and_datasketch_removes_the_same_documents(corpus, tmp_path):
    command = [sys.executable, "benchmarks/curation.py", "--input", str(corpus), "--json", str(tmp_path / "rows.json"), "--only", "near"]
    done = subprocess.run([*command, "--peer-megabytes", "0"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert set(rows) == {contender.name for contender in CONTENDERS if contender.group == "near"}
    for name in (NEAR, VERIFIED, "datasketch, our hashes"):
        assert rows[name]["mb_per_second_per_core"] > 0, rows[name]
        assert {"peer_of", "removed", "seconds", "documents", "bytes", "machine", "sample"} <= set(rows[name])
        assert name in done.stdout
    theirs = rows["datasketch, our hashes"]
    assert theirs["peer_of"] == NEAR and theirs["ratio"] > 0 and theirs["sample"] is False
    assert theirs["removed"] == theirs["removed_by_reynard"] == rows[NEAR]["removed"] > 10
    assert rows[NEAR]["identical_signatures"] is True
    assert 10 < rows[VERIFIED]["removed"] <= rows[NEAR]["removed"]
    for name, row in rows.items():  # a peer that is not there says how to get it; one that is there works
        assert row["mb_per_second_per_core"] or row["not_installed"].startswith("pip install"), (name, row)


def test_contenders_are_in_known_groups_and_compared_with_rows_of_this_project():
    ours = {contender.name for contender in CONTENDERS if contender.is_ours}
    assert len({contender.name for contender in CONTENDERS}) == len(CONTENDERS)
    for contender in CONTENDERS:
        assert contender.group in GROUPS
        assert contender.is_ours != bool(contender.peer_of) and (contender.is_ours or contender.peer_of in ours)
        assert contender.is_ours or (contender.needs and contender.install)


def test_the_numpy_hashes_given_to_peers_are_this_projects():
    from tasks.curation.minhash import shingle_hashes

    for text in (
        "Hello, World! It is 5 o'clock.",
        "short",
        "",
        "  \n",
        "Äpfel und Öl: ßtraße",
        "日本語のテキストです、長いものではありません",
        "x" * 40,
    ):
        assert np.array_equal(hashed_shingles(cleaned(text), 13), shingle_hashes(text, RULE)), text


def test_shingles_are_all_windows_or_the_whole_of_a_short_text():
    assert shingles("abcd", 3) == ["abc", "bcd"]
    assert shingles("ab", 3) == ["ab"] and shingles("", 3) == []
    assert cleaned(" A,b\n\tC! ") == "ab c"


def test_greedy_removal_asks_kept_documents_only():
    """2 shares a bucket with 1, which is removed for 0; 0 and 2 share none: so 2 stays. 0 is no key: 3 and 4 stay."""
    keys = np.array([[5, 6], [5, 7], [8, 7], [0, 0], [0, 0], [8, 9]], dtype=np.uint64)
    assert greedily(keys) == [1, 5]


def test_a_sample_is_the_first_documents_up_to_a_size(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in ("äb", "cdef", "gh")))
    whole = take_documents(path, 0)
    assert (whole.documents, whole.bytes) == (3, 9)
    part = take_documents(path, 4, tmp_path / "out.jsonl")
    assert (part.documents, part.bytes) == (2, 7)
    assert part.path.read_text().splitlines() == path.read_text().splitlines()[:2]


def _row(name: str, rate: float | None, **fields) -> dict:
    return {
        "name": name, "mb_per_second_per_core": rate, "removed": 3, "peer_of": "", "documents": 10, "sample": False, "group": "near",
        "wall_seconds": 1.0, "seconds": 1.0,
    } | fields  # fmt: skip


def test_ratios_say_how_many_times_as_fast_this_project_is():
    rows = compare(
        [
            _row(NEAR, 60.0, removed=4, identical_signatures=True), _row("datasketch", 2.0, peer_of=NEAR),
            _row("rensa", None, peer_of=NEAR, not_installed="pip install rensa"), _row(PARSING, 400.0, peer_of=EXACT), _row(EXACT, 300.0),
            _row(ONE, 5.0, wall_seconds=19.0), _row(TWO, 5.0, wall_seconds=10.0),
        ]
    )  # fmt: skip
    by_name = {row["name"]: row for row in rows}
    assert by_name["datasketch"]["ratio"] == 30.0 and by_name["datasketch"]["removed_by_reynard"] == 4
    assert "ratio" not in by_name["rensa"] and "not installed: pip install rensa" in line_of(by_name["rensa"])
    assert {goal: (value, least) for goal, value, least in goals(rows)} == {
        "MinHash + LSH, times datasketch": (30.0, 10.0), "signatures bit-identical to datasketch's": (1.0, 1.0),
        "exact duplicates, times reading and parsing alone": (0.75, 0.8), "two workers, times one": (1.9, 1.8),
    }  # fmt: skip


def test_a_peers_removals_on_a_sample_are_compared_with_ours_on_that_sample():
    rows = [
        _row(NEAR, 60.0),
        _row(f"{NEAR} (sample)", 50.0, removed=1, documents=4),
        _row("datasketch", 2.0, peer_of=NEAR, sample=True, documents=4),
    ]
    assert compare(rows)[2]["removed_by_reynard"] == 1


def test_a_corpus_repeats_byte_for_byte_and_has_its_share_of_copies(roots):
    documents, counts = build(roots, 500_000, seed=3)
    assert documents == build(roots, 500_000, seed=3)[0] != build(roots, 500_000, seed=4)[0]
    size = sum(len(text.encode()) for text in documents)
    assert 500_000 <= size < 600_000 and counts["documents"] == len(documents) and counts["mixed"] == 0
    assert len(documents) - len(set(documents)) >= counts["exact copies"] > 0


def test_a_corpus_beyond_what_the_machine_has_mixes_paragraphs(roots):
    documents, counts = build(roots, 3_000_000, seed=0)
    assert counts["mixed"] > 100 and sum(len(text.encode()) for text in documents) >= 3_000_000


def test_documents_are_cut_to_natural_sizes_and_lose_nothing_but_white_space_and_a_short_rest():
    text = "\n\n".join(SENTENCES)
    parts = list(cut(text, random.Random(0)))
    assert all(len(part) <= 20_200 for part in parts) and sum(map(len, parts)) > 0.97 * len(text)
    assert all(part in text for part in parts)


def test_an_edited_copy_has_as_many_words_and_is_not_the_same():
    text = " ".join(SENTENCES[:30])
    edited = edit(text, random.Random(1))
    assert edited != text and len(edited.split()) == len(text.split())
    assert sum(a == b for a, b in zip(text.split(), edited.split(), strict=True)) > 0.8 * len(text.split())


def test_kinds_of_files_follow_from_their_names():
    assert [kind_of(Path(name)) for name in ("a.HTML", "man/ls.1.gz", "README", "x.py", "y.png", "z.txt.gz")] == [
        "page", "prose", "prose", "code", "", "prose",
    ]  # fmt: skip


def test_pages_of_a_made_warc_file_are_read_back(roots, tmp_path):
    from collections import Counter

    from benchmarks.ours.pages import source_of
    from recipes.curation import Rules
    from tasks.sources.records import read_unit
    from tasks.sources.units import pin_files, plan_units

    assert write_warc(tmp_path / "pages.warc.gz", roots, most=7)[0] == 7
    source = source_of(str(tmp_path / "pages.warc.gz"))
    (unit,) = plan_units(source, pin_files(source), 1 << 40)
    records = list(read_unit(source, Rules(min_characters=0, max_characters=10**7, html="main_content"), unit, Counter()))
    assert len(records) == 7 and not any(record.fault for record in records)
    assert all(record.html.startswith(b"<p>Number ") for record in records)
