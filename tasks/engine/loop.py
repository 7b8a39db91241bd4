"""A job to trained weights: the loop that every worker of a Ray Train group runs, for pre-training and SFT alike.

Loss of a step = sum of target tokens' negative log-likelihood / number of target tokens, over the whole global batch, for any
number of ranks and micro-batches. All state that continues a run is found in the artifact store.
"""

import sys
import time

import orjson
import ray.train
import torch
from torch import distributed

if "mlflow" not in sys.modules:  # DeepSpeed's autotuner, never used here, would spend two seconds of every worker importing it
    sys.modules["mlflow"] = None  # type: ignore[assignment]
    import deepspeed

    del sys.modules["mlflow"]
else:
    import deepspeed

from tasks.artifacts.store import open_store
from tasks.artifacts.token_streams import HASH_MASK, targets_hash
from tasks.engine import checkpoint
from tasks.engine.background import BackgroundJournal, persist
from tasks.engine.job import Job, micro_batch_units
from tasks.engine.journal import JournalWriter
from tasks.engine.schedule import learning_rate
from tasks.model.decoder import Decoder
from tasks.model.initialization import initialize

NOT_A_TARGET = -100


def train_worker(config: dict) -> None:
    """Train one stage: build or restore, step through the batches, save the finished checkpoint."""
    job: Job = config["job"]
    threads, zero_stage, most_tokens = config["threads"], config["zero_stage"], config["micro_batch_tokens"]
    if not torch.cuda.is_available():
        torch.set_num_threads(threads)
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # would need a compiler
    rank, world = distributed.get_rank(), distributed.get_world_size()
    unit_tokens = job.tokens_per_step // job.batches.units
    micro = micro_batch_units(job.batches.units, world, most_tokens // max(unit_tokens, 1))
    accumulation = job.batches.units // (world * micro)
    engine = build_engine(job, zero_stage, accumulation)
    done = restore_newest(engine, job)
    probe_ids = job.batches.load(0, [0])[0].ids[:1, : checkpoint.PROBE_TOKENS]
    store = open_store(job.store)
    saver = checkpoint.Saver(store, job.working_folder, attempt_number(engine.device), job.keep_checkpoints)
    journal = BackgroundJournal(JournalWriter(store, job.working_folder))
    stalled = 0.0
    for step in range(done, job.batches.steps):
        begun = time.monotonic()
        loss, consumed = train_step(engine, job, step, rank, world, micro)
        if rank == 0:
            seconds = time.monotonic() - begun
            journal.append({
                "step": job.first_step + step + 1, "time": time.time(), "loss": loss, "learning_rate": engine.optimizer.param_groups[0]["lr"],
                "gradient_norm": float(engine.get_global_grad_norm() or 0.0), "tokens_per_second": job.tokens_per_step / seconds,
                "checkpoint_stall_seconds": stalled, "targets": f"{consumed:016x}"})  # fmt: skip
        stalled = 0.0
        if (step + 1) % job.checkpoint_every_steps == 0 and step + 1 < job.batches.steps:
            steps = job.first_step + step + 1  # a checkpoint never covers steps that the journal does not: it is sealed after the flush
            stalled = saver.save(engine, checkpoint.step_folder(job.working_folder, steps), steps, probe_ids, journal.flush)
    finish(engine, job, saver, journal, probe_ids, rank, world)


def attempt_number(device: torch.device) -> int:
    """Return a number that all workers of this attempt share and no other attempt has."""
    number = torch.tensor([time.time_ns()], dtype=torch.int64, device=device)
    distributed.broadcast(number, 0)
    return int(number.item())


def finish(engine, job: Job, saver: checkpoint.Saver, journal: BackgroundJournal, probe_ids: torch.Tensor, rank: int, world: int) -> None:
    """Save the stage's final state and leave the list of its files where the driver finds it."""
    saver.save(engine, job.final_folder, job.first_step + job.batches.steps, probe_ids)
    files = saver.wait()
    if rank == 0:
        journal.flush()
        done = {"files": [entry.model_dump() for entry in files], "world_size": world}
        persist(lambda: saver.store.write(f"{job.working_folder}/final.json", orjson.dumps(done)))
    ray.train.report({"finished": 1})


def build_engine(job: Job, zero_stage: int, accumulation: int):
    """Make the model and wrap it in DeepSpeed with an AdamW whose state is there from the start."""
    model = Decoder(job.model)
    if job.parent_folder is None:
        initialize(model, job.model, job.seed)
    else:
        checkpoint.load_weights(model, open_store(job.store), job.parent_folder)
    matrices = [p for _, p in sorted(model.named_parameters()) if p.ndim >= 2]
    vectors = [p for _, p in sorted(model.named_parameters()) if p.ndim < 2]
    o = job.optimizer
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": o.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=0.0, betas=(o.beta1, o.beta2), eps=o.eps, fused=torch.cuda.is_available())  # fmt: skip
    config = {
        "train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": accumulation,
        "train_batch_size": accumulation * distributed.get_world_size(), "gradient_clipping": o.max_gradient_norm,
        "zero_optimization": {"stage": zero_stage}, "bf16": {"enabled": job.precision == "bfloat16"},
        "data_types": {"grad_accum_dtype": "fp32"}, "steps_per_print": 10**12, "wall_clock_breakdown": False,
    }  # fmt: skip
    engine, _, _, _ = deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)
    checkpoint.make_optimizer_state(engine)
    return engine


def restore_newest(engine, job: Job) -> int:
    """Continue from the newest finished checkpoint of this stage, or begin it; return the stage's steps already done."""
    store = open_store(job.store)
    steps = checkpoint.sealed_steps(store, job.working_folder)
    if steps:
        return checkpoint.restore(engine, store, f"{job.working_folder}/step-{steps[-1]:010d}", with_weights=True) - job.first_step
    if job.parent_folder is not None and job.keep_optimizer_state:
        checkpoint.restore(engine, store, job.parent_folder, with_weights=False)
    return 0


def train_step(engine, job: Job, step: int, rank: int, world: int, micro: int) -> tuple[float, int]:
    """Take one optimizer step; return the global loss in nats per target token, and a hash of the target tokens of the global batch."""
    rate = learning_rate(job.schedule, job.optimizer.peak_learning_rate, job.horizon, job.first_step + step)
    for group in engine.optimizer.param_groups:
        group["lr"] = rate
    mine = list(range(rank, job.batches.units, world))
    targets = job.batches.targets(step)
    scale = world * len(mine) // micro / targets  # DeepSpeed averages over ranks and accumulation: undo it
    total, consumed = torch.zeros((), device=engine.device), 0
    for start in range(0, len(mine), micro):
        groups = job.batches.load(step, mine[start : start + micro])
        consumed += targets_hash(row[row != NOT_A_TARGET].numpy() for group in groups for row in group.labels)
        nll = engine([group.to(engine.device) for group in groups])
        engine.backward(nll * scale)
        engine.step()
        total += nll.detach()
    everything = torch.tensor([consumed & HASH_MASK], dtype=torch.int64, device=engine.device)
    distributed.all_reduce(total)
    distributed.all_reduce(everything)  # whose overflow the mask does not see
    return total.item() / targets, int(everything.item()) & HASH_MASK
