"""A recipe to the bytes that its token streams and its checkpoints take in the store."""

from recipes.schema import Recipe
from tasks.artifacts.manifest import JSON
from tasks.artifacts.token_streams import token_type
from tasks.engine.job import passes
from tasks.planning.stages import Supply

CHECKPOINT_BYTES = 12  # a parameter: float32 weights and AdamW's two float32 moments
PUBLISHED_BYTES = 4  # a parameter: the weights alone
WITH_WORKING_COPY = 14  # a parameter where a bfloat16 copy of the weights is kept beside them, as DeepSpeed's own checkpoints do


def storage_plan(recipe: Recipe, stages: list[JSON], supply: Supply, sft_steps: int | None) -> JSON:
    """Return bytes of token streams, and how many checkpoints are written and kept, of which size."""
    width = token_type(recipe.tokenization.vocabulary_size).itemsize
    corpus = sum(supply.tokens.values()) if supply.tokens else None
    used = {row["source"] for stage in stages for row in stage["sources"]}
    return {
        "bytes_per_token": width, "corpus_tokens": corpus, "corpus_is_whole": used <= set(supply.tokens), "corpus_bytes": corpus * width if corpus else None,
        "trained_tokens": sum(stage["tokens"] for stage in stages),
    } | checkpoint_plan(recipe, stages, sft_steps)  # fmt: skip


def checkpoint_plan(recipe: Recipe, stages: list[JSON], sft_steps: int | None) -> JSON:
    """Return how many checkpoints there will be inside stages, at their ends and for publication, and what they take."""
    parameters, pretraining = recipe.model.parameter_count(), recipe.pretraining
    size, published_size = parameters * CHECKPOINT_BYTES, parameters * PUBLISHED_BYTES
    published = [published_steps(recipe, stages, number) for number in range(len(stages))]
    every = pretraining.checkpoint_every_steps
    inside = {
        stage["name"]: (stage["steps"] - 1) // every + sum(step % every != 0 for step in steps)
        for stage, steps in zip(stages, published, strict=True)
    }
    most = [min(count, pretraining.keep_checkpoints) + 1 for count in inside.values()]  # while one is written, one more
    if sft_steps is not None:
        inside["sft"] = (sft_steps - 1) // recipe.sft.checkpoint_every_steps
    most.append(min(inside.get("sft", recipe.sft.keep_checkpoints), recipe.sft.keep_checkpoints) + 1)
    finals = len(most)  # each stage's, and fine-tuning's
    written = sum(inside.values()) + finals
    so_far = [sum(map(len, published[: number + 1])) for number in range(finals)]
    peak = max(before + alive for before, alive in enumerate(most))  # a stage begins with the ends of those before it
    peak_bytes = max((n + alive) * size + taken * published_size for n, (alive, taken) in enumerate(zip(most, so_far, strict=True)))
    return {
        "checkpoint_bytes": size, "checkpoint_bytes_with_working_copy": parameters * WITH_WORKING_COPY,
        "checkpoints_inside_stages": inside, "checkpoints_written": written, "written_bytes": written * size,
        "checkpoints_kept": finals, "kept_bytes": finals * size, "checkpoints_at_peak": peak, "peak_bytes": peak_bytes,
        "checkpoints_published": so_far[-1], "published_bytes": so_far[-1] * published_size,
    }  # fmt: skip


def published_steps(recipe: Recipe, stages: list[JSON], number: int) -> list[int]:
    """Return the steps of a stage, from 1, whose checkpoints are published; its last one ends the stage, and is kept in any case."""
    before, batch = sum(stage["tokens"] for stage in stages[:number]), stages[number]["batch_tokens"]
    every = recipe.pretraining.publish_every_tokens
    return [step for step in range(1, stages[number]["steps"]) if passes(before + step * batch, batch, every)]
