"""Losses that leap, or are no numbers: found before the update that they would make, told in a report, and dealt with as the recipe says.

A loss is a spike if its robust z-score over the losses of the stage's last steps, (loss - median) / (1.4826 x median absolute
deviation), exceeds the recipe's threshold; losses and gradients that are not finite need no window. Policies:

- `log`: the update is made; what is not finite ends the job, since the weights would be lost.
- `skip`: the update is not made.
- `roll_back`: neither this update nor those since the newest checkpoint are made: training goes back to the checkpoint and on behind
  the batch (PaLM, arXiv 2204.02311, section 5.1).

A step without an update has `skipped` in its row of the journal. A run that comes to it again after a restart does as the row says.
"""

import copy
import math
from collections import deque
from statistics import median
from typing import NamedTuple

import orjson
import torch
from torch import distributed

from recipes.schema import Anomalies
from tasks.artifacts.manifest import JSON
from tasks.artifacts.store import Store
from tasks.engine.background import persist
from tasks.engine.job import Job
from tasks.engine.journal import Row
from tasks.engine.lean_deepspeed import deepspeed
from tasks.engine.snapshot import trainable

NORMAL = 1.4826  # a normal distribution's standard deviation, in median absolute deviations
LEAST_SPREAD = 1e-4  # of the median: losses that are all equal make nothing a spike
WORST_UNITS = 4  # described in a report


class Anomaly(NamedTuple):
    """Why a step is not like the others: `spike` or `not finite`, and the robust z-score where there is one."""

    why: str
    score: float | None
    median: float | None


class Detector:
    """Judges each step by the losses of the steps before it. The same losses give the same judgements on every worker and in every run."""

    def __init__(self, rule: Anomalies, rows: list[Row]) -> None:
        """Begin behind the rows of the steps that were taken already."""
        self.rule = rule
        self.losses = deque((row["loss"] for row in rows if "skipped" not in row), maxlen=rule.window_steps)

    def judge(self, loss: float, gradient_norm: float) -> Anomaly | None:
        """Return what is wrong with a step, or None."""
        if not (math.isfinite(loss) and math.isfinite(gradient_norm) and gradient_norm >= 0):  # DeepSpeed writes -1 for no number
            return Anomaly("not finite", None, None)
        if len(self.losses) < self.rule.window_steps:
            return None
        middle = median(self.losses)
        spread = max(NORMAL * median(abs(one - middle) for one in self.losses), LEAST_SPREAD * abs(middle))
        score = (loss - middle) / spread
        return Anomaly("spike", round(score, 3), middle) if score > self.rule.threshold else None

    def take(self, loss: float) -> None:
        """Count the loss of a step whose update was made."""
        self.losses.append(loss)


def gradient_norm(engine) -> float:
    """Return the norm of the gradients that the engine has summed, before it takes its step from them; -1 or inf if it is no number."""
    optimizer = engine.optimizer
    if not isinstance(optimizer, deepspeed.runtime.bf16_optimizer.BF16_Optimizer):
        return float(optimizer.scaled_global_norm())
    gradients, _ = optimizer.get_grads_for_norm()
    return float(deepspeed.runtime.utils.get_global_norm_of_tensors(input_tensors=gradients, mpu=None, norm_type=2))


def drop_update(engine) -> None:
    """End the step without an update: DeepSpeed's own path for gradients that overflow. Moments and weights stay as they are."""
    optimizer = engine.optimizer
    if isinstance(optimizer, deepspeed.runtime.bf16_optimizer.BF16_Optimizer):
        return drop_low_precision_update(engine)
    checked, check = optimizer.check_grad_overflow, optimizer.check_overflow
    optimizer.check_grad_overflow, optimizer.check_overflow = True, lambda **_: setattr(optimizer, "overflow", True)
    try:
        engine.step()
    finally:
        optimizer.check_grad_overflow, optimizer.check_overflow = checked, check


def drop_low_precision_update(engine) -> None:
    """Do the same for DeepSpeed's optimizer of ZeRO 1 in bfloat16, which overflows only where the norm is no number."""
    optimizer, step = engine.optimizer, engine.optimizer.step

    def skip(*_: object, **__: object) -> None:
        optimizer.overflow = True
        optimizer.zero_grad()

    optimizer.step = skip
    try:
        engine.step()
    finally:
        optimizer.step = step


class Reporter:
    """Writes what is known of an anomaly to `anomalies/step-<number>.json` below the job's working folder."""

    def __init__(self, store: Store, job: Job) -> None:
        self.store, self.job = store, job
        self.batches = copy.deepcopy(job.batches)  # the other one is in use by the thread that reads ahead

    def report(self, engine, step: int, anomaly: Anomaly, row: Row, mine: list[int]) -> None:
        """Write the step's row, gradient norms by parameter, the loss of each unit, and documents and text of the worst ones.

        Every rank must call it, while the gradients are there. The units' losses take one more forward pass of the batch.
        """
        norms = {name: float(deepspeed.utils.safe_get_full_grad(parameter).float().norm()) for name, parameter in trainable(engine)}
        losses: list[list[tuple[int, float]]] = [[] for _ in range(distributed.get_world_size())]
        distributed.all_gather_object(losses, [(unit, self._loss(engine, step, unit)) for unit in mine])
        if distributed.get_rank() != 0:
            return
        by_loss = sorted(
            (pair for some in losses for pair in some), key=lambda pair: (-pair[1] if math.isfinite(pair[1]) else -math.inf, pair[0])
        )
        worst = [unit for unit, _ in by_loss[:WORST_UNITS]]
        told: JSON = {
            "step": row["step"], "why": anomaly.why, "score": anomaly.score, "median": anomaly.median, "policy": self.job.anomalies.policy,
            "row": row, "gradient_norms": norms, "unit_losses": dict(sorted((str(unit), loss) for unit, loss in by_loss)),
            "worst_units": self.batches.describe(step, worst),
        }  # fmt: skip
        key = f"{self.job.working_folder}/anomalies/step-{row['step']:010d}.json"
        persist(lambda: self.store.write(key, orjson.dumps(told, option=orjson.OPT_INDENT_2)))

    def _loss(self, engine, step: int, unit: int) -> float:
        """Return a unit's loss in nats per target token, by the weights as they are."""
        groups = self.batches.load(step, [unit])
        targets = sum(int((group.labels >= 0).sum()) for group in groups)
        with torch.no_grad():
            return engine.module([group.to(engine.device) for group in groups]).item() / max(targets, 1)
