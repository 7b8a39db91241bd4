"""A job to trained weights: the loop that every worker of a Ray Train group runs, for pre-training and SFT alike.

Loss of a step = sum of target tokens' negative log-likelihood / number of target tokens, over the whole global batch, for any
number of ranks and micro-batches. All state that continues a run is found in the artifact store.
"""

import faulthandler
import resource
import signal
import time

import orjson
import ray.train
import torch
from torch import distributed

from tasks.artifacts.manifest import digest_of
from tasks.artifacts.store import Store, open_store
from tasks.artifacts.token_streams import HASH_MASK
from tasks.engine import checkpoint
from tasks.engine.anomalies import Anomaly, Detector, Reporter, drop_update, gradient_norm
from tasks.engine.background import BackgroundJournal, persist
from tasks.engine.job import FINAL, OUTCOME, Job, micro_batch_units
from tasks.engine.journal import JournalWriter, Row, merged_rows
from tasks.engine.lean_deepspeed import deepspeed
from tasks.engine.notice import Notices
from tasks.engine.prefetch import Prefetch
from tasks.engine.schedule import learning_rate
from tasks.model.decoder import Decoder
from tasks.model.initialization import initialize
from tasks.model.lora import add_adapters
from tasks.runtime.cluster import Profile


def train_worker(config: dict) -> None:
    """Train one stage: build or restore, step through the batches, save the finished checkpoint.

    Ends without a finished checkpoint if it was told to stop, or goes back to a checkpoint: the driver reads `outcome.json` and knows.
    """
    faulthandler.register(signal.SIGUSR1)  # `kill -USR1` of a silent worker: where it waits, in its log (docs/runbook.md)
    job, profile = config["job"], config["profile"]
    if not torch.cuda.is_available():
        torch.set_num_threads(profile.cpus_per_worker)
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # would need a compiler
    Worker(job, profile).train()
    ray.train.report({"ended": 1})


