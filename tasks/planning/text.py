"""A plan to the page that a terminal shows: at most 100 columns, read from top to bottom in a minute."""

from collections.abc import Sequence

from tasks.artifacts.manifest import JSON
from tasks.panels.formats import compact, share
from tasks.panels.plan_words import (
    NO_GPU,
    duration,
    epochs_text,
    giga_flops,
    gigabytes,
    headline,
    how_known,
    memory_notes,
    money,
    rate_sentence,
    sequences_text,
    speed_sentence,
    storage_lines,
    totals_sentence,
    traffic_lead,
)  # fmt: skip

WIDTH = 100
BLOCKS = "▁▂▃▄▅▆▇█"
Row = Sequence[str]


def plan_text(plan: JSON) -> str:
    """Write a plan for a terminal."""
    parts = [
        opening(plan), stage_lines(plan), rate_lines(plan), source_lines(plan), memory_lines(plan), traffic_lines(plan),
        ["storage", *wrapped(storage_lines(plan))],
        artifact_lines(plan), warning_lines(plan),
    ]  # fmt: skip
    return "\n\n".join("\n".join(part) for part in parts if part)


def opening(plan: JSON) -> list[str]:
    """Say what is planned, and on what the times rest."""
    return [headline(plan), *wrapped([totals_sentence(plan), speed_sentence(plan)])]


