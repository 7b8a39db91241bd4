"""A recipe and a machine to the plan of a run: what it takes, how long, how much, and what of it is done already."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from recipes.errors import BadInput
from recipes.schema import Recipe
from tasks.artifacts.manifest import JSON
from tasks.artifacts.store import open_store
from tasks.model.flops import CONVENTION, multiplied_parameters
from tasks.planning.compute import sft_sequences, time_plan
from tasks.planning.memory import memory_plan, memory_warnings, micro_batch
from tasks.planning.stages import rate_plan, source_plans, stage_plan, supply_of, supply_warnings
from tasks.planning.storage import storage_plan
from tasks.planning.traffic import traffic_plan
from tasks.planning.validity import FINISHED, Chain, walk
from tasks.runtime.cluster import Profile, find_profile
from tasks.sft.finetune import sft_steps

PUBLISHED_MFU = 0.48  # the best published of dense 1-8B models in bfloat16 on H100s (OLMo-7B, 4K)


@dataclass(frozen=True)
class Assumptions:
    """What a plan supposes. `tokens_per_second` are measured ones of the whole profile; they take the place of `mfu`."""

    profile: str
    mfu: float = 0.4
    price: float = 2.5  # a GPU-hour
    micro_batch_tokens: int = 0  # 0: the profile's
    tokens_per_second: float = 0.0  # 0: not measured

    def checked(self) -> Profile:
        """Return the profile; BadInput names the first value that cannot be meant."""
        profile = find_profile(self.profile)
        if not 0 < self.mfu <= 1:
            raise BadInput(f"mfu {self.mfu:g} is not in (0, 1]: it is the part of the card's peak that training reaches, such as 0.4")
        if not (self.price >= 0 and math.isfinite(self.price)):
            raise BadInput(f"price {self.price:g} is not a price: give what a GPU-hour costs, 0 or more")
        if self.micro_batch_tokens < 0:
            raise BadInput(f"micro-batch-tokens {self.micro_batch_tokens} is negative: give the tokens that a GPU takes at once")
        if not (self.tokens_per_second >= 0 and math.isfinite(self.tokens_per_second)):
            raise BadInput(
                f"tokens-per-second {self.tokens_per_second:g} is not a rate: give the measured tokens per second of all workers"
            )
        return profile


def store_root(run: str, store: str) -> str:
    """Return the root of the store that a run of this name has, by the rule by which a run is started; nothing is made."""
    root = store or os.environ.get("REYNARD_STORE") or str(Path(os.environ.get("REYNARD_RUNS", "runs")) / run / "store")
    return root if "://" in root else str(Path(root).absolute())


def make_plan(recipe: Recipe, assumptions: Assumptions, root: str) -> JSON:
    """Plan a run of a recipe with a store's root; BadInput if an assumption cannot be meant or the store cannot be read."""
    profile = assumptions.checked()
    chain = look(recipe, root)
    made = {found.name: found.manifest for found in chain.found if found.status == FINISHED and found.manifest}
    supply = supply_of(recipe, made["tokens"].details if "tokens" in made else None)
    stages = [stage_plan(recipe.pretraining, number, supply) for number in range(len(recipe.pretraining.stages))]
    measured = assumptions.tokens_per_second or None
    for stage in stages:
        stage |= time_plan(recipe.model, stage, profile, assumptions.mfu, measured, assumptions.price)
    total = total_of(stages)
    for stage in stages:
        stage["share"] = stage["tokens"] / total["tokens"]
    sft = sft_plan(recipe, made["conversations"].counts if "conversations" in made else None)
    if sft["tokens"]:
        sft |= time_plan(recipe.model, sft, profile, assumptions.mfu, measured, assumptions.price, recipe.sft.lora)
    micro = assumptions.micro_batch_tokens or profile.micro_batch_tokens
    memory = memory_plan(recipe, profile, micro) if profile.gpu else None
    return {
        "recipe": recipe.name, "summary": recipe.summary, "parameters": recipe.model.parameter_count(),
        "multiplied_parameters": multiplied_parameters(recipe.model), "sliding_window": recipe.model.sliding_window,
        "attention_across_documents": recipe.pretraining.attention_across_documents, "store": root,
        "profile": profile_facts(profile), "mfu": assumptions.mfu, "price": assumptions.price, "measured_tokens_per_second": measured,
        "convention": CONVENTION, "stages": stages, "total": total, "sft": sft,
        "supply": supply.origin, "sources": source_plans(stages, supply), "learning_rate": rate_plan(recipe.pretraining),
        "memory": memory, "traffic": traffic_plan(recipe, profile, stages, micro), "storage": storage_plan(recipe, stages, supply, sft["steps"]),
        "artifacts": [found.row() for found in chain.found],
        "warnings": [
            *dealing_warnings(recipe, profile, micro), *supply_warnings(stages, supply), *(memory_warnings(memory) if memory else []),
            *mfu_warnings(assumptions, profile),
        ],
    }  # fmt: skip