class Worker:
    """One rank of a job."""

    def __init__(self, job: Job, profile: Profile) -> None:
        self.job, self.store = job, open_store(job.store)
        self.rank, self.world = distributed.get_rank(), distributed.get_world_size()
        micro = micro_batch_units(job.batches.units, self.world, profile.micro_batch_tokens // job.batches.unit_tokens)
        self.mine = list(range(self.rank, job.batches.units, self.world))
        self.parts = [self.mine[start : start + micro] for start in range(0, len(self.mine), micro)]
        self.engine = build_engine(job, profile, len(self.parts))
        self.done = restore_newest(self.engine, job)
        self.probe_ids = job.batches.load(0, [0])[0].ids[:1, : checkpoint.PROBE_TOKENS]
        self.saver = checkpoint.Saver(
            self.engine, self.store, job.working_folder, attempt_number(self.engine.device), job.keep_checkpoints, job.publishes,
            job.weights_kind,
        )  # fmt: skip
        self.journal = BackgroundJournal(JournalWriter(self.store, job.working_folder))
        self.notices = Notices(self.store, job.working_folder, self.rank)
        self.flops_share = job.flops_per_token / (profile.gpu_peak_flops * self.world) if profile.gpu_peak_flops else 0.0
        rows = recall(self.store, job)
        self.skipped = {int(row["step"]): row for row in rows if "skipped" in row}
        self.detector = Detector(job.anomalies, [row for row in rows if row["step"] <= job.first_step + self.done])
        self.since_checkpoint: list[Row] = []
        self.stalled = 0.0

    def train(self) -> None:
        """Take all steps that are left, each once; save at the end, or where it has to end before."""
        job = self.job
        left = [step for step in range(self.done, job.batches.steps) if job.first_step + step + 1 not in self.skipped]
        with Prefetch(job.batches, left, self.parts, torch.cuda.is_available()) as self.ahead:
            for step in range(self.done, job.batches.steps):
                number, stop = job.first_step + step + 1, False
                if number in self.skipped:
                    self.write([self.skipped[number] | {"time": time.time()}])
                else:
                    row, anomaly, stop = self.take(step)
                    if anomaly is None:
                        self.write([row])
                    elif not self.go_on(anomaly, row):
                        return
                if step + 1 < job.batches.steps and (stop or job.saves_after(step)):
                    self.save(number)
                    if stop:
                        self.saver.wait()
                        return self.end({"stopped": number})
        finish(self)

    def take(self, step: int) -> tuple[Row, Anomaly | None, bool]:
        """Take a step; return its row, what was wrong with it, and whether workers are to stop behind it."""
        job, engine, begun, waited = self.job, self.engine, time.monotonic(), 0.0
        rate = learning_rate(job.schedule, job.optimizer.peak_learning_rate, job.horizon, job.first_step + step)
        for group in engine.optimizer.param_groups:
            group["lr"] = rate
        targets = job.batches.targets(step)
        scale = self.world * len(self.parts) / targets  # DeepSpeed averages over ranks and accumulation: undo it
        total, hashes = torch.zeros((), device=engine.device), 0
        for number in range(len(self.parts)):
            asked = time.monotonic()
            groups, hashed = self.ahead.take()
            waited, hashes = waited + time.monotonic() - asked, hashes + hashed
            if number:
                engine.step()  # of the micro-batch before: only the last one's updates weights
            if job.lora is not None and job.lora.dropout:
                torch.manual_seed(
                    int(digest_of([job.seed, job.first_step + step, self.rank, number])[:15], 16)
                )  # the same when taken again
            nll = engine([group.to(engine.device) for group in groups])
            engine.backward(nll * scale)
            total += nll.detach()
        stop, ask = self.notices.word()
        told = torch.tensor([hashes & HASH_MASK, stop, ask], dtype=torch.int64, device=engine.device)
        distributed.all_reduce(total)
        distributed.all_reduce(told)  # whose overflow the mask does not see
        hashes, stop, ask = told.tolist()
        loss, norm = total.item() / targets, gradient_norm(engine)
        row: Row = {"step": job.first_step + step + 1, "time": time.time(), "loss": loss, "learning_rate": rate, "gradient_norm": norm}
        anomaly = self.detector.judge(loss, norm)
        if anomaly:
            row |= {"spike": anomaly.score if anomaly.score is not None else anomaly.why}
            Reporter(self.store, job).report(engine, step, anomaly, row, self.mine)
        if anomaly and (job.anomalies.policy != "log" or anomaly.why == "not finite"):
            row["skipped"] = anomaly.why
            drop_update(engine)
        else:
            engine.step()
            self.detector.take(loss)
        seconds = time.monotonic() - begun
        row |= {
            "tokens_per_second": job.tokens_per_step / seconds, "data_wait_seconds": waited, "checkpoint_stall_seconds": self.stalled,
            "memory_bytes": memory_in_use(), "targets": f"{hashes & HASH_MASK:016x}",
        }  # fmt: skip
        row |= self.saver.told()
        if self.flops_share:
            row["mfu"] = job.tokens_per_step / seconds * self.flops_share
        self.stalled = 0.0
        return row, anomaly, Notices.agreed(stop, ask)

    def write(self, rows: list[Row]) -> None:
        """Add rows to the journal, which rank 0 keeps: all of them become visible at once."""
        self.since_checkpoint += rows
        if self.rank == 0:
            self.journal.append(*rows)

    def save(self, number: int) -> None:
        """Begin to save a checkpoint; it is sealed after the journal has its steps, so that it never covers steps that are not there."""
        folder = checkpoint.step_folder(self.job.working_folder, number)
        self.stalled = self.saver.save(folder, number, self.probe_ids, self.journal.flush)
        self.since_checkpoint = []

    def go_on(self, anomaly: Anomaly, row: Row) -> bool:
        """Do what the recipe says of a step that went wrong; tell whether this group of workers goes on."""
        rule, number = self.job.anomalies, row["step"]
        if rule.policy == "log" and anomaly.why == "not finite":
            self.end({"error": f"the loss of step {number} is {row['loss']}, its gradients' norm {row['gradient_norm']}: to go on without "
                      "its batch, set anomalies.policy to `skip` or `roll_back`"})  # fmt: skip
            return False
        rows = [row]
        if rule.policy == "roll_back":
            rows = [{"skipped": "rolled back"} | one | {"time": time.time()} for one in [*self.since_checkpoint, row]]
        self.skipped |= {int(one["step"]): one for one in rows if "skipped" in one}
        if len(self.skipped) > rule.most_skipped_steps:
            self.end({"error": f"{len(self.skipped)} steps would be skipped by step {number}, anomalies.most_skipped_steps is "
                      f"{rule.most_skipped_steps}: this is no accident, lower the learning rate or look at its batches"})  # fmt: skip
            return False
        self.saver.wait()  # what the next group of workers goes back to
        self.write(rows)
        if rule.policy == "roll_back":
            self.end({"rolled_back": number})
        return rule.policy != "roll_back"

    def end(self, outcome: dict) -> None:
        """End this group of workers before the job's end, with word to the driver; the journal is complete."""
        if self.rank == 0:
            self.journal.flush()
            persist(lambda: self.store.write(f"{self.job.working_folder}/{OUTCOME}", orjson.dumps(outcome)))


def finish(worker: Worker) -> None:
    """Save the stage's final state and leave the list of its files where the driver finds it."""
    job, saver = worker.job, worker.saver
    saver.save(job.final_folder, job.first_step + job.batches.steps, worker.probe_ids)
    files = saver.wait()
    if worker.rank == 0:
        worker.journal.flush()
        done = {"files": [entry.model_dump() for entry in files], "world_size": worker.world}
        persist(lambda: worker.store.write(f"{job.working_folder}/{FINAL}", orjson.dumps(done)))


def recall(store: Store, job: Job) -> list[Row]:
    """Return the journal's rows of earlier attempts, the same on all workers."""
    told: list = [None]
    if distributed.get_rank() == 0:
        told[0] = persist(lambda: merged_rows(store, job.working_folder))
    distributed.broadcast_object_list(told, 0)
    return told[0]


def memory_in_use() -> int:
    """Return the most bytes that this process has held: of GPU memory where there is a GPU, else of the machine's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def attempt_number(device: torch.device) -> int:
    """Return a number that all workers of this attempt share and no other attempt has."""
    number = torch.tensor([time.time_ns()], dtype=torch.int64, device=device)
    distributed.broadcast(number, 0)
    return int(number.item())


def build_engine(job: Job, profile: Profile, accumulation: int):
    """Make the model and wrap it in DeepSpeed with an AdamW whose state is there from the start."""
    model = Decoder(job.model)
    if job.parent_folder is None:
        initialize(model, job.model, job.seed)
    else:
        checkpoint.load_weights(model, open_store(job.store), job.parent_folder)
    if job.lora is not None:
        add_adapters(model, job.lora, job.seed)
    model.prepare(profile.compile_blocks, profile.checkpoint_blocks)
    trained = [p for _, p in sorted(model.named_parameters()) if p.requires_grad]
    matrices, vectors = [p for p in trained if p.ndim >= 2], [p for p in trained if p.ndim < 2]
    o = job.optimizer
    groups = [{"params": matrices, "weight_decay": o.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=0.0, betas=(o.beta1, o.beta2), eps=o.eps, fused=torch.cuda.is_available())  # fmt: skip
    config = {
        "train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": accumulation,
        "train_batch_size": accumulation * distributed.get_world_size(), "gradient_clipping": o.max_gradient_norm,
        "zero_optimization": {"stage": profile.zero_stage}, "bf16": {"enabled": job.precision == "bfloat16"},
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
        return checkpoint.restore(engine, store, checkpoint.step_folder(job.working_folder, steps[-1]), job.weights_kind) - job.first_step
    if job.parent_folder is not None and job.keep_optimizer_state:
        checkpoint.restore(engine, store, job.parent_folder, None)
    return 0
