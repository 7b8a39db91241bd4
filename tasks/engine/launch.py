"""A job to a finished checkpoint in the store: start the workers on Ray, follow the journal, show progress, feed the tracker."""

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

from recipes.errors import BadInput
from tasks.artifacts.manifest import FileEntry
from tasks.artifacts.store import Store, open_store
from tasks.engine.background import Beside, persist
from tasks.engine.job import FINAL, OUTCOME, Job, micro_batch_units
from tasks.engine.journal import JournalReader, Row, merged_rows
from tasks.panels.formats import clock, compact, is_number
from tasks.runtime.cluster import Profile, connect_ray
from tasks.runtime.feeder import Feeder
from tasks.runtime.progress import Progress
from tasks.runtime.tracking import Tracking

if TYPE_CHECKING:
    from tasks.engine.notice import StopOnTerm

FOLLOW_SECONDS = 1.0
BESIDE_SECONDS = 10.0
QUIET_SECONDS = 120.0  # without a step, until the driver says where to look
ATTEMPTS = 4  # behind the same checkpoint


def run_job(
    job: Job, profile: Profile, tracking: Tracking, scratch: str, beside: Callable[[], None] = lambda: None
) -> tuple[list[FileEntry], list[Row], int]:
    """Train a job to its end; return the checkpoint's files, the journal's rows and the world size.

    `beside` is called now and then while training goes on, by a thread of its own; an error in it ends nothing.
    RuntimeError if training fails for good, SystemExit if SIGTERM ended it, its last step saved. A job whose checkpoint is finished
    already (the driver died just after) is not trained again.
    """
    try:
        micro_batch_units(job.batches.units, profile.workers, 1)
    except ValueError as error:
        raise BadInput(f"stage {job.stage!r}: {error}") from None
    store = open_store(job.store)
    final = f"{job.working_folder}/{FINAL}"
    feeder = tracking.follow(lambda: merged_rows(store, job.working_folder))
    if not store.exists(final):
        from tasks.engine.notice import StopOnTerm

        describe_job(job, profile)
        connect_ray()
        with StopOnTerm(store, job.working_folder) as stop, Follower(job, feeder), Beside(beside, BESIDE_SECONDS):
            train_to_end(job, profile, scratch, store, stop)
    done = orjson.loads(store.read(final))
    rows = merged_rows(store, job.working_folder)
    feeder.complete(rows)
    return [FileEntry(**entry) for entry in done["files"]], rows, done["world_size"]


def train_to_end(job: Job, profile: Profile, scratch: str, store: Store, stop: "StopOnTerm") -> None:
    """Run groups of workers, one after the other, until one has finished the job.

    A group ends before the job if it was told to stop, if it goes back to a checkpoint, or if it fails: then as often as it fails, so
    long as there is a newer checkpoint than when it began. RuntimeError if there is none, or the workers say that there is no use.
    """
    from ray.train import TrainingFailedError

    outcome = f"{job.working_folder}/{OUTCOME}"
    while not persist(lambda: store.exists(f"{job.working_folder}/{FINAL}")):
        persist(lambda: store.remove(outcome))
        newest = persist(lambda: checkpoints_of(store, job))
        try:
            fit(job, profile, scratch)
        except TrainingFailedError as error:
            if persist(lambda: checkpoints_of(store, job)) == newest:
                raise RuntimeError(f"training of {job.stage} failed {ATTEMPTS} times behind the same checkpoint: {error}") from error
        said = orjson.loads(persist(lambda: store.read(outcome) if store.exists(outcome) else b"{}"))
        if "error" in said:
            raise RuntimeError(f"training of {job.stage} ended: {said['error']}; see {store.uri(job.working_folder)}/anomalies")
        if stop.asked:
            print(
                f"  {job.stage} stopped after step {said.get('stopped', 'unknown')}: run the same command to go on from there", flush=True
            )
            raise SystemExit(128 + signal.SIGTERM)
        if said:
            what = (
                f"goes back behind step {said['rolled_back']}"
                if "rolled_back" in said
                else f"was told to leave after step {said['stopped']}"
            )
            print(f"! {job.stage} {what}: starting its workers again", flush=True)


def checkpoints_of(store: Store, job: Job) -> list[str]:
    """Return the seals of the checkpoints inside a job's stage."""
    return [key for key in store.list(job.working_folder) if "/step-" in key and key.endswith("/_SUCCESS")]


