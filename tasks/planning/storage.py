"""A recipe to the bytes that its token streams and its checkpoints take in the store."""

from recipes.schema import Recipe
from tasks.artifacts.manifest import JSON
from tasks.artifacts.token_streams import token_type
from tasks.planning.stages import Supply

CHECKPOINT_BYTES = 12  # a parameter: float32 weights and AdamW's two float32 moments
WITH_WORKING_COPY = 14  # a parameter where a bfloat16 copy of the weights is kept beside them, as DeepSpeed's own checkpoints do
KEPT_INSIDE_A_STAGE = 2  # the newest of an unfinished stage; while one is written, one more


def storage_plan(recipe: Recipe, stages: list[JSON], supply: Supply, sft_steps: int | None) -> JSON:
    """Return bytes of token streams, and how many checkpoints are written and kept, of which size."""
    width = token_type(recipe.tokenization.vocabulary_size).itemsize
    corpus = sum(supply.tokens.values()) if supply.tokens else None
    size = recipe.model.parameter_count() * CHECKPOINT_BYTES
    every = recipe.pretraining.checkpoint_every_steps
    inside = [(stage["name"], (stage["steps"] - 1) // every) for stage in stages]
    if sft_steps is not None:
        inside.append(("sft", (sft_steps - 1) // recipe.sft.checkpoint_every_steps))
    finals = len(stages) + 1  # each stage's, and fine-tuning's
    written = sum(count + 1 for _, count in inside) + (finals - len(inside))
    most = [min(count, KEPT_INSIDE_A_STAGE) + 1 for _, count in inside] + [KEPT_INSIDE_A_STAGE + 1] * (finals - len(inside))
    peak = max(before + alive for before, alive in enumerate(most))  # a stage begins with the ends of those before it
    used = {row["source"] for stage in stages for row in stage["sources"]}
    return {
        "bytes_per_token": width, "corpus_tokens": corpus, "corpus_is_whole": used <= set(supply.tokens), "corpus_bytes": corpus * width if corpus else None,
        "trained_tokens": sum(stage["tokens"] for stage in stages),
        "checkpoint_bytes": size, "checkpoint_bytes_with_working_copy": recipe.model.parameter_count() * WITH_WORKING_COPY,
        "checkpoints_inside_stages": dict(inside), "checkpoints_written": written, "written_bytes": written * size,
        "checkpoints_kept": finals, "kept_bytes": finals * size,
        "checkpoints_at_peak": peak, "peak_bytes": peak * size,
    }  # fmt: skip
