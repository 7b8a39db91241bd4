"""A job to a finished checkpoint in the store: start the workers on Ray, follow the journal, show progress, feed the tracker."""

import os
import threading
import time

import orjson

from recipes.errors import BadInput
from tasks.artifacts.manifest import FileEntry
from tasks.artifacts.store import open_store
from tasks.engine.job import Job, micro_batch_units
from tasks.engine.journal import JournalReader, Row, merged_rows
from tasks.panels.formats import compact, is_number
from tasks.runtime.cluster import Profile, connect_ray
from tasks.runtime.feeder import Feeder
from tasks.runtime.progress import Progress
from tasks.runtime.tracking import Tracking

FOLLOW_SECONDS = 1.0


def run_job(job: Job, profile: Profile, tracking: Tracking, scratch: str) -> tuple[list[FileEntry], list[Row], int]:
    """Train a job to its end; return the checkpoint's files, the journal's rows and the world size.

    RuntimeError if training fails for good. A job whose checkpoint is finished already (the driver died just after) is not
    trained again.
    """
    try:
        micro_batch_units(job.batches.units, profile.workers, 1)
    except ValueError as error:
        raise BadInput(f"stage {job.stage!r}: {error}") from None
    store = open_store(job.store)
    final = f"{job.working_folder}/final.json"
    feeder = tracking.follow(lambda: merged_rows(store, job.working_folder))
    if not store.exists(final):
        describe_job(job, profile)
        connect_ray()
        with Follower(job, feeder):
            fit(job, profile, scratch)
    done = orjson.loads(store.read(final))
    rows = merged_rows(store, job.working_folder)
    feeder.add(rows)
    return [FileEntry(**entry) for entry in done["files"]], rows, done["world_size"]


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
    from ray.train.torch import TorchConfig, TorchTrainer

    from tasks.engine.loop import train_worker

    on_gpu = profile.gpus_per_worker > 0
    resources = {"CPU": profile.cpus_per_worker} | ({"GPU": profile.gpus_per_worker} if on_gpu else {})
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"job": job, "threads": profile.cpus_per_worker, "zero_stage": profile.zero_stage, "micro_batch_tokens": profile.micro_batch_tokens},
        torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=profile.workers, use_gpu=on_gpu, resources_per_worker=resources),
        run_config=RunConfig(
            name=f"{job.stage}-{os.getpid()}-{time.time_ns()}", storage_path=scratch if job.store.find("://") < 0 else f"{job.store}/working/ray",
            failure_config=FailureConfig(max_failures=3)),
    )  # fmt: skip
    trainer.fit()


class Follower:
    """A thread that turns the journal into a progress line and tracker metrics while the driver waits."""

    def __init__(self, job: Job, feeder: Feeder) -> None:
        self.job, self.feeder = job, feeder
        self.reader = JournalReader(open_store(job.store), job.working_folder)
        self.progress = Progress(job.stage, job.batches.steps * job.tokens_per_step, "tokens")
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._follow, daemon=True)

    def _follow(self) -> None:
        while not self.stopped.wait(FOLLOW_SECONDS):
            try:
                rows = self.reader.new_rows()
            except OSError:  # the store did not answer: the next look finds the same rows
                continue
            self.feeder.add(rows)
            if rows:
                last = rows[-1]
                step = int(last["step"]) - self.job.first_step
                rate = f"lr {last['learning_rate']:.2e}  {compact(last['tokens_per_second'])} tokens/s"
                loss = f"{last['loss']:.3f}" if is_number(last["loss"]) else "not a number"
                note = f"step {step}/{self.job.batches.steps}  loss {loss}  {rate}"
                self.progress.reach(step * self.job.tokens_per_step, note)

    def __enter__(self) -> "Follower":
        self.progress.__enter__()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()
        self.progress.__exit__(None, None, None)
