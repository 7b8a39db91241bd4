"""What the engine needs to train one stage: the job that a stage hands to it."""

from dataclasses import dataclass
from typing import Protocol

from recipes.schema import AdamW, Anomalies, LoRA, Model, Schedule
from tasks.artifacts.manifest import JSON
from tasks.engine.schedule import Horizon
from tasks.model.decoder import Group

# keys below a job's working folder
FINAL = "final.json"  # the finished checkpoint's files: the job is done
OUTCOME = "outcome.json"  # why a group of workers ended before the job
STOP = "stop"  # the driver asks its workers to save and end


class Batches(Protocol):
    """The data of a stage. The batch at a step is a pure function of the step: there is no position to lose.

    A batch consists of *units*, the smallest parts that are dealt to ranks; every unit costs about the same.
    """

    @property
    def steps(self) -> int:
        """Batches in the stage."""
        ...

    @property
    def units(self) -> int:
        """Units in every global batch."""
        ...

    @property
    def unit_tokens(self) -> int:
        """The most tokens of a unit."""
        ...

    def targets(self, step: int) -> int:
        """Count the target tokens of the global batch at a step (0-based in the stage)."""
        ...

    def load(self, step: int, units: list[int]) -> list[Group]:
        """Load units of a batch, in groups of one sequence length."""
        ...

    def describe(self, step: int, units: list[int]) -> list[JSON]:
        """Say what units are, for whoever looks into a step that went wrong."""
        ...


@dataclass(frozen=True)
class Job:
    """One stage of training, complete: the same job gives the same weights wherever and however often it is started."""

    stage: str
    seed: int
    model: Model
    precision: str
    optimizer: AdamW
    schedule: Schedule
    anomalies: Anomalies
    horizon: Horizon
    batches: Batches
    first_step: int  # optimizer steps of earlier stages
    first_token: int  # tokens of earlier stages
    tokens_per_step: int
    flops_per_token: float
    checkpoint_every_steps: int
    keep_checkpoints: int  # finished ones inside the stage: decides nothing but what a resume may start from
    publish_every_tokens: int | None  # counted through all stages; those checkpoints are kept as artifacts of their own
    parent_folder: str | None  # the checkpoint artifact to start from, as a key in the store
    keep_optimizer_state: bool
    store: str
    working_folder: str  # journal and unfinished checkpoints, a key in the store
    final_folder: str  # where the finished checkpoint's files go, a key in the store
    lora: LoRA | None = None  # adapters beside the parent's weights are trained in their place

    @property
    def weights_kind(self) -> str:
        """What the files with the trained weights are called: a whole model, or adapters."""
        return "model" if self.lora is None else "adapter"

    def saves_after(self, step: int) -> bool:
        """Tell whether a checkpoint is saved after a step (0-based in the stage)."""
        return (step + 1) % self.checkpoint_every_steps == 0 or self.publishes(self.first_step + step + 1)

    def publishes(self, number: int) -> bool:
        """Tell whether the checkpoint after a step (counted through all stages, from 1) is kept for publication."""
        return passes(self.tokens_after(number), self.tokens_per_step, self.publish_every_tokens)

    def tokens_after(self, number: int) -> int:
        """Return the tokens that were trained on by the end of a step (counted through all stages, from 1)."""
        return self.first_token + (number - self.first_step) * self.tokens_per_step


def passes(tokens: int, step_tokens: int, every: int | None) -> bool:
    """Tell whether a step of so many tokens, at whose end there are `tokens` in all, reaches or passes a multiple of `every`."""
    return every is not None and tokens // every > (tokens - step_tokens) // every


def micro_batch_units(units: int, world_size: int, most_units: int) -> int:
    """Return the largest number of units a rank can take at once so that every rank takes equally many, equally often.

    ValueError if the batch cannot be dealt to the ranks: batches are never rounded.
    """
    if units % world_size:
        raise ValueError(
            f"a batch of {units} units cannot be dealt to {world_size} workers equally: use a number of workers that divides {units}, "
            "or change batch_tokens"
        )
    share = units // world_size
    return max(part for part in range(1, min(share, max(most_units, 1)) + 1) if share % part == 0)
