"""A model and a batch's size to a job of the real engine, on random tokens: what benchmarks of training as it is run share."""

import math
import multiprocessing
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from recipes.schema import AdamW, Anomalies, Model, Schedule
from tasks.artifacts.manifest import JSON
from tasks.engine.job import Job
from tasks.engine.journal import Row
from tasks.engine.schedule import Horizon
from tasks.runtime.cluster import Profile

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class RandomTokens:
    """Batches of random ids, each unit one sequence."""

    steps: int
    units: int
    tokens: int
    vocabulary_size: int

    @property
    def unit_tokens(self) -> int:
        """Tokens of a unit."""
        return self.tokens

    def targets(self, step: int) -> int:
        """Count the target tokens: all."""
        return self.units * self.tokens

    def load(self, step: int, units: list[int]):
        """Draw the units of a batch."""
        import torch

        from tasks.model.decoder import Group

        chance = torch.Generator().manual_seed(step)
        ids = torch.randint(0, self.vocabulary_size, (self.units, self.tokens + 1), generator=chance)[units]
        return [Group(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())]

    def describe(self, step: int, units: list[int]) -> list[JSON]:
        """Say what units are."""
        return [{"unit": unit} for unit in units]


def decoder(vocabulary_size: int, hidden_size: int, layers: int, intermediate_size: int, tokens: int, head_size: int = 64) -> Model:
    """Return a decoder with Fox-1's proportions of heads: a fourth as many of keys and values."""
    heads = hidden_size // head_size
    return Model(
        family="llama", vocabulary_size=vocabulary_size, hidden_size=hidden_size, intermediate_size=intermediate_size, layers=layers,
        heads=heads, kv_heads=max(heads // 4, 1), head_size=head_size, context_tokens=tokens, rope_theta=10000.0, norm_eps=1e-5,
        tied_embeddings=True, sliding_window=None, initialization="scratch", initializer_range=0.02,
    )  # fmt: skip


def engine_job(model: Model, batches: RandomTokens, precision: str, store: str, name: str, every: int) -> Job:
    """Return a job that saves a checkpoint every so many steps and keeps all of them."""
    return Job(
        stage=name, seed=1, model=model, precision=precision,
        optimizer=AdamW(peak_learning_rate=1e-4, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, max_gradient_norm=1.0),
        schedule=Schedule(form="cosine", warmup_steps=1, final_fraction=0.1), horizon=Horizon(batches.steps),
        anomalies=Anomalies(policy="log", window_steps=8, threshold=1e9, most_skipped_steps=0), batches=batches, first_step=0, first_token=0,
        tokens_per_step=batches.units * batches.tokens, flops_per_token=6.0 * model.parameter_count(), checkpoint_every_steps=every,
        keep_checkpoints=batches.steps, publish_every_tokens=None, parent_folder=None, keep_optimizer_state=True, store=store,
        working_folder=f"working/{name}", final_folder=f"checkpoint/{name}",
    )  # fmt: skip


def profile_of(workers: int, zero_stage: int, micro_batch_tokens: int, device: str) -> Profile:
    """Return so many workers on one machine: GPUs, or this machine's cores shared equally."""
    if device == "cuda":
        return Profile("benchmark", workers, 4, 1, zero_stage, micro_batch_tokens, compile_blocks=True)
    return Profile("benchmark", workers, max((os.cpu_count() or 1) // workers, 1), 0, zero_stage, micro_batch_tokens)


def run(job: Job, profile: Profile, scratch: str) -> list[Row]:
    """Train a job on Ray and DeepSpeed with this checkout's code; return its journal's rows."""
    from tasks.engine.launch import run_job
    from tasks.runtime.tracking import Tracking

    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])  # workers inherit it
    assert Path(sys.modules["tasks"].__path__[0]).parent == ROOT, "another checkout's modules came first"
    return run_job(job, profile, Tracking("", ""), scratch)[1]


def run_workers(job: Job, profile: Profile, method: str = "spawn") -> list[Row]:
    """Train a job with the engine's workers in processes without Ray, which needs seconds for each group; return the journal's rows.

    `method` starts them: `spawn`, each with memory of its own, or `forkserver`, which loads the engine once for all groups.
    """
    from tasks.artifacts.store import open_store
    from tasks.engine.journal import merged_rows

    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # a CPU's tensors are given back when they are freed: what is resident is what lives
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(["tasks.engine.loop"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [context.Process(target=_work, args=(rank, port, job, profile)) for rank in range(profile.workers)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    if any(process.exitcode for process in started):
        raise RuntimeError(f"a worker ended with {[process.exitcode for process in started]}")
    return merged_rows(open_store(job.store), job.working_folder)


def _work(rank: int, port: int, job: Job, profile: Profile) -> None:
    import torch
    from torch import distributed

    on_gpu = profile.gpus_per_worker > 0
    os.environ |= {"LOCAL_RANK": str(rank), "RANK": str(rank), "WORLD_SIZE": str(profile.workers)}
    if on_gpu:
        torch.cuda.set_device(rank)
    address = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("nccl" if on_gpu else "gloo", init_method=address, rank=rank, world_size=profile.workers)
    if hasattr(job.batches, "begin"):
        job.batches.begin()
    import ray.train

    from tasks.engine import loop, notice

    notice.ASK_RAY_SECONDS, ray.train.report = math.inf, lambda _: None
    loop.train_worker({"job": job, "profile": profile})


def step_seconds(job: Job, row: Row) -> float:
    """Return how long a step took, without the saving behind it."""
    return job.tokens_per_step / row["tokens_per_second"]
