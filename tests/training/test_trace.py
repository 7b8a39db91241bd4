"""Which documents a step saw and which steps saw a document: both ways equal, from the store alone, wherever it lies."""

import shutil
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from recipes.schema import Stage
from reynard.main import app
from tasks.artifacts.documents import write_lines
from tasks.artifacts.manifest import FileEntry, Manifest, write_manifest
from tasks.artifacts.store import Store, sha256_file
from tasks.curriculum.batches import StageBatches
from tasks.training.trace import NotSeen, Trace
from tests.curriculum.streams import counting, lay_down

SOURCES = {"a": counting(0, 24, 50, shards=4), "b": counting(5000, 9, 100, shards=2)}


def stage(name: str, tokens: int, chunk: int) -> dict:
    entries = [
        {"source": "a", "weight": 0.6, "chunk_tokens": chunk, "max_epochs": 2.0},
        {"source": "b", "weight": 0.4, "chunk_tokens": 16, "max_epochs": 1.0},
    ]
    return {"name": name, "tokens": tokens, "batch_tokens": 64, "optimizer_state": "keep", "mixture": entries}


def seal(store: Store, kind: str, version: str, name: str, identity: dict, counts: dict, details: dict, files: list[str]) -> Manifest:
    entries = [FileEntry(path=f, bytes=1, sha256=sha256_file(store.uri(f"{kind}/{version}/{f}"))) for f in files]
    manifest = Manifest(
        kind=kind, name=name, version=version, digest="0" * 64, identity=identity, files=entries, counts=counts, details=details,
        recorded={"finished": version, "run": "r"}, records=[],
    )  # fmt: skip
    write_manifest(store, f"{kind}/{version}", manifest)
    return manifest


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two stages on two sources, a released model, and a document that was held out."""
    root = tmp_path / "somewhere"
    streams = lay_down(root, SOURCES)
    store = Store(str(root))
    (root / "tokens/1/held_out").mkdir()
    write_lines(
        root / "tokens/1/held_out/a.documents.jsonl.zst", [{"id": "f" * 32, "start": 0, "tokens": 5, "bytes": 9, "raw": "a.txt#99"}]
    )
    files = [key.removeprefix("tokens/1/") for key in store.list("tokens/1")]
    seal(store, "tokens", "1", "tokens", {"section": {}}, {"vocabulary_size": 6000}, {"tokenizer": {"eos": 2}}, files)
    parents, first = {"tokens": {"name": "tokens", "version": "1", "uri": "/gone/tokens/1/manifest.json"}}, 0
    for number, one in enumerate((stage("one", 640, 8), stage("two", 960, 16)), start=1):
        steps = one["tokens"] // 64
        section = {"seed": 3, "stage": one, "attention_across_documents": True, "first_step": first}
        store.write(
            f"checkpoint/{number}/journal.jsonl", b"".join(orjson.dumps({"step": first + s + 1, "loss": 5.0}) + b"\n" for s in range(steps))
        )
        store.write(f"checkpoint/{number}/weights", b"w")
        batches = StageBatches(Stage.model_validate(one), 3, streams, {"a": (0, 1200), "b": (0, 900)})
        rows = [{"step": first + s + 1, "loss": 5.0, "targets": f"{batches.targets_hash(s):016x}"} for s in range(steps)]
        store.write(f"checkpoint/{number}/journal.jsonl", b"".join(orjson.dumps(row) + b"\n" for row in rows))
        details = {"first_step": first, "world_size": 2, "order": batches.fingerprint()}
        seal(
            store, "checkpoint", str(number), one["name"], {"section": section, "parent_artifacts": dict(parents)}, {}, details, ["weights"]
        )
        parents["parent"] = {"name": one["name"], "version": str(number), "uri": f"/gone/checkpoint/{number}/manifest.json"}
        first += steps
    store.write("release/9/model/model.safetensors", b"released weights")
    last = {"checkpoint": {"name": "two", "version": "2", "uri": "/gone/checkpoint/2/manifest.json"}}
    seal(
        store, "release", "9", "release-base", {"section": {"which": "base"}, "parent_artifacts": last}, {}, {}, ["model/model.safetensors"]
    )
    return store


def traced(store: Store) -> Trace:
    from tasks.artifacts.manifest import read_manifest

    manifest = read_manifest(store, "release/9")
    assert manifest is not None
    return Trace(store, manifest)


def test_every_step_lists_the_documents_whose_tokens_it_trained_on(store):
    trace = traced(store)
    flat = {source: [t for shard in shards for document in shard for t in document] for source, shards in SOURCES.items()}
    for step in (1, 10, 11, 25):
        found = trace.step(step)
        number = step > 10
        assert (found["stage"], found["stage_step"], found["tokens"]) == (("one", step, 64), ("two", step - 10, 64))[number]
        groups = trace.stages[number].batches.load(found["stage_step"] - 1, list(range(trace.stages[number].batches.units)))
        trained = sorted(int(token) for group in groups for token in group.ids.flatten())
        told = sorted(t for s in found["sequences"] for t in flat[s["source"]][s["start"] : s["start"] + s["tokens"]])
        assert told == trained
        for sequence in found["sequences"]:
            assert sum(row["to"] - row["from"] for row in sequence["documents"]) == sequence["tokens"]


def test_a_step_is_verified_by_the_hash_of_what_was_trained_on(store):
    assert all(traced(store).step(step)["verified"] for step in (1, 12, 25))
    rows = [orjson.loads(line) for line in store.read("checkpoint/2/journal.jsonl").splitlines()]
    rows[1]["targets"] = rows[2]["targets"]
    store.write("checkpoint/2/journal.jsonl", b"".join(orjson.dumps(row) + b"\n" for row in rows))
    assert [traced(store).step(step)["verified"] for step in (11, 12, 13)] == [True, False, True]
    ended = CliRunner().invoke(app, ["trace", "--store", store.root, "--step", "12"])
    assert "NOT verified" in ended.output


def test_a_document_is_found_at_exactly_the_steps_that_list_it(store):
    trace = traced(store)
    listed: dict[tuple, list] = {}
    for step in range(1, 26):
        for sequence in trace.step(step)["sequences"]:
            for row in sequence["documents"]:
                listed.setdefault((sequence["source"], row["id"]), []).append((step, sequence["rank"], row["from"], row["to"]))
    assert len(listed) > 25
    for (source, id), expected in listed.items():
        (found,) = trace.document(id)
        assert found["source"] == source
        assert sorted((v["step"], v["rank"], v["from"], v["to"]) for v in found["seen"]) == sorted(expected)


def test_a_rank_is_told_what_it_was_dealt_and_both_together_had_the_batch(store):
    trace = traced(store)
    both = [trace.step(12, rank)["sequences"] for rank in (0, 1)]
    assert all(row["rank"] == rank for rank in (0, 1) for row in both[rank])
    everything = trace.step(12)["sequences"]
    assert sorted(map(repr, both[0] + both[1])) == sorted(map(repr, everything))
    with pytest.raises(NotSeen, match="there is no rank 2: two was trained by 2 workers, 0 to 1"):
        trace.step(12, 2)


def test_what_was_not_seen_is_explained(store):
    trace = traced(store)
    with pytest.raises(NotSeen, match=r"there is no step 26: release-base@9 was pre-trained in steps 1 to 25"):
        trace.step(26)
    with pytest.raises(NotSeen, match=r"document f{32} of a is held out: no step saw it"):
        trace.document("ffffff")
    with pytest.raises(NotSeen, match=r"no document 'abcdef' is in the sources that release-base@9 was trained on \(a, b\)"):
        trace.document("abcdef")
    with pytest.raises(NotSeen, match=r"2 documents have an id that begins with 000000"):
        trace.document("000000")


def test_a_model_that_was_trained_in_another_order_is_not_traced_wrongly(store, monkeypatch):
    monkeypatch.setattr("tasks.curriculum.permutation.ROUNDS", 6)
    ended = CliRunner().invoke(app, ["trace", "--step", "11", "--store", store.root])
    assert ended.exit_code == 1 and "took batches in another order: trace it with commit" in ended.output


def test_the_store_may_have_been_moved_and_a_released_folder_is_known_by_its_weights(store, tmp_path: Path):
    moved, folder = tmp_path / "moved", tmp_path / "model"
    shutil.move(store.root, moved)
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"released weights")
    ended = CliRunner().invoke(app, ["trace", "--step", "11", "--store", str(moved), "--model", str(folder), "--json"])
    assert ended.exit_code == 0, ended.output
    assert orjson.loads(ended.output)["stage"] == "two"
    (folder / "model.safetensors").write_bytes(b"other weights")
    ended = CliRunner().invoke(app, ["trace", "--step", "11", "--store", str(moved), "--model", str(folder)])
    assert ended.exit_code == 2 and "no release in" in ended.output and "has the weights of" in ended.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say what to trace: --step N or --document ID"),
        (["--step", "1", "--document", "abcdef"], "one of them"),
        (["--document", "a.txt#3"], "'a.txt#3' is no id"),
        (["--step", "3", "--model", "nothing@1"], "no finished checkpoint or release 'nothing@1'"),
    ],
)
def test_a_question_that_cannot_be_answered_is_one_sentence(store, arguments, said):
    ended = CliRunner().invoke(app, ["trace", "--store", store.root, *arguments])
    assert ended.exit_code == 2 and said in ended.output and "Traceback" not in ended.output


def test_a_step_and_a_document_are_shown_in_words(store):
    ended = CliRunner().invoke(app, ["trace", "--store", store.root, "--step", "1"])
    assert ended.exit_code == 0 and "step 1: step 1 of 10 of one, 64 tokens" in ended.output and "loss 5" in ended.output
    id = next(word for word in ended.output.split() if len(word) == 32)
    ended = CliRunner().invoke(app, ["trace", "--store", store.root, "--document", id])
    assert ended.exit_code == 0 and f"document {id} of" in ended.output and "step        1  one" in ended.output
