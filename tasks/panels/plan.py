"""A plan to panels: stages and what they cost, the learning rate, sources and epochs, memory, storage, and what stays valid."""

from tasks.panels.charts import bars, grouped_parts, stacked_bars
from tasks.panels.curves import Series, line_chart
from tasks.panels.formats import compact, count, escaped, share
from tasks.panels.markup import Cell, Markup, figure, legend, panel, right, table
from tasks.panels.page import page
from tasks.panels.plan_words import (
    JSON,
    NO_GPU,
    duration,
    epochs_text,
    giga_flops,
    gigabytes,
    how_known,
    memory_notes,
    money,
    rate_sentence,
    sequences_text,
    speed_sentence,
    storage_lines,
    terabytes,
    totals_sentence,
    traffic_lead,
)  # fmt: skip

CONSIDERED = ("weights", "gradients", "optimizer", "activations", "logits")


def plan_page(plan: JSON) -> str:
    """Write a plan as a page of its own."""
    total, profile = plan["total"], plan["profile"]
    facts = [("recipe", plan["recipe"]), ("parameters", count(plan["parameters"])), ("profile", profile["name"])]
    facts += [("optimizer steps", count(total["steps"])), ("tokens", compact(total["tokens"]))]
    if total["gpu_hours"] is not None:
        facts += [("GPU-hours", count(total["gpu_hours"])), ("cost", money(total["cost"]))]
    facts += [("wall time", duration(total["seconds"]))] if total["seconds"] is not None else []
    facts += [("warnings", str(len(plan["warnings"])))]
    return page(f"Plan of {plan['recipe']} on {profile['name']}", plan["summary"], facts, plan_panels(plan))


def plan_panels(plan: JSON) -> list[str]:
    """Write a plan as panels."""
    made = [warnings(plan), stages(plan), learning_rate(plan), sources(plan), memory(plan), traffic(plan), storage(plan), artifacts(plan)]
    return [part for part in made if part]


def listed(lines: list[str]) -> Markup:
    """Write sentences below each other."""
    return Markup("".join(f'<p class="note">{escaped(line)}</p>' for line in lines))


def warnings(plan: JSON) -> str:
    """Show what speaks against the run as it is planned."""
    if not plan["warnings"]:
        return ""
    said = "".join(f'<p><span class="bad">warning</span> {escaped(warning)}</p>' for warning in plan["warnings"])
    return panel("Warnings", "The run can start in spite of these; they are worth a look before it does.", said)


def stages(plan: JSON) -> str:
    """Show the stages in numbers, and how their time compares."""
    timed, gpu = plan["total"]["seconds"] is not None, plan["profile"]["gpu"]
    head = ["stage", "steps", "tokens", "share", "sequences", "GFLOP / token"]
    head += (["tokens / s", *(["GPU-hours", "cost"] if gpu else []), "wall time"]) if timed else []
    rows: list[list[Cell]] = []
    for stage in plan["stages"]:
        row: list[Cell] = [stage["name"], stage["steps"], right(compact(stage["tokens"])), right(share(stage["share"], 1))]
        rows.append([*row, sequences_cell(stage), right(giga_flops(stage)), *time_cells(plan, stage)])
    total, sft = plan["total"], plan["sft"]
    rows.append(["total", total["steps"], right(compact(total["tokens"])), None, None, None, *time_cells(plan, total)])
    known = bool(sft["tokens"])
    row = ["sft", sft["steps"] or right("?"), right(compact(sft["tokens"]) if known else "?"), None, None]
    rows.append([*row, right(giga_flops(sft) if known else "?"), *(time_cells(plan, sft) if known else [right("?")] * (len(head) - 6))])
    note = f"sft: attention as if every conversation had {sft['max_tokens']:,} tokens, padding not counted." if known else (
        f"sft: {sft['epochs']:g} epochs; its tokens are known once conversations are rendered."
    )  # fmt: skip
    chart = ""
    if timed:
        chart = figure(
            "Wall time of each stage", bars([(s["name"], s["seconds"]) for s in plan["stages"]], "Wall time of each stage", duration)
        )
    return panel(
        "Stages",
        totals_sentence(plan),
        table("Stages", head, rows, note),
        chart,
        listed([speed_sentence(plan), *([] if timed else [NO_GPU])]),
    )