def describe_job(job: Job, profile: Profile) -> None:
    """Write what whoever follows the journal needs to know: `job.json` beside it."""
    told = {
        "stage": job.stage, "first_step": job.first_step, "steps": job.batches.steps, "tokens_per_step": job.tokens_per_step,
        "checkpoint_every_steps": job.checkpoint_every_steps, "world_size": profile.workers, "started": time.time(),
        "final_folder": job.final_folder,
    }  # fmt: skip
    open_store(job.store).write(f"{job.working_folder}/job.json", orjson.dumps(told))


def fit(job: Job, profile: Profile, scratch: str) -> None:
    """Run the worker group; Ray replaces workers that die, and the job finds its own state in the store."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2._internal.callbacks import DatasetsCallback

    from tasks.engine.notice import ListeningTorchConfig

    class Trainer(TorchTrainer):
        """Without the process that Ray Train starts for Ray Data's data sets, of which there are none here."""

        def _create_default_callbacks(self) -> list:
            return [one for one in super()._create_default_callbacks() if not isinstance(one, DatasetsCallback)]

    on_gpu = profile.gpus_per_worker > 0
    resources = {"CPU": profile.cpus_per_worker} | ({"GPU": profile.gpus_per_worker} if on_gpu else {})
    trainer = Trainer(
        run_worker,
        train_loop_config={"job": job, "profile": profile},
        torch_config=ListeningTorchConfig(backend="nccl" if on_gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=profile.workers, use_gpu=on_gpu, resources_per_worker=resources),
        run_config=RunConfig(
            name=f"{job.stage}-{os.getpid()}-{time.time_ns()}", storage_path=scratch if job.store.find("://") < 0 else f"{job.store}/working/ray",
            failure_config=FailureConfig(max_failures=ATTEMPTS - 1)),
    )  # fmt: skip
    trainer.fit()


def run_worker(config: dict) -> None:
    """Train as one worker of a group. Ray's controller, which only passes this function on, need not load DeepSpeed for it."""
    from tasks.engine.loop import train_worker

    train_worker(config)


class Follower:
    """A thread that turns the journal into a progress line and tracker metrics while the driver waits."""

    def __init__(self, job: Job, feeder: Feeder) -> None:
        self.job, self.feeder = job, feeder
        self.reader = JournalReader(open_store(job.store), job.working_folder)
        self.progress = Progress(job.stage, job.batches.steps * job.tokens_per_step, "tokens")
        self.stopped = threading.Event()
        self.heard, self.quiet = time.monotonic(), QUIET_SECONDS
        self.thread = threading.Thread(target=self._follow, daemon=True)

    def _watch_silence(self, rows: list[Row]) -> None:
        """Say where to look if no step was taken for long, and again when it has been twice as long."""
        now = time.monotonic()
        if rows:
            self.heard, self.quiet = now, QUIET_SECONDS
        elif now - self.heard > self.quiet:
            print(
                f"! {self.job.stage}: no step for {clock(now - self.heard)}; its workers' logs are below /tmp/ray/session_latest/logs "
                "on their machines, and `kill -USR1` of one writes there where it waits",
                flush=True,
            )
            self.quiet *= 2

    def _follow(self) -> None:
        while not self.stopped.wait(FOLLOW_SECONDS):
            try:
                rows = self.reader.new_rows()
            except OSError:  # the store did not answer: the next look finds the same rows
                continue
            self.feeder.add(rows)
            self._watch_silence(rows)
            if rows:
                last = rows[-1]
                step = int(last["step"]) - self.job.first_step
                rate = f"lr {last['learning_rate']:.2e}  {compact(last['tokens_per_second'])} tokens/s"
                rate += f"  MFU {last['mfu']:.1%}" if is_number(last.get("mfu")) else ""
                loss = f"{last['loss']:.3f}" if is_number(last["loss"]) else "not a number"
                until = next((s + 1 for s in range(step, self.job.batches.steps - 1) if self.job.saves_after(s)), self.job.batches.steps)
                note = f"step {step}/{self.job.batches.steps}  loss {loss}  {rate}  next checkpoint {until}"
                self.progress.reach(step * self.job.tokens_per_step, note)

    def __enter__(self) -> "Follower":
        self.progress.__enter__()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()
        self.progress.__exit__(None, None, None)
