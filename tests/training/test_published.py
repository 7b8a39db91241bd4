"""Publication: which checkpoints inside a stage become artifacts, under which names, and what of the working folder may go."""

import json
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest

from recipes.schema import Model
from tasks.artifacts.handles import Checkpoint, Handle, Run, Tokens
from tasks.artifacts.manifest import FileEntry, Manifest, content_digest, sealed, write_manifest
from tasks.artifacts.store import Store, open_store, sha256_bytes
from tasks.engine.job import Job
from tasks.engine.journal import JournalWriter
from tasks.runtime.production import Production, Reader, handle_of
from tasks.training.published import KIND, Publisher, revision

MODEL = Model(
    family="llama", vocabulary_size=64, hidden_size=32, intermediate_size=64, layers=2, heads=4, kv_heads=2, head_size=8, context_tokens=32,
    rope_theta=10000.0, norm_eps=1e-5, tied_embeddings=True, sliding_window=None, initialization="scratch", initializer_range=0.05,
)  # fmt: skip
WORKING = "working/stage"
FILES = ("model-00000-of-00001.safetensors", "optimizer-00000-of-00001.safetensors", "probe.safetensors", "state.json")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(
        name="r", folder=str(tmp_path), store=str(tmp_path / "store"), profile="local", tracking_uri="", tracking_run="", started=0.0
    )


@pytest.fixture
def store(run: Run) -> Store:
    return open_store(run.store)


@pytest.fixture
def tokens(run: Run) -> Tokens:
    with Production(run, "tokens", "tokens", {}, {}, "tasks.tokenization") as made:
        made.add_text("tokenizer/tokenizer.json", b"{}")
        made.seal({"tokens": 1, "held_out_tokens": 1, "vocabulary_size": 64}, {})
    return made.handle(Tokens)


def publisher(run: Run, tokens: Tokens, every: int | None = 250, keep: int = 2) -> Publisher:
    """A publisher of a stage whose step 11 is its first, of 100 tokens a step: with 250 it publishes after steps 13, 15, 18, 20."""
    job = Job(
        stage="two", seed=1, model=MODEL, precision="float32", optimizer=None, schedule=None, anomalies=None, horizon=None, batches=None,
        first_step=10, first_token=1000, tokens_per_step=100, flops_per_token=1.0, checkpoint_every_steps=2, keep_checkpoints=keep,
        publish_every_tokens=every, parent_folder=None, keep_optimizer_state=True, store=run.store, working_folder=WORKING, final_folder="",
    )  # fmt: skip
    return Publisher(run, job, {"stage": {"name": "two"}}, {"tokens": tokens}, Reader.of(run, tokens))


def save(store: Store, step: int, is_sealed: bool = True) -> None:
    """Lay a checkpoint down as the engine does."""
    folder, entries = f"{WORKING}/step-{step:010d}", []
    for name in FILES:
        data = f"{name} after {step}".encode()
        store.write(f"{folder}/{name}", data)
        entries.append(FileEntry(path=name, bytes=len(data), sha256=sha256_bytes(data)))
    if is_sealed:
        write_manifest(store, folder, Manifest(
            kind="unfinished", name=WORKING, version=str(step), digest=content_digest("unfinished", entries, {}), identity={}, files=entries,
            counts={}, details={}, recorded={}, records=[]))  # fmt: skip


def journal(store: Store, last: int) -> None:
    writer = JournalWriter(store, WORKING)
    for step in range(11, last + 1):
        writer.append({"step": step, "time": 0.0, "loss": float(step)})
    writer.flush()


def left(store: Store) -> list[int]:
    return sorted({int(key.split("/step-")[1].split("/")[0]) for key in store.list(WORKING) if "/step-" in key})


def names(store: Store) -> list[str]:
    return sorted(manifest.name for manifest in sealed(store, KIND))


@pytest.mark.parametrize(
    ("tokens", "written"),
    [(999, "999"), (1000, "1K"), (4096, "4K"), (999_999, "999K"), (33_554_432, "33M"), (4_194_304_000, "4B"), (3_896_123_456_789, "3896B")],
)
def test_names_are_revisions_in_the_style_of_the_hub(tokens, written):
    assert revision("stage1", 1000, tokens) == f"stage1-step1000-tokens{written}"


def test_a_published_checkpoint_has_weights_tokenizer_and_counts_and_no_moments(run, store, tokens):
    journal(store, 14)
    save(store, 13)
    publisher(run, tokens).take()
    (manifest,) = sealed(store, KIND)
    assert manifest.name == "two-step13-tokens1K"
    assert [entry.path for entry in manifest.files] == [
        "model-00000-of-00001.safetensors", "model.json", "probe.safetensors", "state.json", "tokenizer/tokenizer.json"
    ]  # fmt: skip
    assert manifest.identity["section"] == {"stage": {"name": "two"}, "step": 13} and set(manifest.identity["parents"]) == {"tokens"}
    folder = Reader(store, manifest).place("", Path(run.folder) / "fetched")
    assert (folder / "model-00000-of-00001.safetensors").read_text() == "model-00000-of-00001.safetensors after 13"
    assert Model.model_validate_json((folder / "model.json").read_bytes()) == MODEL
    handle = handle_of(store, manifest, Checkpoint)
    assert (handle.stage, handle.steps, handle.tokens, handle.parameters) == ("two", 13, 1300, MODEL.parameter_count())
    assert handle.loss == 13.0  # not that of step 14, which the weights have not seen


