"""A model, a micro-batch and a number of GPUs to the memory that training takes on each of them, by ZeRO stage.

A peak is what stays (weights, optimizer) and the largest of what comes and goes: activations and logits beside accumulated gradients
in the forward pass, DeepSpeed's buckets while gradients are summed over workers, and the update. `benchmarks/memory.py` measures
workers of the real engine beside these numbers; its rows are held against them in `tests/planning/test_memory.py`.
"""

from recipes.schema import Model, Recipe
from tasks.artifacts.manifest import JSON
from tasks.engine.job import micro_batch_units
from tasks.runtime.cluster import Profile

USABLE = 0.9  # of a card's memory: the rest is for the CUDA context, NCCL's buffers and fragmentation (a rule of thumb)
STAGES = (0, 1, 2, 3)
SUPPORTED = (1, 2)  # by the engine: without ZeRO it keeps no float32 weights, and its checkpoints do not gather ZeRO 3's
LOGIT_BYTES = {"bfloat16": 8, "float32": 4}  # a logit of a chunk, at most: float32, and in bfloat16 before and after
LOSS_CHUNK_BYTES = 1 << 30  # the loss's: it never holds more float32 logits
BUCKET = 500_000_000  # elements: DeepSpeed's `reduce_bucket_size`, gradients that it sums over workers at once
SNAPSHOT_BYTES = 12  # a parameter, in the host's memory: what a checkpoint is copied into


def state_bytes(parameters: int, zero_stage: int, gpus: int, precision: str) -> JSON:
    """Return bytes of weights, gradients and optimizer state on one GPU (ZeRO, arXiv 1910.02054, section 3 and figure 1).

    With P parameters on n GPUs in bfloat16: weights 2 P, optimizer 12 P (float32 weights 4, AdamW's two moments 8). Gradients are
    summed in float32, 4 P, where the paper has 2 P: so the engine sets DeepSpeed up. Stage 1 divides the optimizer's by n, stage 2
    the gradients' too, stage 3 the weights' too. In float32: 4 P, 4 P and 12 P: DeepSpeed keeps the optimizer's weights apart there too.
    """
    weights, gradients, optimizer = (2 if precision == "bfloat16" else 4), 4, 12
    parts = [
        weights * parameters / (gpus if zero_stage >= 3 else 1),
        gradients * parameters / (gpus if zero_stage >= 2 else 1),
        optimizer * parameters / (gpus if zero_stage >= 1 else 1),
    ]
    return {"zero_stage": zero_stage, "weights": parts[0], "gradients": parts[1], "optimizer": parts[2], "state": sum(parts)}


def activation_bytes(model: Model, tokens: int, precision: str) -> float:
    """Return what autograd keeps of the blocks for `tokens` tokens on a GPU, without activation checkpointing.

    Counted as in arXiv 2205.05198, section 4.1: the inputs of every operation that its backward pass needs. Per token and layer, in
    bytes at 16 bits, D hidden, A = heads x head size, K = key/value heads x head size, F intermediate: the two norms 2 x (4 D float32
    input + 2 D normalised + 2 D output), queries and attention's output 4 A, keys and values 4 K, SwiGLU's gate, its SiLU, up and
    their product 8 F; together 16 D + 4 A + 4 K + 8 F. At 32 bits all is twice that, but the norms' inputs. Attention maps are not kept
    (a fused kernel). The paper's own block, with LayerNorm, dropout and F = 4 D, takes 34 D.
    """
    width = 2 if precision == "bfloat16" else 4
    attention, keys = model.heads * model.head_size, model.kv_heads * model.head_size
    per_token = 2 * model.hidden_size * (4 + 2 * width) + width * (2 * attention + 2 * keys + 4 * model.intermediate_size)
    return tokens * model.layers * per_token


