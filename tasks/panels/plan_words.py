"""A plan to the numbers and sentences that the terminal and the page share."""

from typing import Any

from tasks.panels.formats import clock, compact, scientific

JSON = dict[str, Any]
DAY = 86_400
NO_GPU = "time and money cannot be planned without a GPU profile: give --profile h100x8, h100x64 or another h100xN, or --tokens-per-second as measured"


def headline(plan: JSON) -> str:
    """Say in one line what is planned on which machine."""
    profile = plan["profile"]
    machine = f"{profile['workers']} x {profile['gpu']}" if profile["gpu"] else f"{profile['workers']} workers without a GPU"
    return f"plan of {plan['recipe']}: {plan['parameters']:,} parameters on {profile['name']} ({machine})"


def speed_sentence(plan: JSON) -> str:
    """Say on what times and FLOPs rest."""
    profile, shared = plan["profile"], plan["multiplied_parameters"] == plan["parameters"]
    n = "all parameters" if shared else f"{plan['multiplied_parameters']:,} parameters (an input embedding is looked up)"
    said = f"FLOPs per token = 6 N + 12 L H S T: N is {n}, T the whole chunk, neither halved for causality"
    if (window := plan["sliding_window"]) is not None:
        reached = any(row["chunk_tokens"] > window for stage in plan["stages"] for row in stage["sequences"])
        said += f", at most the sliding window of {window:,}" + ("" if reached else ", which no chunk exceeds")
    said += "" if plan["attention_across_documents"] else "; attention that stops at documents is counted as if it did not"
    if plan["measured_tokens_per_second"]:
        return f"Time at {compact(plan['measured_tokens_per_second'])} tokens/s as measured; {said}."
    if not profile["gpu"]:
        return f"{said}."
    peak = f"{profile['gpu_peak_flops'] / 1e12:,.0f} TFLOP/s (bfloat16, dense) of each {profile['gpu']}"
    return f"Time at {percent(plan['mfu'])} of {peak}, for training steps alone; {said}."


def totals_sentence(plan: JSON) -> str:
    """Say what pre-training takes in all."""
    total = plan["total"]
    said = f"{total['steps']:,} steps on {compact(total['tokens'])} tokens, {scientific(total['flops']).replace('e+', 'e')} FLOPs"
    if total["gpu_hours"] is not None:
        said += f": {total['gpu_hours']:,.0f} GPU-hours, {duration(total['seconds'])}, {money(total['cost'])} at {money(plan['price'], 2)} a GPU-hour"
    elif total["seconds"] is not None:
        said += f": {duration(total['seconds'])}"
    return said + "."


def rate_sentence(plan: JSON) -> str:
    """Say how the learning rate goes: its peak, and its value at the end of every stage."""
    rates = plan["learning_rate"]
    form = {"wsd": "WSD"}.get(rates["form"], rates["form"])
    if rates["decay_form"]:
        form += f" ({rates['decay_form'].replace('_', ' ')} from {rates['decay_from_stage']})"
    ends = [
        f"{stage['name']} {rate_text(stage['last_learning_rate'])} ({percent(stage['last_learning_rate'] / rates['peak'])})"
        for stage in plan["stages"]
    ]
    return f"{form}: peak {rate_text(rates['peak'])} from step {max(rates['warmup_steps'], 1):,}; at the end of {', '.join(ends)}"


def how_known(plan: JSON) -> str:
    """Say where the sizes of sources come from, and how to get them."""
    if plan["supply"] == "store":
        return "has: tokens of the finished token streams; a portion of a source is taken to hold that part of its tokens"
    unknown = [row["source"] for row in plan["sources"] if row["has"] is None]
    get = "epochs marked ? are known once tokens are made (`reynard run --workflow data`), or if the recipe gives expected_tokens"
    if plan["supply"] == "recipe":
        return "has: the recipe's expected_tokens, less what is held out; what curation drops is not known yet" + (
            f"; {get}" if unknown else ""
        )
    return get


def memory_notes(plan: JSON) -> list[str]:
    """Say what of the memory table is exact, and what is used."""
    memory = plan["memory"]
    now = (
        f"ZeRO {memory['zero_stage']} at {memory['micro_batch_tokens']:,}"
        if memory["micro_batch_tokens"]
        else f"ZeRO {memory['zero_stage']}"
    )
    usable, whole = gigabytes(memory["usable_bytes"]), gigabytes(memory["gpu_memory_bytes"])
    unable = " and ".join(str(row["zero_stage"]) for row in memory["rows"] if not row["supported"])
    return [
        f"✓ fits into {usable} GB, nine tenths of {whole}; {plan['profile']['name']} uses {now}; ZeRO {unable} are shown to compare: the engine cannot do them",
        "states: ZeRO paper, section 3, with float32 gradient sums; activations and logits are estimates (arXiv 2205.05198, section 4.1)",
    ]