def test_checkpoints_that_are_not_for_publication_or_not_sealed_are_left_alone(run, store, tokens):
    journal(store, 20)
    for step in (12, 14, 16):
        save(store, step)
    save(store, 15, is_sealed=False)
    publisher(run, tokens).take()
    publisher(run, tokens, every=None).take()
    assert names(store) == [] and left(store) == [12, 14, 15, 16]


def test_a_checkpoint_is_taken_once_and_a_crash_before_its_seal_loses_nothing(run, store, tokens):
    journal(store, 15)
    save(store, 13)
    copy, copies = store.copy, []

    def crash_at_the_second(key: str, target: str) -> None:
        copies.append(key)
        if len(copies) == 2:
            raise OSError("the store went away")
        copy(key, target)

    store.copy = crash_at_the_second
    try:
        with pytest.raises(OSError, match="went away"):
            publisher(run, tokens).take()
        assert names(store) == [] and left(store) == [13]
        publisher(run, tokens).take()
        (first,) = sealed(store, KIND)
        assert len(copies) == 2 + 3
        publisher(run, tokens).take()
        assert len(copies) == 2 + 3 and sealed(store, KIND) == [first]
    finally:
        del store.copy


def test_what_was_published_stays_in_the_working_folder_only_as_long_as_a_resume_may_need_it(run, store, tokens):
    journal(store, 20)
    for step in (13, 14, 15):
        save(store, step)
    publisher(run, tokens, keep=2).take()
    assert names(store) == ["two-step13-tokens1K", "two-step15-tokens1K"] and left(store) == [14, 15]
    save(store, 18)
    publisher(run, tokens, keep=3).take()
    assert left(store) == [14, 15, 18]
    publisher(run, tokens, keep=1).take()
    assert left(store) == [14, 18]  # 14 is the engine's own to forget
    weights = next(manifest for manifest in sealed(store, KIND) if "step13" in manifest.name)
    assert store.read(f"{KIND}/{weights.version}/{FILES[0]}") == f"{FILES[0]} after 13".encode()


def test_the_engine_keeps_what_is_to_be_published_until_somebody_took_it(run, store, tokens):
    from tasks.engine.checkpoint import Saver

    taking = publisher(run, tokens)
    for step in (12, 13, 14, 16, 17):
        save(store, step)
    Saver._forget(SimpleNamespace(store=store, working=WORKING, keep=2, stays=taking.job.publishes))
    assert left(store) == [13, 16, 17]


def test_the_same_checkpoint_has_the_same_digest_wherever_it_is_taken(run, store, tokens, tmp_path):
    digests = []
    for root in (run.store, str(tmp_path / "other")):
        here = run.model_copy(update={"store": root})
        with Production(here, "tokens", "tokens", {}, {}, "tasks.tokenization") as made:
            if made.needed:
                made.add_text("tokenizer/tokenizer.json", b"{}")
                made.seal({"tokens": 1, "held_out_tokens": 1, "vocabulary_size": 64}, {})
        journal(open_store(root), 14)
        save(open_store(root), 13)
        publisher(here, made.handle(Tokens)).take()
        digests.append([manifest.digest for manifest in sealed(open_store(root), KIND)])
    assert digests[0] == digests[1] and len(digests[0]) == 1


def test_a_loss_that_is_no_number_is_not_part_of_the_mean(run, store, tokens):
    writer = JournalWriter(store, WORKING)
    for step, more in ((11, {"loss": 5.0}), (12, {"loss": 4.0}), (13, {"loss": float("nan"), "skipped": "not finite"})):
        writer.append({"step": step, "time": 0.0} | more)
    writer.flush()
    save(store, 13)
    publisher(run, tokens).take()
    assert handle_of(store, sealed(store, KIND)[0], Checkpoint).loss == 4.0


def test_publication_is_not_in_the_identity_of_a_stage():
    from recipes.load import load_recipe
    from tasks.training.train_stage import stage_identity
    from tests.pipeline.micro import ROOT

    recipe = load_recipe(ROOT / "recipes" / "tiny.yaml")
    published = recipe.pretraining.model_copy(update={"publish_every_tokens": 1000})
    assert recipe.pretraining.publish_every_tokens is None
    plain, other = (stage_identity(recipe.model, one, 0, recipe.seed) for one in (recipe.pretraining, published))
    assert json.dumps(plain) == json.dumps(other) and b"publish" not in orjson.dumps(other)


def test_handles_are_the_same_from_a_manifest_and_from_its_production(run, store, tokens):
    with Production(run, "tokens", "tokens", {}, {}, "tasks.tokenization") as made:
        assert made.handle(Tokens) == handle_of(store, made.manifest, Tokens) == tokens
        assert isinstance(made.handle(Handle), Handle)
