"""One byte flipped anywhere (in any kind of artifact, a manifest, a seal, a released folder, a raw file) is found and named."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from reynard.main import app
from tasks.artifacts.manifest import content_digest
from tasks.artifacts.store import sha256_bytes
from tasks.lineage.graph import label_of, store_graph
from tests.lineage.small import SmallStore

QUICK = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)


@contextmanager
def changed(path: Path, data: bytes) -> Iterator[None]:
    """Let a file hold other bytes for a while."""
    before = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(before)


def flipped(data: bytes, at: int) -> bytes:
    """Return bytes with one bit of one of them turned."""
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def verified(model: str, small: SmallStore, *options: str) -> tuple[int, list[dict]]:
    """Verify a model; return the exit code and what was found."""
    where = () if "--store" in options else ("--store", str(small.root))
    ended = CliRunner().invoke(app, ["verify", model, *where, "--json", *options])
    assert ended.exit_code in (0, 1), ended.output
    return ended.exit_code, orjson.loads(ended.stdout)


def test_what_nobody_touched_is_as_it_was_sealed(small: SmallStore):
    for which, folder in small.folders.items():
        assert verified(str(folder), small) == (0, [])
        assert verified(f"release-{which}", small) == (0, [])
    ended = CliRunner().invoke(app, ["verify", str(small.folders["chat"]), "--store", str(small.root)])
    assert "✓ as it was sealed: release-chat@" in ended.output and "10 artifacts" in ended.output


@QUICK
@given(st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_a_flipped_byte_in_any_kind_of_artifact_names_it_and_its_file(small: SmallStore, at: int, chance: random.Random):
    graph = store_graph(small.store)
    chat = graph.back([place for place, one in graph.manifests.items() if one.name == "release-chat"])
    kinds = {one.kind for one in chat.manifests.values()}
    assert kinds == {"raw", "documents", "tokens", "conversations", "checkpoint", "card", "scores", "release"}
    for kind in sorted(kinds):
        place, one = chance.choice([(place, one) for place, one in chat.manifests.items() if one.kind == kind])
        files = [entry.path for entry in [*one.files, *one.records] if entry.bytes]
        path = chance.choice([*files, "manifest.json", "_SUCCESS"])
        file = small.root / place / path
        with changed(file, flipped(file.read_bytes(), at)):
            code, found = verified("release-chat", small, "--no-raw")
        named = {label_of(one), place}
        assert code == 1 and any(row["artifact"] in named and row["file"] in (path, "manifest.json") for row in found), (place, path, found)
        if path in files:
            assert [(row["kind"], row["artifact"], row["file"]) for row in found] == [("damaged", label_of(one), path)]


def test_a_manifest_that_was_sealed_again_after_a_change_is_found_by_what_follows_from_it(small: SmallStore):
    graph = store_graph(small.store)
    place, one = next((place, one) for place, one in graph.manifests.items() if one.kind == "documents")
    forged = one.model_copy(update={"counts": one.counts | {"documents_kept": 34}})
    forged = forged.model_copy(update={"digest": content_digest(forged.kind, forged.files, forged.counts)})
    data = orjson.dumps(forged.model_dump())
    with changed(small.root / place / "manifest.json", data), changed(small.root / place / "_SUCCESS", sha256_bytes(data).encode()):
        code, found = verified("release-chat", small, "--no-raw")
    assert code == 1 and [row["artifact"].split("@")[0] for row in found] == ["tokens"]
    assert f"was made from a documents with digest {one.digest[:16]}" in found[0]["said"]


def test_files_that_were_added_or_are_gone_are_named(small: SmallStore):
    graph = store_graph(small.store)
    place = next(place for place, one in graph.manifests.items() if one.name == "two")
    extra, gone = small.root / place / "more.safetensors", small.root / place / "model.safetensors"
    extra.write_bytes(b"x")
    moved = gone.rename(gone.with_name(".moved"))
    try:
        code, found = verified("release-chat", small, "--no-raw")
    finally:
        extra.unlink()
        moved.rename(gone)
    kinds = {(row["kind"], row["file"]) for row in found}
    assert code == 1 and kinds == {("not sealed", "more.safetensors"), ("damaged", "model.safetensors")}


def test_a_released_folder_is_held_against_its_artifact(small: SmallStore):
    folder = small.folders["chat"]
    with changed(folder / "README.md", flipped((folder / "README.md").read_bytes(), 3)):
        code, found = verified(str(folder), small, "--no-raw")
    assert code == 1 and [(row["artifact"], row["file"]) for row in found] == [(str(folder), "README.md")]
    (folder / "pickle.bin").write_bytes(b"x")
    try:
        code, found = verified(str(folder), small, "--no-raw")
    finally:
        (folder / "pickle.bin").unlink()
    assert code == 1 and [(row["kind"], row["file"]) for row in found] == [("not sealed", "pickle.bin")]


def test_a_raw_file_that_changed_is_named_with_its_source_and_one_that_is_gone_is_said(small: SmallStore):
    raw = small.folder / "raw" / "a.txt"
    with changed(raw, flipped(raw.read_bytes(), 100)):
        code, found = verified("release-chat", small)
    assert code == 1 and [(row["kind"], row["file"]) for row in found] == [("damaged", f"a: {raw}")]
    assert found[0]["artifact"].startswith("raw-documents@")
    moved = raw.rename(raw.with_name("moved"))
    try:
        code, found = verified("release-chat", small)
        ended = CliRunner().invoke(app, ["verify", "release-chat", "--store", str(small.root)])
    finally:
        moved.rename(raw)
    assert code == 0 and [(row["kind"], row["file"], row["said"]) for row in found] == [
        ("not at hand", f"a: {raw}", "cannot be compared: it is gone")
    ]
    assert "1 not at hand, and not looked at" in ended.output


def test_an_artifact_that_was_deleted_is_said_to_be_missing(small: SmallStore):
    graph = store_graph(small.store)
    place = next(place for place, one in graph.manifests.items() if one.kind == "documents")
    seal = small.root / place / "_SUCCESS"
    data = seal.read_bytes()
    seal.unlink()
    try:
        code, found = verified("release-chat", small, "--no-raw")
    finally:
        seal.write_bytes(data)
    assert code == 0 and [(row["kind"], row["artifact"]) for row in found] == [("not at hand", place)]


def test_a_folder_alone_is_held_against_its_own_sums_and_its_manifests_against_each_other(small: SmallStore, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("REYNARD_RUNS", str(tmp_path))
    import shutil

    folder = tmp_path / "downloaded"
    shutil.copytree(small.folders["chat"], folder)
    (folder / "SHA256SUMS").write_text("".join(f"{entry.sha256}  {entry.path}\n" for entry in small.sums("chat")))

    def alone() -> tuple[int, list[dict]]:
        ended = CliRunner().invoke(app, ["verify", str(folder), "--json"])
        return ended.exit_code, orjson.loads(ended.stdout)

    assert alone() == (0, [])
    (folder / "reynard/sbom.cdx.json").write_text("{}")  # a record: no sum is kept of it
    (folder / "notes.txt").write_text("mine")
    code, found = alone()
    assert code == 1 and [(row["kind"], row["file"]) for row in found] == [
        ("not sealed", "notes.txt"),
        ("not at hand", "reynard/sbom.cdx.json"),
    ]
    (folder / "notes.txt").unlink()
    assert alone()[0] == 0
    with changed(folder / "SHA256SUMS", b"garbage"):
        ended = CliRunner().invoke(app, ["verify", str(folder)])
        assert ended.exit_code == 2 and "line 1: 'garbage' is no sum and path" in ended.stderr
    (folder / "reynard/sbom.cdx.json").unlink()
    with changed(folder / "model.safetensors", b"weights of the chat modem"):
        code, found = alone()
        assert code == 1 and [row["file"] for row in found] == ["model.safetensors"]
    told = orjson.loads((folder / "reynard/lineage.json").read_bytes())
    told["manifests"][0]["counts"]["steps"] = 11
    with changed(folder / "reynard/lineage.json", orjson.dumps(told)):
        code, found = alone()
        assert code == 1 and {row["file"] for row in found} == {"reynard/lineage.json", "manifest.json"}


def test_a_run_that_was_copied_is_held_against_the_store_that_lies_in_it(small: SmallStore, tmp_path: Path, monkeypatch):
    import shutil

    run = tmp_path / "runs" / "copy"
    shutil.copytree(small.root, run / "store")
    shutil.copytree(small.folders["chat"], run / "release" / "chat")
    told = {"run": "/elsewhere/runs/small", "store": str(small.root)}
    (run / "summary.json").write_bytes(orjson.dumps({"locations": told, "versions": {}}))
    monkeypatch.setenv("REYNARD_RUNS", str(tmp_path / "runs"))
    good = CliRunner().invoke(app, ["verify", str(run / "release" / "chat"), "--no-raw"])
    assert good.exit_code == 0 and f"held against {run / 'store'}" in good.stdout
    victim = next(
        path for path in sorted((run / "store" / "tokens").rglob("*")) if path.is_file() and path.name not in ("manifest.json", "_SUCCESS")
    )
    with changed(victim, b"other bytes"):
        bad = CliRunner().invoke(app, ["verify", str(run / "release" / "chat"), "--no-raw"])
        assert bad.exit_code == 1 and "damaged: tokens@" in bad.stdout


@pytest.mark.parametrize(
    ("model", "said"),
    [("nothing@12", "has no finished artifact 'nothing@12'"), ("0" * 8, "has no finished artifact '00000000'")],
)
def test_a_model_that_is_not_there_is_one_sentence(small: SmallStore, model: str, said: str):
    ended = CliRunner().invoke(app, ["verify", model, "--store", str(small.root)])
    assert ended.exit_code == 2 and said in ended.output and ended.output.count("\n") == 1