def logit_bytes(model: Model, tokens: int, precision: str) -> float:
    """Estimate the peak while the loss is computed: one chunk's logits, and the float32 gradients of the output matrix and its inputs.

    (16,384 x 256,000 logits on the plain path peaked at 47.6 GB on an H100, 11.4 bytes each: trl PR #6858.)
    """
    rows = max(LOSS_CHUNK_BYTES // (4 * model.vocabulary_size) // 128 * 128, 128)
    return LOGIT_BYTES[precision] * min(tokens, rows) * model.vocabulary_size + 4 * model.hidden_size * (model.vocabulary_size + tokens)


def summing_bytes(parameters: int, zero_stage: int, gpus: int, precision: str) -> float:
    """Return gradients and DeepSpeed's copies of them at most, while they are summed over workers (deepspeed 0.19).

    ZeRO 1 in bfloat16 keeps float32 sums and the bfloat16 gradients of a micro-batch, and sends a bfloat16 copy; what fits into one
    bucket is joined in float32 first. Otherwise gradients move into a bucket, which is joined once more before it is sent.
    """
    bucket = min(parameters, BUCKET)
    if precision == "bfloat16":
        if zero_stage == 1:
            return (4 + 2 + 2) * parameters + (4 * parameters if parameters <= BUCKET else 0)
        return 4 * parameters / gpus + (2 + 2) * bucket
    return 4 * bucket + (4 * parameters if zero_stage == 1 else 4 * bucket + 4 * parameters / gpus)


def update_bytes(parameters: int, zero_stage: int, gpus: int, precision: str, fused: bool) -> float:
    """Return gradients and AdamW's own memory at most, during the update.

    In float32 gradients are there twice: what DeepSpeed joins for the matrices, and where they lie until the vectors had their turn.
    Unless it is fused, AdamW makes two roots of the second moment.
    """
    own = parameters / gpus
    gradients = 8 * own if precision == "float32" else 6 * parameters if zero_stage == 1 else 4 * own
    return gradients + (0 if fused else 8 * own)


def forward_bytes(model: Model, zero_stage: int, gpus: int, tokens: int, accumulation: int, precision: str, on_gpu: bool) -> float:
    """Return gradients, activations, logits and the empty bucket at the end of a step's last forward pass."""
    parameters, low = model.parameter_count(), precision == "bfloat16"
    own = parameters if zero_stage == 1 else parameters / gpus
    gradients = 6 * own if low and zero_stage == 1 else 4 * own if accumulation > 1 or low else 0
    bucket = (2 if low else 4) * BUCKET if on_gpu and not (low and zero_stage == 1) else 0  # a CPU gives memory where it is written
    return gradients + bucket + activation_bytes(model, tokens, precision) + logit_bytes(model, tokens, precision)


def peak_bytes(model: Model, zero_stage: int, gpus: int, tokens: int, accumulation: int, precision: str, on_gpu: bool) -> JSON:
    """Return the most bytes that a worker holds with ZeRO 1 or 2, and what they are made of; on a CPU with the checkpoint's copy."""
    parameters = model.parameter_count()
    state = state_bytes(parameters, zero_stage, gpus, precision)
    phases = {
        "forward": forward_bytes(model, zero_stage, gpus, tokens, accumulation, precision, on_gpu),
        "summing": summing_bytes(parameters, zero_stage, gpus, precision),
        "update": update_bytes(parameters, zero_stage, gpus, precision, on_gpu),
    }
    snapshot = 0 if on_gpu else SNAPSHOT_BYTES * parameters / gpus
    total = state["weights"] + state["optimizer"] + snapshot + max(phases.values())
    return {"weights": state["weights"], "optimizer": state["optimizer"], "snapshot": snapshot} | phases | {"total": total}


def total_bytes(model: Model, row: JSON, gpus: int, column: JSON, precision: str) -> float:
    """Return the peak of a ZeRO stage at a micro-batch, with gradients accumulated; for stages that the engine lacks the sum of all parts."""
    if row["zero_stage"] not in SUPPORTED:
        return row["state"] + column["activations"] + column["logits"]
    return peak_bytes(model, row["zero_stage"], gpus, column["micro_batch_tokens"], 2, precision, True)["total"]


def micro_batch(recipe: Recipe, profile: Profile, asked_tokens: int) -> int | None:
    """Return the most tokens that a GPU holds activations for at once in any stage; None if some batch cannot be dealt to the GPUs."""
    largest = 0
    for stage in recipe.pretraining.stages:
        try:
            units = micro_batch_units(stage.batch_units, profile.workers, asked_tokens // stage.unit_tokens)
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
        {"micro_batch_tokens": size, "activations": activation_bytes(model, size, precision), "logits": logit_bytes(model, size, precision)}
        for size in sizes
    ]
    rows = []
    for zero_stage in STAGES:
        row = state_bytes(model.parameter_count(), zero_stage, profile.workers, precision)
        totals = [total_bytes(model, row, profile.workers, column, precision) for column in columns]
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