def traffic_lead(plan: JSON) -> str:
    """Say what the table of communication shows."""
    traffic = plan["traffic"]
    where = "inside a machine" if traffic["machines"] == 1 else f"between {traffic['machines']} machines"
    return (
        f"a step's computing, and what a GPU sends in it {where} at {traffic['bytes_per_second'] / 1e9:,.0f} GB/s, not hidden by computing"
    )


def storage_lines(plan: JSON) -> list[str]:
    """Say what tokens and checkpoints take."""
    storage = plan["storage"]
    width = f"{storage['bytes_per_token']} bytes a token"
    corpus = (
        f"{'' if storage['corpus_is_whole'] else 'at least '}{terabytes(storage['corpus_bytes'])} for {compact(storage['corpus_tokens'])} tokens"
        if storage["corpus_bytes"]
        else f"? (sources of unknown size; what is trained on takes {terabytes(storage['trained_tokens'] * storage['bytes_per_token'])} at one epoch)"
    )
    inside = "" if plan["sft"]["steps"] else ", without those inside sft"
    one, full = terabytes(storage["checkpoint_bytes"]), terabytes(storage["checkpoint_bytes_with_working_copy"])
    return [
        f"token streams: {corpus}, {width}",
        f"a checkpoint: {one}, 12 bytes a parameter (float32 weights, two moments); with a bfloat16 copy of the weights 14, {full}",
        f"checkpoints: {storage['checkpoints_written']:,} written ({terabytes(storage['written_bytes'])} in all{inside}), at most "
        f"{storage['checkpoints_at_peak']} at a time ({terabytes(storage['peak_bytes'])}), {storage['checkpoints_kept']} kept "
        f"({terabytes(storage['kept_bytes'])}): the end of each stage and of sft",
        *published_lines(storage),
    ]


def published_lines(storage: JSON) -> list[str]:
    """Say what checkpoints for publication take."""
    if not storage["checkpoints_published"]:
        return []
    size = terabytes(storage["published_bytes"])
    return [
        f"for publication: {storage['checkpoints_published']:,} checkpoints of weights alone, 4 bytes a parameter ({size}, part of the most at a time), "
        "and as much again once all are exported"
    ]


def sequences_text(stage: JSON) -> str:
    """Write how many sequences of which length a stage takes."""
    return " + ".join(f"{compact(row['sequences'])}×{chunk_name(row['chunk_tokens'])}" for row in stage["sequences"])


def chunk_name(tokens: int) -> str:
    """Write a chunk length as it is spoken of: 4096 becomes 4K."""
    return f"{tokens // 1024}K" if tokens >= 1024 and tokens % 1024 == 0 else f"{tokens}"


def giga_flops(stage: JSON) -> str:
    """Write the cost of a token in GFLOP."""
    giga = stage["flops_per_token"] / 1e9
    return f"{giga:.2f}" if giga >= 0.1 else f"{giga:.4f}"


def epochs_text(epochs: float | None) -> str:
    """Write a number of epochs; a question mark where a source's size is not known."""
    return "?" if epochs is None else "< 0.01" if 0 < epochs < 0.005 else f"{epochs:.2f}"


def rate_text(value: float) -> str:
    """Write a learning rate with three significant digits: 2.11e-4."""
    digits, _, power = f"{value:.2e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"


def percent(part: float) -> str:
    """Write a share with a decimal where it is small."""
    return f"{100 * part:.1f} %" if part < 0.0995 else f"{100 * part:.0f} %"


def duration(seconds: float) -> str:
    """Write a time; days from two days on."""
    return clock(seconds) if seconds < 2 * DAY else f"{seconds / DAY:.1f} days"


def money(value: float, digits: int = 0) -> str:
    """Write an amount of money."""
    return f"${value:,.{digits}f}"


def gigabytes(size: float) -> str:
    """Write bytes in GB, without the unit."""
    return f"{size / 1e9:.1f}"


def terabytes(size: float) -> str:
    """Write bytes in the unit that suits them."""
    for unit, limit in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= limit:
            return f"{size / limit:,.{2 if size < 10 * limit else 1}f} {unit}"
    return f"{size / 1e3:.1f} KB"