def sequences_cell(stage: JSON) -> Markup:
    """Write a stage's sequences, each length on its own line."""
    return Markup(f'<span class="right">{escaped(sequences_text(stage)).replace(" + ", " +<br/>")}</span>')


def time_cells(plan: JSON, row: JSON) -> list[Cell]:
    """Write a row's speed, GPU-hours, cost and time, as far as they are planned."""
    if row["seconds"] is None:
        return []
    speed: Cell = right(compact(row["tokens_per_second"])) if "tokens_per_second" in row else None
    money_of: list[Cell] = [right(count(row["gpu_hours"])), right(money(row["cost"]))] if plan["profile"]["gpu"] else []
    return [speed, *money_of, right(duration(row["seconds"]))]


def learning_rate(plan: JSON) -> str:
    """Draw the learning rate over all steps."""
    boundaries = [(float(stage["first_step"] + 1), stage["name"]) for stage in plan["stages"]]
    points = plan["learning_rate"]["points"]
    chart = line_chart([Series("", points)], "Learning rate over steps", "optimizer step", boundaries, from_zero=True)
    return panel("Learning rate", rate_sentence(plan) + ".", figure("Learning rate over steps", chart))


def sources(plan: JSON) -> str:
    """Show what every stage takes from each source, and how often it goes through it."""
    names = [stage["name"] for stage in plan["stages"]]
    parts, folded = mixtures(plan)
    rows: list[list[Cell]] = []
    chart = figure(
        "Mixture of each stage", stacked_bars(folded, parts, "Mixture of each stage", compact, shares=True),
        "Every bar is one stage; the number at its end is the stage's tokens.", legend(parts),
    )  # fmt: skip
    entries = {(stage["name"], row["source"]): row for stage in plan["stages"] for row in stage["sources"]}
    for source in plan["sources"]:
        row: list[Cell] = [source["source"], right(compact(source["has"]) if source["has"] else "?")]
        for name in names:
            row += entry_cells(entries.get((name, source["source"])))
        rows.append([*row, right(compact(source["tokens"])), right(epochs_text(source["epochs"]))])
    head = ["source", "has", *(part for name in names for part in (name, "epochs")), "total", "epochs"]
    lead = "Epochs are passes through the part of a source that a stage may draw from."
    return panel("Sources", lead, chart, table("Tokens and epochs", head, rows, how_known(plan) + "."))


def mixtures(plan: JSON) -> tuple[list[str], list[tuple[str, dict[str, float]]]]:
    """Return the sources to show apart, those with the largest shares of any stage, and each stage's tokens by them."""
    mixed = [(stage["name"], {row["source"]: row["tokens"] for row in stage["sources"]}) for stage in plan["stages"]]
    parts, _ = grouped_parts([(name, {source: tokens / sum(by.values()) for source, tokens in by.items()}) for name, by in mixed])
    folded = []
    for name, by in mixed:
        rest = sum(tokens for source, tokens in by.items() if source not in parts)
        folded.append((name, {part: by.get(part, 0) for part in parts} | ({parts[-1]: rest} if rest else {})))
    return parts, folded


def entry_cells(entry: JSON | None) -> list[Cell]:
    """Write what a stage takes from a source; more epochs than it allows are marked."""
    if entry is None:
        return [right(""), right("")]
    epochs = epochs_text(entry["epochs"])
    over = entry["available"] is not None and entry["tokens"] > entry["available"] * entry["max_epochs"]
    return [right(compact(entry["tokens"])), Markup(f'<span class="right bad">{epochs}</span>') if over else right(epochs)]


