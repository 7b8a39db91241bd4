"""A model, a micro-batch and a number of GPUs to the memory that training takes on each of them, by ZeRO stage.

States are exact up to rounding and the partitions' padding. Activations and logits are estimates: they count what autograd keeps
for the decoder as it is written, without allocator, communication buffers and the compiler's savings.
"""

from recipes.schema import Model, Recipe
from tasks.artifacts.manifest import JSON
from tasks.engine.job import micro_batch_units
from tasks.runtime.cluster import Profile

USABLE = 0.9  # of a card's memory: the rest is for the CUDA context, NCCL's buffers and fragmentation (a rule of thumb)
STAGES = (0, 1, 2, 3)
SUPPORTED = (1, 2)  # by the engine: without ZeRO it keeps no float32 weights, and its checkpoints do not gather ZeRO 3's
LOGIT_BYTES = 8  # a logit of a chunk, at most: float32, and in bfloat16 before and after
LOSS_CHUNK_BYTES = 1 << 30  # the loss's: it never holds more float32 logits


def state_bytes(parameters: int, zero_stage: int, gpus: int, precision: str) -> JSON:
    """Return bytes of weights, gradients and optimizer state on one GPU (ZeRO, arXiv 1910.02054, section 3 and figure 1).

    With P parameters on n GPUs in bfloat16: weights 2 P, optimizer 12 P (float32 weights 4, AdamW's two moments 8). Gradients are
    summed in float32, 4 P, where the paper has 2 P: so the engine sets DeepSpeed up. Stage 1 divides the optimizer's by n, stage 2
    the gradients' too, stage 3 the weights' too. In float32: 4 P, 4 P and 8 P.
    """
    weights, gradients, optimizer = (2, 4, 12) if precision == "bfloat16" else (4, 4, 8)
    parts = [
        weights * parameters / (gpus if zero_stage >= 3 else 1),
        gradients * parameters / (gpus if zero_stage >= 2 else 1),
        optimizer * parameters / (gpus if zero_stage >= 1 else 1),
    ]
    return {"zero_stage": zero_stage, "weights": parts[0], "gradients": parts[1], "optimizer": parts[2], "state": sum(parts)}


def activation_bytes(model: Model, tokens: int, precision: str) -> float:
    """Estimate what autograd keeps of the blocks for `tokens` tokens on a GPU, without activation checkpointing.

    Counted as in arXiv 2205.05198, section 4.1: the inputs of every operation that its backward pass needs. Per token and layer, in
    bytes at 16 bits, D hidden, A = heads x head size, K = key/value heads x head size, F intermediate: the two norms 2 x (4 D float32
    input + 2 D normalised + 2 D output), queries and attention's output 4 A, keys and values 4 K, SwiGLU's gate, its SiLU, up and
    their product 8 F; together 16 D + 4 A + 4 K + 8 F. Attention maps are not kept (a fused kernel). The paper's own block, with
    LayerNorm, dropout and F = 4 D, takes 34 D.
    """
    attention, keys = model.heads * model.head_size, model.kv_heads * model.head_size
    per_token = 16 * model.hidden_size + 4 * attention + 4 * keys + 8 * model.intermediate_size
    return tokens * model.layers * per_token * (1 if precision == "bfloat16" else 2)


def logit_bytes(model: Model, tokens: int) -> float:
    """Estimate the peak while the loss is computed: one chunk's logits, and the float32 gradients of the output matrix and its inputs.

    (16,384 x 256,000 logits on the plain path peaked at 47.6 GB on an H100, 11.4 bytes each: trl PR #6858.)
    """
    rows = max(LOSS_CHUNK_BYTES // (4 * model.vocabulary_size) // 128 * 128, 128)
    return LOGIT_BYTES * min(tokens, rows) * model.vocabulary_size + 4 * model.hidden_size * (model.vocabulary_size + tokens)


def micro_batch(recipe: Recipe, profile: Profile, asked_tokens: int) -> int | None:
    """Return the most tokens that a GPU holds activations for at once in any stage; None if some batch cannot be dealt to the GPUs."""
    largest = 0
    for stage in recipe.pretraining.stages:
        try:
            units = micro_batch_units(stage.batch_tokens // stage.unit_tokens, profile.workers, asked_tokens // stage.unit_tokens)
        except ValueError:
            return None
        largest = max(largest, units * stage.unit_tokens)
    return largest


def memory_plan(recipe: Recipe, profile: Profile, asked_tokens: int) -> JSON:
    """Return a table of bytes on one GPU: states by ZeRO stage, activations and logits by micro-batch, and which sums fit."""
    model, precision = recipe.model, recipe.pretraining.precision
    tried = {micro_batch(recipe, profile, asked) for asked in (asked_tokens // 4, asked_tokens // 2, asked_tokens, asked_tokens * 2)}
    sizes = sorted(size for size in tried if size)
    usable = profile.gpu_memory_bytes * USABLE
    columns = [
        {"micro_batch_tokens": size, "activations": activation_bytes(model, size, precision), "logits": logit_bytes(model, size)}
        for size in sizes
    ]
    rows = []
    for zero_stage in STAGES:
        row = state_bytes(model.parameter_count(), zero_stage, profile.workers, precision)
        totals = [row["state"] + column["activations"] + column["logits"] for column in columns]
        rows.append(row | {"supported": zero_stage in SUPPORTED, "totals": totals, "fits": [total <= usable for total in totals]})
    return {
        "gpu_memory_bytes": profile.gpu_memory_bytes, "usable_bytes": usable, "zero_stage": profile.zero_stage,
        "micro_batch_tokens": micro_batch(recipe, profile, asked_tokens), "columns": columns, "rows": rows,
    }  # fmt: skip


def memory_warnings(memory: JSON) -> list[str]:
    """Say that the profile's setting does not fit, and which one does."""
    sizes = [column["micro_batch_tokens"] for column in memory["columns"]]
    if memory["micro_batch_tokens"] not in sizes:
        return []
    at = sizes.index(memory["micro_batch_tokens"])
    row = memory["rows"][memory["zero_stage"]]
    if row["fits"][at]:
        return []
    said = (
        f"ZeRO {memory['zero_stage']} with {sizes[at]:,} tokens at once takes about {row['totals'][at] / 1e9:.0f} GB on a GPU, "
        f"and {memory['usable_bytes'] / 1e9:.0f} GB are usable: "
    )
    fitting = [
        (other["zero_stage"], sizes[number])
        for other in memory["rows"]
        if other["zero_stage"] in SUPPORTED
        for number in reversed(range(len(sizes)))
        if other["fits"][number] and number <= at
    ]
    if not fitting:
        return [said + "no setting that the engine supports fits, use larger GPUs"]
    return [said + "what fits is " + " or ".join(f"ZeRO {zero} at {size:,}" for zero, size in fitting[:2])]
