"""Documents that quote benchmark items are found, with the project's own items; and addresses on block lists."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recipes.curation import Decontamination
from recipes.errors import BadInput
from tasks.curation.blocked_urls import BlockedUrls, host
from tasks.curation.decontamination import BenchmarkIndex
from tasks.sources.files import RawFile, find_files

OWN = Decontamination(location="package:tasks/evaluation/items/*/*/*/*.jsonl", ngram_words=13, max_matches=0)
FIVE = Decontamination(location="items", ngram_words=5, max_matches=0)


def index_of(tmp_path: Path, rows: list, rule: Decontamination = FIVE) -> BenchmarkIndex:
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return BenchmarkIndex.build([RawFile(str(path), "items.jsonl")], rule)


def test_a_document_that_quotes_one_of_the_projects_own_items_is_found_and_others_are_not():
    index = BenchmarkIndex.build(find_files(OWN.location, "test"), OWN)
    (file,) = find_files("package:tasks/evaluation/items/cais/mmlu/nutrition/test.jsonl", "test")
    question = json.loads(Path(file.path).read_text().splitlines()[0])["question"]
    assert len(question.split()) == 19  # so it has 19 - 13 + 1 = 7 n-grams of 13 words
    text = f"A page about food. {question.upper().replace(' ', '  ')} And more of it."
    assert index.matches(text) == (7, "package:tasks/evaluation/items/cais/mmlu/nutrition/test.jsonl#1")
    assert index.matches("The people of the town went down to the river in the morning and came back late at night.") == (0, "")
    assert index.matches(" ".join(question.split()[:12])) == (0, "")


def test_ngrams_are_of_words_without_case_and_punctuation(tmp_path: Path):
    index = index_of(tmp_path, [{"q": "One, two; THREE four five six"}])
    assert len(index.hashes) == 2
    assert index.matches("zero one two three four five") == (1, "items.jsonl#1")
    assert index.matches("(one) two -- three\nfour five. Six!") == (2, "items.jsonl#1")
    assert index.matches("one two three four") == (0, "")
    assert index.matches("") == (0, "")


def test_every_string_of_an_item_counts_and_short_ones_are_counted(tmp_path: Path):
    rows = [{"q": "short", "answer": 3}, {"deep": [{"text": "a b c d e"}], "choices": ["f g h i j k", "no"]}, ["a b c d e"]]
    index = index_of(tmp_path, rows)
    assert (index.strings, index.short_strings, len(index.hashes)) == (5, 2, 3)
    assert index.matches("f g h i j k and a b c d e") == (3, "items.jsonl#2")
    assert index.matches("a b c d e a b c d e") == (1, "items.jsonl#2")  # different n-grams count once; the first item that has it


def test_parquet_items_are_read_as_json_lines_are(tmp_path: Path):
    pq.write_table(pa.table({"q": ["a b c d e", None], "choices": [["x"], ["f g h i j"]]}), tmp_path / "items.parquet")
    index = BenchmarkIndex.build([RawFile(str(tmp_path / "items.parquet"), "items.parquet")], FIVE)
    assert index.matches("f g h i j") == (1, "items.parquet#1")


def test_an_index_comes_back_from_its_file_and_equal_ones_have_equal_bytes(tmp_path: Path):
    index = index_of(tmp_path, [{"q": "a b c d e f"}, {"q": "ü v w x y"}])
    index.save(tmp_path / "one.npz")
    index_of(tmp_path, [{"q": "a b c d e f"}, {"q": "ü v w x y"}]).save(tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    back = BenchmarkIndex.load(tmp_path / "one.npz", FIVE)
    assert back.matches("Ü v w x y") == (1, "items.jsonl#2")
    assert (back.strings, back.short_strings) == (2, 0)
    with pytest.raises(BadInput, match=r"indexes 5-grams, curation.decontamination.ngram_words is 13: build it again"):
        BenchmarkIndex.load(tmp_path / "one.npz", OWN)


def test_items_that_give_nothing_or_are_no_json_stop_the_run(tmp_path: Path):
    with pytest.raises(BadInput, match="no string of 5 words in 1 items of 'items'"):
        index_of(tmp_path, [{"q": "a b c d"}])
    (tmp_path / "bad.jsonl").write_text('{"q": "a"}\n{"q": \n')
    with pytest.raises(BadInput, match=r"bad.jsonl line 2 is not JSON"):
        BenchmarkIndex.build([RawFile(str(tmp_path / "bad.jsonl"), "bad.jsonl")], FIVE)


@pytest.mark.parametrize(
    ("url", "blocked"),
    [
        ("http://bad.example/page", True),
        ("https://www.deep.BAD.example.:8080/page?x#y", True),
        ("http://user:word@bad.example/", True),
        ("//bad.example", True),
        ("bad.example:80/x", True),
        ("bad.example", True),
        ("http:\\\\bad.example\\x", True),
        ("http://notbad.example/", False),
        ("http://example/bad.example", False),
        ("http://good.org/?u=http://bad.example", False),
        ("http://bad.example@good.org/", False),
        ("http://bücher.example/", True),
        ("http://xn--bcher-kva.example/", True),
        ("http://listed.org/", True),
        ("http://[2001:db8::1]:80/", False),
        ("", False),
        (None, False),
        ("http:///", False),
        ("http://" + "a." * 5000 + "org", False),
    ],
)
def test_an_address_is_blocked_on_a_listed_domain_and_below_it(url: str | None, blocked: bool):
    lists = BlockedUrls(["# a comment", "", "bad.example", "0.0.0.0 LISTED.org # as hosts files are", "*.bücher.example"])
    assert len(lists.domains) == 3
    assert lists.blocks(url) is blocked


def test_a_line_without_a_domain_is_bad_input():
    with pytest.raises(BadInput, match="block list line 'http:///x' holds no domain"):
        BlockedUrls(["http:///x"])
    assert host("mailto:someone@mail.example") == "mail.example"
