"""One curriculum stage of a recipe to an engine job, and the finished job to the facts its artifact states."""

from collections import Counter

from recipes.schema import Model, Pretraining
from tasks.artifacts.manifest import JSON
from tasks.curriculum.batches import StageBatches
from tasks.engine.job import Job
from tasks.engine.schedule import Horizon
from tasks.model.flops import mean_flops_per_token


def stage_identity(model: Model, pretraining: Pretraining, number: int, seed: int) -> JSON:
    """Return what decides a stage's weights besides its parents: nothing of later stages but the schedule's horizon, where it has one."""
    section: JSON = {
        "seed": seed, "model": model.model_dump(mode="json"), "precision": pretraining.precision,
        "attention_across_documents": pretraining.attention_across_documents,
        "optimizer": pretraining.optimizer.model_dump(mode="json"), "schedule": pretraining.schedule.model_dump(mode="json"),
        "stage": pretraining.stages[number].model_dump(mode="json"), "first_step": first_step(pretraining, number),
    }  # fmt: skip
    span = horizon(pretraining)
    end = section["first_step"] + pretraining.stages[number].steps
    schedule = pretraining.schedule
    decays = schedule.form != "wsd" or end > span.decay_from_step
    if schedule.warmup_fraction is not None or (decays and schedule.decay_form not in ("half_life", "e_fold")):
        section["total_steps"] = span.total_steps
    if decays:
        section["decay_from_step"] = span.decay_from_step
    if pretraining.anomalies.policy != "log":
        section["anomalies"] = pretraining.anomalies.model_dump(mode="json")
    return section


def first_step(pretraining: Pretraining, number: int) -> int:
    """Return the optimizer steps of the stages before stage `number`."""
    return sum(stage.steps for stage in pretraining.stages[:number])


def horizon(pretraining: Pretraining) -> Horizon:
    """Return the steps that the schedule spans."""
    names = [stage.name for stage in pretraining.stages]
    decay = pretraining.schedule.decay_from_stage
    return Horizon(pretraining.steps, None if decay is None else first_step(pretraining, names.index(decay)))


def stage_job(
    model: Model,
    pretraining: Pretraining,
    number: int,
    seed: int,
    batches: StageBatches,
    parent_folder: str | None,
    store: str,
    working: str,
    final: str,
) -> Job:
    """Make the engine's job for stage `number` (0-based)."""
    stage = pretraining.stages[number]
    lengths: Counter[int] = Counter()
    for entry in stage.mixture:
        lengths[entry.chunk_tokens] += batches.mixture_tokens()[entry.source]
    return Job(
        stage=stage.name, seed=seed, model=model, precision=pretraining.precision, optimizer=pretraining.optimizer, schedule=pretraining.schedule,
        anomalies=pretraining.anomalies, horizon=horizon(pretraining), batches=batches, first_step=first_step(pretraining, number),
        first_token=sum(earlier.steps * earlier.batch_tokens for earlier in pretraining.stages[:number]),
        tokens_per_step=stage.batch_tokens, flops_per_token=mean_flops_per_token(model, lengths),
        checkpoint_every_steps=pretraining.checkpoint_every_steps, keep_checkpoints=pretraining.keep_checkpoints,
        publish_every_tokens=pretraining.publish_every_tokens, parent_folder=parent_folder,
        keep_optimizer_state=stage.optimizer_state == "keep", store=store, working_folder=working, final_folder=final,
    )  # fmt: skip