def memory(plan: JSON) -> str:
    """Show a GPU's memory by ZeRO stage and micro-batch, and which settings fit."""
    planned = plan["memory"]
    if not planned or not planned["columns"]:
        return ""
    sizes = [column["micro_batch_tokens"] for column in planned["columns"]]
    rows: list[list[Cell]] = []
    for row in planned["rows"]:
        states: list[Cell] = [right(gigabytes(row[key])) for key in ("weights", "gradients", "optimizer", "state")]
        rows.append([f"ZeRO {row['zero_stage']}", *states, *(fit_cell(row, place) for place in range(len(sizes)))])
    for key in ("activations", "logits"):
        rows.append([key, *[None] * 4, *(right(gigabytes(column[key])) for column in planned["columns"])])
    head = ["", "weights", "gradients", "optimizer", "states", *(f"at {size:,}" for size in sizes)]
    now = planned["micro_batch_tokens"]
    chart: str = ""
    if now in sizes:
        column = planned["columns"][sizes.index(now)]
        parts = [(f"ZeRO {row['zero_stage']}", {key: (row | column)[key] / 1e9 for key in CONSIDERED}) for row in planned["rows"]]
        drawn = stacked_bars(parts, list(CONSIDERED), "Memory of a GPU", lambda value: f"{value:.1f} GB")
        chart = figure(f"Memory of a GPU at {now:,} tokens", drawn, "", legend(list(CONSIDERED)))
    lead = "What training keeps on each GPU; the last columns are sums with activations and logits at so many tokens at once."
    return panel("GPU memory", lead, table("Memory in GB", head, rows), chart, listed(memory_notes(plan)))


def traffic(plan: JSON) -> str:
    """Show what a GPU sends in an optimizer step of each stage, and how long that takes, by ZeRO stage."""
    if not plan["traffic"]:
        return ""
    planned = plan["traffic"]["rows"]
    head = ["stage", "micro-batches", "computing, s"]
    head += [cell for one in planned[0]["zero"] for cell in (f"ZeRO {one['zero_stage']}, GB", "s", "of computing")]
    rows: list[list[Cell]] = []
    for row in planned:
        cells: list[Cell] = [row["name"], row["micro_batches"], right(f"{row['compute_seconds']:.2f}")]
        for one in row["zero"]:
            cells += [
                right(gigabytes(one["bytes"])),
                right(f"{one['seconds']:.3f}"),
                right(share(one["seconds"] / row["compute_seconds"], 1)),
            ]
        rows.append(cells)
    lead = traffic_lead(plan)
    return panel("Communication", f"{lead[0].upper()}{lead[1:]}.", table("Communication of an optimizer step", head, rows))


def fit_cell(row: JSON, place: int) -> Markup:
    """Write a sum of memory, coloured by whether it fits."""
    fits = row["fits"][place]
    return Markup(f'<span class="right {"good" if fits else "bad"}">{gigabytes(row["totals"][place])} {"✓" if fits else "✗"}</span>')


def storage(plan: JSON) -> str:
    """Show what the store has to hold."""
    planned = plan["storage"]
    whole = "" if planned["corpus_is_whole"] else "≥ "
    corpus = whole + terabytes(planned["corpus_bytes"]) if planned["corpus_bytes"] else "?"
    rows: list[list[Cell]] = [
        ["token streams", right(corpus), right("")],
        ["a checkpoint", right(terabytes(planned["checkpoint_bytes"])), 1],
        ["checkpoints written in all", right(terabytes(planned["written_bytes"])), planned["checkpoints_written"]],
        ["checkpoints at a time, at most", right(terabytes(planned["peak_bytes"])), planned["checkpoints_at_peak"]],
        ["checkpoints kept", right(terabytes(planned["kept_bytes"])), planned["checkpoints_kept"]],
        ["checkpoints for publication", right(terabytes(planned["published_bytes"])), planned["checkpoints_published"]],
    ]
    return panel(
        "Storage", "What the artifact store has to hold.", table("Storage", ["what", "size", "number"], rows), listed(storage_lines(plan))
    )


def artifacts(plan: JSON) -> str:
    """Show which artifacts of the chain stay valid, and which are to be made, and why."""
    done = sum(row["status"] == "finished" for row in plan["artifacts"])
    words = {
        "finished": ("good", "finished, stays valid"),
        "if unchanged": ("", "finished, may stay valid"),
        "to be made": ("", "to be made"),
    }
    rows: list[list[Cell]] = []
    for row in plan["artifacts"]:
        shade, status = words[row["status"]]
        rows.append([row["label"], Markup(f'<span class="{shade}">{status}</span>'), row["why"]])
    lead = f"{done} of {len(plan['artifacts'])} artifacts of this recipe are finished in the store."
    return panel("What stays valid", lead, table("Artifacts", ["artifact", "state", "why"], rows, f"Store: {plan['store']}"))