def look(recipe: Recipe, root: str) -> Chain:
    """Follow the recipe's chain through a store; BadInput if the store cannot be read."""
    try:
        return walk(recipe, open_store(root))
    except BadInput:
        raise
    except Exception as error:
        raise BadInput(
            f"artifact store {root!r} cannot be read ({type(error).__name__}: {str(error)[:160]}): check --store or REYNARD_STORE, and for "
            "s3:// AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None


def profile_facts(profile: Profile) -> JSON:
    """Return what of a profile a plan speaks of."""
    return {
        "name": profile.name, "workers": profile.workers, "gpu": profile.gpu, "gpu_memory_bytes": profile.gpu_memory_bytes,
        "gpu_peak_flops": profile.gpu_peak_flops, "zero_stage": profile.zero_stage,
    }  # fmt: skip


def total_of(stages: list[JSON]) -> JSON:
    """Add up the stages of the curriculum."""
    total: JSON = {key: sum(stage[key] for stage in stages) for key in ("steps", "tokens", "flops")}
    for key in ("seconds", "gpu_hours", "cost"):
        total[key] = sum(stage[key] for stage in stages) if all(stage[key] is not None for stage in stages) else None
    return total


def sft_plan(recipe: Recipe, counts: JSON | None) -> JSON:
    """Return fine-tuning's budget: exact once conversations are rendered (their counts), else what the recipe alone says."""
    section = recipe.sft
    steps = tokens = None
    if counts is not None:
        steps = sft_steps(section, counts)
        tokens = steps * section.batch_conversations * counts["tokens"] // counts["conversations"]
    elif section.tokens is not None:
        tokens = section.tokens
    return {
        "name": "sft", "steps": steps, "tokens": tokens, "epochs": section.epochs, "batch_conversations": section.batch_conversations,
        "max_tokens": section.max_tokens, "sequences": sft_sequences(section.max_tokens, tokens) if tokens else [],
    }  # fmt: skip


def dealing_warnings(recipe: Recipe, profile: Profile, micro_tokens: int) -> list[str]:
    """Say which batches the profile's workers cannot share equally."""
    said = []
    if micro_batch(recipe, profile, micro_tokens) is None:
        for stage in recipe.pretraining.stages:
            if stage.batch_units % profile.workers:
                said.append(
                    f"stage {stage.name!r}: a batch is {stage.batch_units:,} units, which {profile.workers} workers cannot share equally"
                )
    if recipe.sft.batch_conversations < profile.workers:
        said.append(f"sft: a batch is {recipe.sft.batch_conversations} conversations, fewer than {profile.workers} workers: some have none")
    return said


def mfu_warnings(assumptions: Assumptions, profile: Profile) -> list[str]:
    """Say that nobody has published what is hoped for."""
    if not profile.gpu or assumptions.tokens_per_second or assumptions.mfu <= PUBLISHED_MFU:
        return []
    return [f"an mfu of {assumptions.mfu:g} is above what is published for dense models of 1 to 8 billion parameters: 0.40 to 0.48"]
