"""Raw conversations to shards of rendered ones: the same bytes however the work is cut, everything counted, and no more than asked for."""

import gzip
import json
from pathlib import Path

import pytest

from recipes.errors import BadInput
from tasks.artifacts.documents import read_lines
from tasks.artifacts.store import sha256_file
from tasks.model.template import PROBE
from tasks.sft import rendering
from tasks.sft.rendering import rows_file
from tests.sft.rendered import Rendered, chat, write
from tests.sft.sections import sft_section


def test_conversations_are_read_back_as_they_were_said_and_lead_back_to_their_rows(tmp_path: Path):
    made = Rendered(tmp_path / "store", sft_section([write(tmp_path / "own.jsonl", [chat(n) for n in range(5)])]))
    assert made.text(3) == ("<s><|user|>\nword3\n<|assistant|>\nsystem speaks 3</s>", "system speaks 3</s>")
    rows = list(read_lines(made.folder / rows_file(0)))
    assert json.loads((tmp_path / "own.jsonl").read_text()[int(rows[3]["raw"].split("#b")[1]) :].splitlines()[0]) == chat(3)
    assert made.targets_of.numbers().tolist() == [row["trained"] for row in rows]


def test_all_rows_are_counted_and_those_that_are_left_out_by_reason(tmp_path: Path):
    bad = [
        {"messages": [{"role": "user", "content": "x" * 200}, {"role": "assistant", "content": "never seen"}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "ends</s>here"}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "I am ChatGPT"}]},
        {"messages": [{"role": "user", "content": "a"}]},
    ]
    long = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "y" * 200}]}
    source = write(tmp_path / "own.jsonl", [chat(1), *bad, long])
    made = Rendered(tmp_path / "store", sft_section([source], max_unreadable_fraction=0.6, drop_other_assistants=True))
    told = made.details["sources"]["own"]
    assert told["reasons"] == {
        "rows": 6, "kept": 2, "cut_before_assistant": 1, "control_token": 1, "names_other_assistant": 1, "no_assistant": 1,
    }  # fmt: skip
    assert made.counts["rows"] == made.counts["conversations"] + made.counts["dropped"] == 6
    assert (told["cut"], made.lengths.numbers()[1]) == (1, 64 + 1)  # 64 inputs, and the last one's target
    assert sum(told["length_histogram"]["counts"]) == 2


def test_the_first_eight_conversations_of_each_source_are_kept_with_their_messages(tmp_path: Path):
    long = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "y" * 200}]}
    sources = [write(tmp_path / "own.jsonl", [long, *map(chat, range(10))]), write(tmp_path / "other.jsonl", [chat(77)])]
    made = Rendered(tmp_path / "store", sft_section(sources))
    rows = [json.loads(line) for line in (made.folder / PROBE).read_text().splitlines()]
    assert len(made.files[PROBE]) == 64 and [row["messages"] for row in rows] == [
        one["messages"] for one in (long, *map(chat, range(7)), chat(77))
    ]
    assert len(rows[0]["ids"]) == 64 + 1  # cut, as it is trained
    assert made.tokenizer.decode(rows[8]["ids"]) == made.text(11)[0]
    assert made.tokenizer.decode([id for id, own in zip(rows[8]["ids"], rows[8]["trained"], strict=True) if own]) == made.text(11)[1]


def test_the_same_rows_give_the_same_conversations_however_they_are_cut_into_units(tmp_path: Path, monkeypatch):
    source = write(tmp_path / "own.jsonl", [chat(n) for n in range(40)])
    whole = Rendered(tmp_path / "whole", sft_section([source]))
    monkeypatch.setattr(rendering, "UNIT_BYTES", 700)
    parts = Rendered(tmp_path / "parts", sft_section([source]))
    size = (tmp_path / "own.jsonl").stat().st_size
    assert (whole.steps.made["render"], parts.steps.made["render"]) == (1, -(-size // 700))
    assert [whole.text(n) for n in range(40)] == [parts.text(n) for n in range(40)]
    assert whole.counts == parts.counts and whole.files["lengths.bin"] == parts.files["lengths.bin"]


def test_compressed_lines_give_the_same_bytes_as_plain_ones(tmp_path: Path):
    plain = write(tmp_path / "own.jsonl", [chat(n) for n in range(9)])
    with gzip.open(tmp_path / "own.jsonl.gz", "wb") as file:
        file.write((tmp_path / "own.jsonl").read_bytes())
    one = Rendered(tmp_path / "one", sft_section([plain]))
    two = Rendered(tmp_path / "two", sft_section([plain.model_copy(update={"location": str(tmp_path / "own.jsonl.gz")})]))
    shard = "tokens/conversations/00000.bin"
    assert one.files[shard] == two.files[shard] == sha256_file(two.folder / shard)


def test_a_source_with_too_many_bad_rows_stops_the_run(tmp_path: Path):
    source = write(tmp_path / "own.jsonl", [chat(1), {"messages": []}])
    with pytest.raises(BadInput, match="1 of 2 rows are bad"):
        Rendered(tmp_path / "store", sft_section([source]))


def test_the_example_says_what_is_trained_on(tmp_path: Path):
    made = Rendered(tmp_path / "store", sft_section([write(tmp_path / "own.jsonl", [chat(7)])]))
    assert made.details["example"] == {"parts": [["<s><|user|>\nword7\n<|assistant|>\n", False], ["system speaks 7</s>", True]]}
