"""Sources of conversations: bad rows by reason, other assistants' names, limits, and questions made from Python's own help."""

import json
from collections import Counter
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from recipes.errors import BadInput
from recipes.schema import ChatSource
from tasks.sft.chats import check_chats, check_limit, fault, names_other_assistant, read_chats
from tasks.sft.python_help import python_help
from tasks.sources.files import RawFile, find_files
from tasks.sources.units import Unit, pin_files
from tests.sft.sections import sft_section

USER, ASSISTANT, SYSTEM = ({"role": role, "content": f"{role} speaks"} for role in ("user", "assistant", "system"))


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([USER, ASSISTANT], None),
        ([SYSTEM, USER, ASSISTANT, USER, ASSISTANT], None),
        ("hello", "unreadable"),
        ([{"role": "user"}], "unreadable"),
        ([{"role": "human", "content": "x"}, ASSISTANT], "unknown_role"),
        ([USER, {"role": "assistant", "content": "  "}], "empty_turn"),
        ([USER], "no_assistant"),
        ([], "no_assistant"),
        ([ASSISTANT, USER], "wrong_order"),
        ([USER, USER, ASSISTANT], "wrong_order"),
    ],
)
def test_bad_rows_have_one_reason_each(messages, reason):
    assert fault(messages) == reason


def chats_of(source: ChatSource, drop: bool = False) -> list:
    (unit,) = [Unit(source.name, (file,)) for file in pin_files(source)]
    return list(read_chats(source, unit, drop))


def source(path: Path, **fields) -> ChatSource:
    return ChatSource.model_validate(
        {"name": "own", "format": "jsonl", "shape": "messages", "location": str(path), "licence": "CC0"} | fields
    )


def test_rows_are_read_with_their_places_and_bad_ones_with_their_reasons(tmp_path: Path):
    path = tmp_path / "chats.jsonl"
    good = json.dumps({"messages": [USER, ASSISTANT]})
    path.write_text("\n".join([good, "{broken", '{"text": 1}', json.dumps({"messages": [USER]})]))
    found = chats_of(source(path))
    assert [chat.fault for chat in found] == ["", "unreadable", "unreadable", "no_assistant"]
    assert found[0].messages == [USER, ASSISTANT]
    assert [chat.address for chat in found[:2]] == [f"{path}#b0", f"{path}#b{len(good) + 1}"]


def test_parquet_gives_the_same_conversations_as_lines(tmp_path: Path):
    rows = [{"messages": [USER, ASSISTANT], "id": "x"}, {"messages": None, "id": "y"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "chats.parquet")
    (tmp_path / "chats.jsonl").write_text("\n".join(map(json.dumps, rows)))
    one, two = (chats_of(source(tmp_path / f"chats.{kind}", format=kind)) for kind in ("parquet", "jsonl"))
    assert [(chat.messages, chat.fault) for chat in one] == [(chat.messages, chat.fault) for chat in two]
    assert [chat.fault for chat in one] == ["", "unreadable"]


def test_a_column_that_is_missing_altogether_is_said_to_be(tmp_path: Path):
    pyarrow.parquet.write_table(pyarrow.table({"conversations": ["x"]}), tmp_path / "chats.parquet")
    with pytest.raises(BadInput, match="has no column 'messages'"):
        check_chats(sft_section([source(tmp_path / "chats.parquet", format="parquet")]))


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("As a model of OpenAI, I cannot.", True),
        ("I am chatgpt", True),
        ("GPT-3.5 wrote this", True),
        ("Open Assistant", True),
        ("openairport is a word", False),
        ("I am Claude, like Gemini", False),  # names that mean other things too: Tulu 2 does not drop them
        ("gpt", False),
    ],
)
def test_other_assistants_are_those_of_tulu_2s_list_word_by_word(answer: str, named: bool):
    assert names_other_assistant([USER, {"role": "assistant", "content": answer}]) is named


def test_only_what_the_assistant_says_counts_and_only_where_the_recipe_asks(tmp_path: Path):
    path = tmp_path / "chats.jsonl"
    rows = [[{"role": "user", "content": "Are you ChatGPT?"}, ASSISTANT], [USER, {"role": "assistant", "content": "I am ChatGPT."}]]
    path.write_text("\n".join(json.dumps({"messages": row}) for row in rows))
    assert [chat.fault for chat in chats_of(source(path), drop=True)] == ["", "names_other_assistant"]
    assert [chat.fault for chat in chats_of(source(path), drop=False)] == ["", ""]


def test_too_many_bad_rows_stop_the_run_and_rows_that_were_chosen_to_go_do_not(tmp_path: Path):
    section = sft_section([source(tmp_path)], max_unreadable_fraction=0.1)
    check_limit(section, {"own": Counter(rows=20, kept=10, unreadable=2, names_other_assistant=8)})
    with pytest.raises(
        BadInput, match=r"3 of 20 rows are bad \(8 names_other_assistant, 3 unreadable\), more than max_unreadable_fraction 0.1"
    ):
        check_limit(section, {"own": Counter(rows=20, kept=9, unreadable=3, names_other_assistant=8)})
    with pytest.raises(BadInput, match=r"has no usable conversation .* \(4 rows: 4 no_assistant\)"):
        check_limit(section, {"own": Counter(rows=4, no_assistant=4)})


def test_a_source_of_the_wrong_shape_is_refused_before_anything_starts(tmp_path: Path):
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps({"messages": [USER, ASSISTANT]}))
    check_chats(sft_section([source(path)]))
    with pytest.raises(BadInput, match=r"none of the first 1 rows is a conversation in the shape 'alpaca' \(unreadable\)"):
        check_chats(sft_section([source(path, shape="alpaca")]))


def test_what_lies_on_the_hub_is_pinned_and_rows_have_a_shape():
    with pytest.raises(ValueError, match="give the commit that is meant as its `revision`"):
        source(Path("x"), location="hf://datasets/a/b/*.parquet", format="parquet")
    with pytest.raises(ValueError, match="needs a `shape`"):
        source(Path("x"), shape=None)
    with pytest.raises(ValueError, match="has no `shape`"):
        source(Path("x"), format="python_docstrings")


def test_python_help_is_made_from_docstrings_and_is_the_same_every_time():
    file = find_files("stdlib:json/__init__.py", "test")[0]
    made = list(python_help(file))
    assert made == list(python_help(file))
    answers = {chat[0]["content"]: chat[1]["content"] for chat in made}
    about_dumps = [answer for question, answer in answers.items() if "json.dumps" in question]
    assert about_dumps == ["Serialize ``obj`` to a JSON formatted ``str``."]
    assert all(fault(chat) is None for chat in made)


def test_private_modules_give_no_questions(tmp_path: Path):
    path = tmp_path / "_private.py"
    path.write_text('"""A docstring that is long enough to be an answer."""\n')
    assert list(python_help(RawFile(str(path), "stdlib:_private.py"))) == []