def columns(head: Row, rows: Sequence[Row], left: int = 1) -> list[str]:
    """Set rows in columns, the first `left` of them flush left and the others flush right."""
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    return [
        "  ".join(value.ljust(width) if place < left else value.rjust(width) for place, (value, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in [head, *rows]
    ]  # fmt: skip


def wrapped(lines: Sequence[str], indent: str = "  ") -> list[str]:
    """Break lines at words so that none is wider than the page; what follows a break is indented."""
    out = []
    for line in lines:
        left = indent + line
        while len(left) > WIDTH:
            at = left.rfind(" ", len(indent) + 20, WIDTH + 1)
            at = at if at > 0 else WIDTH
            out.append(left[:at].rstrip())
            left = indent * 2 + left[at:].lstrip()
        out.append(left)
    return out


def stage_lines(plan: JSON) -> list[str]:
    """Write a line for each stage, for all, and for fine-tuning."""
    timed = plan["total"]["seconds"] is not None
    head = ["stage", "steps", "tokens", "share", "sequences", "GFLOP/tok"]
    head += ["tok/s", *(["GPU-h", "cost"] if plan["profile"]["gpu"] else []), "time"] if timed else []
    rows = [stage_row(plan, stage, timed) for stage in plan["stages"]]
    total = plan["total"]
    ends = ["", "", *money_cells(plan, total), duration(total["seconds"])] if timed else [""]
    rows.append(["total", f"{total['steps']:,}", compact(total["tokens"]), "", "", *ends])
    rows.append(sft_row(plan, timed))
    notes = [] if timed else wrapped([NO_GPU])
    if timed and plan["sft"]["tokens"]:
        notes = wrapped([f"sft: attention as if every conversation had {plan['sft']['max_tokens']:,} tokens, padding not counted"])
    elif not plan["sft"]["tokens"]:
        notes += wrapped([f"sft: {plan['sft']['epochs']:g} epochs; its tokens are known once conversations are rendered"])
    return [*columns(head, rows), *notes]


def stage_row(plan: JSON, stage: JSON, timed: bool) -> list[str]:
    """Write a stage in cells."""
    row = [
        stage["name"],
        f"{stage['steps']:,}",
        compact(stage["tokens"]),
        share(stage["share"], 1),
        sequences_text(stage),
        giga_flops(stage),
    ]
    return [*row, compact(stage["tokens_per_second"]), *money_cells(plan, stage), duration(stage["seconds"])] if timed else row


def sft_row(plan: JSON, timed: bool) -> list[str]:
    """Write fine-tuning in cells, a question mark for what is not known yet."""
    sft = plan["sft"]
    steps = f"{sft['steps']:,}" if sft["steps"] else "?"
    row = ["sft", steps, compact(sft["tokens"]) if sft["tokens"] else "?", "", ""]
    if not sft["tokens"]:
        return [*row, "?", *(["?"] * (4 if plan["profile"]["gpu"] else 2) if timed else [])]
    row.append(giga_flops(sft))
    return [*row, compact(sft["tokens_per_second"]), *money_cells(plan, sft), duration(sft["seconds"])] if timed else row


def money_cells(plan: JSON, row: JSON) -> list[str]:
    """Write GPU-hours and their price, where there are GPUs."""
    return [f"{row['gpu_hours']:,.0f}", money(row["cost"])] if plan["profile"]["gpu"] else []


def rate_lines(plan: JSON) -> list[str]:
    """Say how the learning rate goes, and draw it small."""
    return ["learning rate", *wrapped([rate_sentence(plan)]), "  " + sparkline(plan["learning_rate"]["points"], 72)]


def sparkline(points: Sequence[Sequence[float]], width: int) -> str:
    """Draw values over steps with blocks, one a column, from zero to the largest."""
    first, last = points[0][0], points[-1][0]
    high = max(value for _, value in points) or 1
    drawn = []
    for column in range(width):
        at = first + (last - first) * column / (width - 1)
        _, value = min(points, key=lambda point: abs(point[0] - at))
        drawn.append(BLOCKS[min(int(value / high * len(BLOCKS)), len(BLOCKS) - 1)])
    return "".join(drawn)


def source_lines(plan: JSON) -> list[str]:
    """Write a line for each source: what it has, what each stage takes from it, and how many epochs that is."""
    names = [stage["name"] for stage in plan["stages"]]
    entries = {(stage["name"], row["source"]): row for stage in plan["stages"] for row in stage["sources"]}
    head = ["source", "has", *(part for name in names for part in (name, "epochs")), "total", "epochs"]
    rows = []
    for source in plan["sources"]:
        cells = [source["source"][:20], compact(source["has"]) if source["has"] else "?"]
        for name in names:
            entry = entries.get((name, source["source"]))
            cells += [compact(entry["tokens"]), epochs_text(entry["epochs"])] if entry else ["", ""]
        rows.append([*cells, compact(source["tokens"]), epochs_text(source["epochs"])])
    return [*columns(head, rows), *wrapped([how_known(plan)])]


def memory_lines(plan: JSON) -> list[str]:
    """Write the memory of a GPU by ZeRO stage and micro-batch."""
    memory = plan["memory"]
    if not memory or not memory["columns"]:
        return []
    sizes = [f"{column['micro_batch_tokens']:,}" for column in memory["columns"]]
    head = ["ZeRO", "weights", "gradients", "optimizer", "state", *(f"at {size}" for size in sizes)]
    rows = []
    for row in memory["rows"]:
        states = [gigabytes(row[key]) for key in ("weights", "gradients", "optimizer", "state")]
        rows.append([str(row["zero_stage"]), *states, *(fit(row, place) for place in range(len(sizes)))])
    for key in ("activations", "logits"):
        rows.append([key, "", "", "", "", *(gigabytes(column[key]) + "  " for column in memory["columns"])])
    return [
        "GPU memory in GB: states by ZeRO stage, and sums with activations and logits at N tokens at once",
        *columns(head, rows),
        *wrapped(memory_notes(plan)),
    ]


def traffic_lines(plan: JSON) -> list[str]:
    """Write what a GPU sends in an optimizer step of each stage, and how long that takes, by ZeRO stage."""
    if not plan["traffic"]:
        return []
    rows = plan["traffic"]["rows"]
    head = ["stage", "micro-batches", "computing s"]
    head += [cell for one in rows[0]["zero"] for cell in (f"ZeRO {one['zero_stage']} GB", "s", "of it")]
    cells = []
    for row in rows:
        cell = [row["name"], str(row["micro_batches"]), f"{row['compute_seconds']:.2f}"]
        for one in row["zero"]:
            cell += [gigabytes(one["bytes"]), f"{one['seconds']:.3f}", share(one["seconds"] / row["compute_seconds"], 1)]
        cells.append(cell)
    return [*wrapped([f"communication: {traffic_lead(plan)}"], ""), *columns(head, cells)]


def fit(row: JSON, place: int) -> str:
    """Write a sum of memory, and whether it fits."""
    return f"{gigabytes(row['totals'][place])} {'✓' if row['fits'][place] else '✗'}"


def artifact_lines(plan: JSON) -> list[str]:
    """Write what the store has of the recipe's chain, and what is to be made."""
    signs = {"finished": "✓", "if unchanged": "?", "to be made": "·"}
    done = sum(row["status"] == "finished" for row in plan["artifacts"])
    if all(row["status"] == "to be made" and not row["older"] for row in plan["artifacts"]):
        return wrapped([f"artifacts in {plan['store']}: none yet, {len(plan['artifacts'])} are to be made"], "")
    lines = [f"artifacts in {plan['store']}: {done} of {len(plan['artifacts'])} finished"]
    wide = max(len(row["label"]) for row in plan["artifacts"])
    for row in plan["artifacts"]:
        status = {"finished": "finished, stays valid", "if unchanged": "finished", "to be made": "to be made"}[row["status"]]
        said = f"{signs[row['status']]} {row['label'].ljust(wide)}  {status}{': ' if row['why'] else ''}{row['why']}"
        lines += wrapped([said])
    return lines


def warning_lines(plan: JSON) -> list[str]:
    """Write the warnings."""
    return [line for warning in plan["warnings"] for line in wrapped([f"warning: {warning}"], "")]
