"""The engine on real Ray and DeepSpeed, against a plain float32 loop, at one and two workers, and after a kill."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
import torch
from safetensors.torch import load_file

from recipes.errors import BadInput
from recipes.schema import AdamW, Anomalies, Model, Schedule
from tasks.artifacts.manifest import Manifest, write_manifest
from tasks.artifacts.store import Store
from tasks.artifacts.tensors import read_tensors
from tasks.artifacts.token_streams import targets_hash
from tasks.engine.checkpoint import sealed_steps
from tasks.engine.job import STOP, Job
from tasks.engine.journal import JournalReader, merged_rows
from tasks.engine.schedule import Horizon, learning_rate
from tasks.runtime.cluster import Profile
from tasks.runtime.tracking import Tracking

MODEL = Model(
    family="llama", vocabulary_size=64, hidden_size=32, intermediate_size=64, layers=2, heads=4, kv_heads=2, head_size=8, context_tokens=32,
    rope_theta=10000.0, norm_eps=1e-5, tied_embeddings=True, sliding_window=None, initialization="scratch", initializer_range=0.05,
)  # fmt: skip
OPTIMIZER = AdamW(peak_learning_rate=5e-3, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, max_gradient_norm=0.5)
SCHEDULE = Schedule(form="cosine", warmup_steps=3, final_fraction=0.1)
LOG = Anomalies(policy="log", window_steps=8, threshold=8.0, most_skipped_steps=0)
STEPS, UNITS, TOKENS = 8, 4, 16


def batches(steps: int, offset: int, die_at: int = -1, marker: str = "", victim: int = 0, number: int = signal.SIGKILL, heard: str = ""):
    """Random batches with masked labels, made where Ray can send them: as a class by value.

    Whoever loads the one at `die_at` for the first time sends a signal: to itself, or to the `victim`; and then waits until the file
    `heard` is there and the workers have had the time to look at it.
    """

    class RandomBatches:
        def __init__(self):
            self.steps, self.units, self.unit_tokens = steps, UNITS, TOKENS

        def _batch(self, step):
            chance = torch.Generator().manual_seed(1000 + offset + step)
            ids = torch.randint(0, 64, (UNITS, TOKENS + 1), generator=chance)
            labels = ids[:, 1:].clone()
            labels[torch.rand(labels.shape, generator=chance) < 0.3] = -100  # rows differ in their number of targets
            return ids[:, :-1].contiguous(), labels

        def targets(self, step):
            return int((self._batch(step)[1] != -100).sum())

        def describe(self, step, units):
            return units

        def load(self, step, units):
            if step == die_at and not os.path.exists(marker):
                open(marker, "w").close()
                os.kill(victim or os.getpid(), number)
                if heard:
                    from tasks.engine.notice import LOOK_SECONDS

                    while not os.path.exists(heard):
                        time.sleep(0.1)
                    time.sleep(3 * LOOK_SECONDS)
            from tasks.model.decoder import Group

            ids, labels = self._batch(step)
            return [Group(ids[units], labels[units])]

    return RandomBatches()


def job(root: Path, name: str, data, first_step: int = 0, parent: str | None = None, keep: bool = True) -> Job:
    return Job(
        stage=name, seed=1, model=MODEL, precision="float32", optimizer=OPTIMIZER, schedule=SCHEDULE, anomalies=LOG, horizon=Horizon(2 * STEPS),
        batches=data, first_step=first_step, first_token=first_step * UNITS * TOKENS, tokens_per_step=UNITS * TOKENS, flops_per_token=1.0,
        checkpoint_every_steps=3, keep_checkpoints=2, publish_every_tokens=None, parent_folder=parent, keep_optimizer_state=keep,
        store=str(root), working_folder=f"working/{name}", final_folder=f"checkpoint/{name}",
    )  # fmt: skip


def train(root: Path, workers: int, the_job: Job, zero_stage: int = 1) -> tuple[dict[str, torch.Tensor], list[float]]:
    from tasks.engine.launch import run_job

    files, rows, world = run_job(the_job, Profile("local", workers, 1, 0, zero_stage, TOKENS), Tracking("", ""), str(root / "ray"))
    assert world == workers
    for step, row in enumerate(rows):  # whatever was dealt to whom
        labels = the_job.batches.load(step, list(range(UNITS)))[0].labels
        assert row["targets"] == f"{targets_hash(one[one != -100].numpy() for one in labels):016x}"
    sealed = Manifest(
        kind="checkpoint", name=the_job.stage, version="1", digest="", identity={}, files=files, counts={}, details={}, recorded={}, records=[]
    )  # fmt: skip
    write_manifest(Store(str(root)), the_job.final_folder, sealed)
    return read_tensors(sorted((root / the_job.final_folder).glob("model-*.safetensors"))), [row["loss"] for row in rows]


def plain_loop(parts: list[tuple[object, bool]]) -> tuple[dict[str, torch.Tensor], list[float]]:
    """The same training without Ray, DeepSpeed or micro-batches: stages of (batches, keep optimizer state)."""
    from tasks.model.decoder import Decoder

    model = Decoder(MODEL)
    model.initialize(1)
    losses, step = [], 0
    optimizer = None
    for data, keep in parts:
        if optimizer is None or not keep:
            groups = [[p for p in model.parameters() if p.ndim >= 2], [p for p in model.parameters() if p.ndim < 2]]
            optimizer = torch.optim.AdamW(
                [{"params": groups[0], "weight_decay": 0.1}, {"params": groups[1], "weight_decay": 0.0}],
                betas=(0.9, 0.95),
                eps=1e-8,
                lr=0.0,
            )
        for local in range(data.steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(SCHEDULE, OPTIMIZER.peak_learning_rate, Horizon(2 * STEPS), step)
            loss = model(data.load(local, list(range(UNITS)))) / data.targets(local)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            step += 1
    return model.state_dict(), losses


def assert_close(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], tolerance: float) -> None:
    assert set(ours) == set(theirs)
    worst = max((ours[name] - theirs[name]).abs().max().item() for name in ours)
    assert worst <= tolerance, worst


def every_row(root: Path, name: str) -> list[dict]:
    """Return all rows that all attempts wrote, also those that later ones replace."""
    return JournalReader(Store(str(root)), f"working/{name}").new_rows()


def checkpoint_steps(root: Path, name: str) -> list[int]:
    """Return the steps of the sealed checkpoints inside a stage."""
    return sealed_steps(Store(str(root)), f"working/{name}")


@pytest.mark.slow
def test_stages_that_change_workers_and_zero_stage_equal_a_plain_float32_loop(tmp_path: Path):
    """Two workers until the driver gets SIGTERM inside a stage, then one worker with ZeRO 2, then two workers for the next stage."""
    marker = str(tmp_path / "told")
    stop = str(tmp_path / "working" / "one" / STOP)
    told = batches(STEPS, 0, die_at=5, marker=marker, victim=os.getpid(), number=signal.SIGTERM, heard=stop)
    with pytest.raises(SystemExit, match="143"):
        train(tmp_path, 2, job(tmp_path, "one", told))
    taken = [row["step"] for row in every_row(tmp_path, "one")]
    assert 4 <= len(taken) < STEPS and checkpoint_steps(tmp_path, "one")[-1] == taken[-1], "the last step that was taken is saved"
    _, first = train(tmp_path, 1, job(tmp_path, "one", told), zero_stage=2)
    assert [row["step"] for row in every_row(tmp_path, "one")] == list(range(1, STEPS + 1)), "no step was taken twice"
    weights, second = train(tmp_path, 2, job(tmp_path, "two", batches(STEPS, 500), first_step=STEPS, parent="checkpoint/one"))
    expected, losses = plain_loop([(batches(STEPS, 0), True), (batches(STEPS, 500), True)])
    assert [*first, *second] == pytest.approx(losses, abs=2e-5)
    assert_close(weights, expected, 2e-5)
    probe = load_file(tmp_path / "checkpoint/two/probe.safetensors")
    from tasks.model.decoder import Decoder

    model = Decoder(MODEL)
    model.load_state_dict(weights)
    with torch.no_grad():
        assert torch.allclose(model.logits(probe["ids"]), probe["logits"], atol=1e-5)


@pytest.mark.slow
def test_a_killed_worker_changes_nothing_and_no_step_counts_twice(tmp_path: Path):
    undisturbed, losses = train(tmp_path / "calm", 2, job(tmp_path / "calm", "run", batches(STEPS, 0)))
    marker = str(tmp_path / "died")
    weights, again = train(tmp_path / "killed", 2, job(tmp_path / "killed", "run", batches(STEPS, 0, die_at=5, marker=marker)))
    assert os.path.exists(marker), "the worker was to die at step 5"
    assert again == losses and len(losses) == STEPS
    assert all(torch.equal(weights[name], undisturbed[name]) for name in weights)


def test_a_batch_that_the_workers_cannot_share_is_refused_before_ray_starts(tmp_path: Path):
    from tasks.engine.launch import run_job

    with pytest.raises(BadInput, match=r"stage 'run': a batch of 4 units cannot be dealt to 3 workers equally"):
        run_job(job(tmp_path, "run", batches(STEPS, 0)), Profile("local", 3, 1, 0, 1, TOKENS), Tracking("", ""), str(tmp_path))


@pytest.mark.slow
def test_a_stage_may_begin_from_a_parent_with_fewer_layers(tmp_path: Path):
    """Training goes on from the parent's weights: the first loss is the parent's, since the new layer begins as the identity."""
    from safetensors.torch import save_file

    from tasks.model.decoder import Decoder

    parent = Decoder(MODEL)
    parent.initialize(7)
    (tmp_path / "parent").mkdir()
    save_file(dict(parent.state_dict()), tmp_path / "parent" / "model.safetensors")
    rule = {
        "location": str(tmp_path / "parent"),
        "revision": None,
        "licence": "-",
        "sha256": None,
        "layers": [0, 1, 1],
        "new_layers": "identity",
    }
    larger = Model.model_validate(MODEL.model_dump() | {"layers": 3, "initialization": "expand", "expand": rule})
    data = batches(STEPS, 0)
    weights, losses = train(tmp_path, 1, replace(job(tmp_path, "grown", data), model=larger))
    with torch.no_grad():
        first = parent(data.load(0, list(range(UNITS)))) / data.targets(0)
    assert losses[0] == pytest.approx(first.item(), abs=1e-5)
    assert weights["model.layers.2.mlp.down_proj.weight"].abs().max() > 0, "the new layer began as the identity, and was trained"


# --- steps that go wrong ---

LONG, WRONG = 14, 10  # the batch at index 10 is like no other


def strange_batches(told: str = "", at: int = -1, number: int = signal.SIGTERM):
    """Batches of two tokens that the model learns at once, but for one of all others; a worker gets a signal while it reads one of them.

    The file `told` then holds its process id.
    """

    class StrangeBatches:
        def __init__(self):
            self.steps, self.units, self.unit_tokens = LONG, UNITS, TOKENS

        def targets(self, step):
            return UNITS * TOKENS

        def load(self, step, units):
            if step == at and not os.path.exists(told):
                with open(told, "w") as file:
                    file.write(str(os.getpid()))
                os.kill(os.getpid(), number)
            from tasks.model.decoder import Group

            chance = torch.Generator().manual_seed(step)
            low, high = (3, 64) if step == WRONG else (1, 3)
            ids = torch.randint(low, high, (UNITS, TOKENS + 1), generator=chance)[units]
            return [Group(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())]

        def describe(self, step, units):
            return [{"unit": unit, "batch": step} for unit in units]

    return StrangeBatches()


def without_updates(left_out: set[int], data) -> dict[str, torch.Tensor]:
    """Train in a plain loop that makes no update at some steps; return the weights."""
    from tasks.model.decoder import Decoder

    model = Decoder(MODEL)
    model.initialize(1)
    groups = [[p for p in model.parameters() if p.ndim >= 2], [p for p in model.parameters() if p.ndim < 2]]
    optimizer = torch.optim.AdamW(
        [{"params": groups[0], "weight_decay": 0.1}, {"params": groups[1], "weight_decay": 0.0}], betas=(0.9, 0.95), eps=1e-8, lr=0.0
    )
    for step in set(range(LONG)) - left_out:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(SCHEDULE, OPTIMIZER.peak_learning_rate, Horizon(2 * STEPS), step)
        (model(data.load(step, list(range(UNITS)))) / data.targets(step)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
    return model.state_dict()


@pytest.mark.slow
def test_a_spike_is_skipped_and_a_worker_that_is_told_to_leave_loses_no_step(tmp_path: Path):
    marker = str(tmp_path / "told")
    rule = Anomalies(policy="skip", window_steps=8, threshold=2.0, most_skipped_steps=1)
    weights, losses = train(tmp_path, 2, replace(job(tmp_path, "run", strange_batches(marker, at=6)), anomalies=rule))
    rows = every_row(tmp_path, "run")
    assert os.path.exists(marker) and [row["step"] for row in rows] == list(range(1, LONG + 1)), (
        "each step once, over both groups of workers"
    )
    assert [row["step"] for row in rows if "skipped" in row] == [WRONG + 1] and losses[WRONG] > 2 * losses[WRONG - 1]
    assert_close(weights, without_updates({WRONG}, strange_batches()), 2e-5)
    report = orjson.loads(Store(str(tmp_path)).read(f"working/run/anomalies/step-{WRONG + 1:010d}.json"))
    assert report["why"] == "spike" and report["score"] > 2.0 and report["row"]["loss"] == losses[WRONG]
    assert set(report["gradient_norms"]) == set(weights) and min(report["gradient_norms"].values()) > 0
    assert sum(report["unit_losses"].values()) / UNITS == pytest.approx(losses[WRONG], rel=1e-5)
    assert sorted(one["unit"] for one in report["worst_units"]) == [0, 1, 2, 3] and report["worst_units"][0]["batch"] == WRONG


@pytest.mark.slow
def test_a_spike_takes_training_back_to_the_newest_checkpoint_and_on_behind_its_batch(tmp_path: Path):
    rule = Anomalies(policy="roll_back", window_steps=8, threshold=2.0, most_skipped_steps=2)
    asked = tmp_path / "asked"
    data = strange_batches(str(asked), at=2, number=signal.SIGUSR1)
    weights, losses = train(tmp_path, 1, replace(job(tmp_path, "run", data), anomalies=rule))
    log = max(Path("/tmp/ray").glob(f"session_*/logs/worker-*-{asked.read_text()}.err"), key=lambda path: path.stat().st_mtime)
    assert "in load" in log.read_text(), "asked where it is, a worker says so in its log, and goes on"
    skipped = {row["step"]: row["skipped"] for row in merged_rows(Store(str(tmp_path)), "working/run") if "skipped" in row}
    assert skipped == {WRONG: "rolled back", WRONG + 1: "spike"} and len(losses) == LONG, "the newest checkpoint was behind step 9"
    assert_close(weights, without_updates({WRONG - 1, WRONG}, strange_batches()), 2e-5)


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_a_job_in_words_if_the_recipe_only_logs(tmp_path: Path):
    steep = OPTIMIZER.model_copy(update={"peak_learning_rate": 1e30})
    with pytest.raises(
        RuntimeError, match=r"loss of step 2 is .*, its gradients' norm (inf|nan): .*set anomalies.policy to .*; see .*/anomalies"
    ):
        train(tmp_path, 1, replace(job(tmp_path, "run", batches(STEPS, 0)), optimizer=steep))
    assert [row["step"] for row in every_row(tmp_path, "run")] == [1]
