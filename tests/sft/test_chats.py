"""Conversations: bad rows by reason, the trained tokens of the template, and questions made from Python's own help."""

import json
from pathlib import Path

import pytest

from recipes.errors import BadInput
from recipes.schema import SFT
from tasks.sft.chats import fault, python_help, read_chats
from tasks.sft.template import NOT_TRAINED, open_tokenizer, render
from tasks.sources.files import RawFile, find_files

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


def section(path: Path, limit: float) -> SFT:
    return SFT.model_validate({
        "sources": [{"name": "own", "format": "jsonl", "location": str(path), "licence": "CC0"}], "max_unreadable_fraction": limit, "template": "tulu",
        "max_tokens": 64, "batch_conversations": 1, "epochs": 1.0, "precision": "float32",
        "optimizer": {"peak_learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.0, "max_gradient_norm": 1.0},
        "schedule": {"form": "linear", "warmup_steps": 0, "final_fraction": 0.0}, "checkpoint_every_steps": 10,
            "anomalies": {"policy": "log", "window_steps": 8, "threshold": 8.0, "most_skipped_steps": 0},
    })  # fmt: skip


def test_good_rows_are_kept_bad_ones_counted_and_too_many_stop_the_run(tmp_path: Path):
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join([json.dumps({"messages": [USER, ASSISTANT]})] * 3 + ["{broken"]))
    chats, counts = read_chats(section(path, 0.3))
    assert (len(chats), counts["rows"], counts["unreadable"]) == (3, 4, 1)
    with pytest.raises(BadInput, match=r"1 of 4 rows are bad \(1 unreadable\), more than max_unreadable_fraction 0.1 allows"):
        read_chats(section(path, 0.1))


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


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory) -> Path:
    from recipes.schema import Tokenization
    from tasks.tokenization.sentencepiece_model import to_transformers, train

    words = [f"user assistant system speaks <|user|> word{n % 50} and\n" * 3 for n in range(300)]
    rule = Tokenization(
        vocabulary_size=290,
        train={"type": "bpe", "sample_characters": 100_000, "max_piece_characters": 8},
        bos_per_document=True,
        held_out_fraction=0.1,
    )
    folder = tmp_path_factory.mktemp("tokenizer")
    to_transformers(train(rule, words), True, folder)
    return folder


def test_only_the_assistants_words_and_its_end_are_trained(tokenizer_folder: Path):
    tokenizer = open_tokenizer(tokenizer_folder, "tulu")
    ids, labels, cut = render(tokenizer, [SYSTEM, USER, ASSISTANT, USER, ASSISTANT], 1000)
    assert not cut and len(ids) == len(labels)
    assert (
        tokenizer.decode(ids)
        == "<s><|system|>\nsystem speaks\n<|user|>\nuser speaks\n<|assistant|>\nassistant speaks</s>\n<|user|>\nuser speaks\n<|assistant|>\nassistant speaks"
    )
    trained = tokenizer.decode([label for label in labels if label != NOT_TRAINED])
    assert trained == "assistant speaks</s>assistant speaks</s>"
    assert [label for token, label in zip(ids[1:], labels, strict=False) if label != NOT_TRAINED] == [
        token for token, label in zip(ids[1:], labels, strict=False) if label != NOT_TRAINED
    ]


def test_a_long_conversation_is_cut_and_said_to_be(tokenizer_folder: Path):
    ids, labels, cut = render(open_tokenizer(tokenizer_folder, "tulu"), [USER, ASSISTANT] * 5, 20)
    assert cut and len(ids) == len(labels) == 20


def test_the_generation_prompt_is_what_precedes_a_trained_answer(tokenizer_folder: Path):
    tokenizer = open_tokenizer(tokenizer_folder, "tulu")
    ids, labels, _ = render(tokenizer, [USER, ASSISTANT], 1000)
    prompt = tokenizer.apply_chat_template([USER], add_generation_prompt=True, return_dict=False)
    first = next(number for number, label in enumerate(labels) if label != NOT_TRAINED)
    assert ids[: first + 1] == prompt
