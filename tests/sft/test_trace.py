"""Which conversations a step of fine-tuning took, and which steps took a conversation, as the command line tells it."""

import json
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from reynard.main import app
from tasks.artifacts.handles import Handle, Run
from tasks.artifacts.store import Store
from tasks.runtime.cluster import Profile
from tasks.runtime.production import Production, Reader
from tasks.sft.finetune import chat_batches, sft_identity
from tests.sft.rendered import Rendered, chat, write
from tests.sft.sections import MODEL, sft_section


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """A store with 10 conversations and a chat model that took them twice, two a step; its journal has the hashes of what it trained on."""
    folder = tmp_path_factory.mktemp("trace")
    section = sft_section([write(folder / "own.jsonl", [chat(n) for n in range(10)])], batch_conversations=2, epochs=2.0)
    made = Rendered(folder / "store", section)
    run = Run(name="t", folder=str(folder), store=made.store.root, profile="local", tracking_uri="", tracking_run="", started=0.0)
    with Production(run, "conversations", "conversations", {}, {}, "tasks.sft") as chats:
        for path in sorted(made.files):
            chats.add_file(made.folder / path, path)
        chats.seal(made.counts, made.details)
        conversations = chats.handle(Handle)
    with Production(run, "checkpoint", "sft", sft_identity(section, MODEL, 1), {"conversations": conversations}, "tasks.sft") as checkpoint:
        batches = chat_batches(section, 1, Reader(checkpoint.store, chats.manifest), Profile("local", 2, 1, 0, 1, 4096))
        rows = [{"step": step + 1, "loss": 5.0, "targets": f"{batches.targets_hash(step):016x}"} for step in range(batches.steps)]
        rows[4] |= {"targets": "0" * 16}  # as if it had trained on something else
        checkpoint.add_text("journal.jsonl", b"".join(orjson.dumps(row) + b"\n" for row in rows), record=True)
        checkpoint.seal({"steps": 10}, {"stage_steps": 10, "world_size": 2, "order": batches.fingerprint()})
    return Path(Store(run.store).root)


def asked(store: Path, *options: str) -> tuple[int, str]:
    ended = CliRunner().invoke(app, ["trace", "--sft", "--store", str(store), *options])
    return ended.exit_code, ended.output


def test_all_steps_together_take_every_conversation_twice_and_each_says_if_it_is_verified(store: Path):
    steps = [json.loads(asked(store, "--step", str(step), "--json")[1]) for step in range(1, 11)]
    assert sorted(row["conversation"] for one in steps for row in one["conversations"]) == sorted([*range(10), *range(10)])
    assert [one["verified"] for one in steps] == [True, True, True, True, False, True, True, True, True, True]


def test_a_conversation_is_found_by_number_and_by_its_raw_row_and_names_its_steps(store: Path):
    by_number = json.loads(asked(store, "--conversation", "0", "--json")[1])
    assert by_number == json.loads(asked(store, "--conversation", "own.jsonl#b0", "--json")[1])
    (one,) = by_number
    for step in one["steps"]:
        assert 0 in [row["conversation"] for row in json.loads(asked(store, "--step", str(step), "--json")[1])["conversations"]]
    assert len(one["steps"]) == 2 and one["source"] == "own" and one["raw"].endswith("own.jsonl#b0")


def test_people_read_steps_and_conversations(store: Path):
    _, text = asked(store, "--step", "1")
    assert "step 1 of 10 of sft@" in text and "2 conversations" in text and "verified: its trained tokens have the hash" in text
    assert "NOT verified" in asked(store, "--step", "5")[1]
    assert "taken by steps" in asked(store, "--conversation", "3")[1]


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--step", "11"], 1, "there is no step 11 of fine-tuning: it has steps 1 to 10"),
        (["--conversation", "10"], 1, "there is no conversation 10: they count from 0 to 9"),
        (["--conversation", "other.jsonl#b0"], 1, "no conversation was read from 'other.jsonl#b0'"),
        ([], 2, "say what to trace in fine-tuning: --step N, from 1, or --conversation"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(store: Path, options: list[str], code: int, sentence: str):
    assert (asked(store, *options)[0], sentence in " ".join(asked(store, *options)[1].split())) == (code, True)
