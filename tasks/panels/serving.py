"""A serving sweep's figures to a page: speed over concurrency beside Fox-1's report, waiting times, and memory of the weights."""

from collections.abc import Sequence
from typing import Any

from tasks.panels.curves import Series, line_chart
from tasks.panels.formats import amount, count, decimal
from tasks.panels.markup import Cell, Markup, figure, multiples, panel, right, table
from tasks.panels.page import page

JSON = dict[str, Any]
# Fox-1's report, "Inference Efficiency of Fox-1" and figure 3: vLLM, BF16, one H100, prompts of 234 tokens on average, 512 output tokens
REPORTED_TOKENS_PER_SECOND = 200.0
REPORTED_MEGABYTES = {"Fox-1-1.6B": 3703, "Qwen1.5-1.8B": 4739, "StableLM-2-1.6B": 3852, "Gemma-2B": 5379}
REPORTED_WHERE = "Fox-1's report: vLLM, BF16, one H100; how many users at once it does not say"
PER_USER, FIRST, BETWEEN = "output_tokens_per_second_per_user", "time_to_first_token_seconds", "inter_token_seconds"
RANKS = ("p50", "p90", "p99")


def serving_page(result: JSON) -> str:
    """Write the page of a sweep: `setup`, `levels` and, where a folder was given, `weights`."""
    setup = result["setup"]
    facts = [
        ("model", setup["model"]), ("server", setup["endpoint"]), ("prompt tokens, mean", count(setup["prompt_tokens"])),
        ("output tokens", count(setup["output_tokens"])), ("length kept by", result["dialect"]),
        ("requests of each user", count(setup["requests_per_user"])), ("machine", setup["machine"]),
    ]  # fmt: skip
    subtitle = "Users at once, each sending its next request when its last is answered"
    return page("Serving speed", subtitle, facts, [serving_panel(result)])


def serving_panel(result: JSON) -> str:
    """Show speed per user and all together, waiting times, all numbers, and the weights' memory."""
    levels = [level for level in result["levels"] if PER_USER in level]
    lost = sum(sum(level["failed"].values()) for level in result["levels"])
    lead = f"{count(sum(level['requests'] for level in result['levels']))} requests, {count(lost)} failed."
    if levels:
        best = levels[0]
        users = amount(best["concurrency"], "user")
        lead += f" With {users} at once: {decimal(best[PER_USER]['p50'])} output tokens a second for each (median)."
        early = sum(level["ended_early"] for level in levels)
        lead += f" {count(early)} answers ended before the wanted length: figures are of the tokens that came." if early else ""
    return panel(
        "Speed", lead, *(per_user(levels), small_charts(levels)) if levels else (), numbers(result["levels"]), memory(result.get("weights"))
    )


def per_user(levels: Sequence[JSON]) -> Markup:
    """Draw what each user sees over the number of users, beside the report's figure."""
    users = [level["concurrency"] for level in levels]
    lines = [
        Series(rank, [(level["concurrency"], level[PER_USER][low]) for level in levels])
        for rank, low in (("median", "p50"), ("mean", "mean"))
    ]
    lines.append(Series("Fox-1, over", [(min(users), REPORTED_TOKENS_PER_SECOND), (max(users), REPORTED_TOKENS_PER_SECOND)]))
    note = f"A request's output tokens by the seconds from sending to its last token. The level line: {REPORTED_WHERE}."
    title = "Output tokens per second per user"
    return figure(title, line_chart(lines, title, "users at once", from_zero=True), note)


def small_charts(levels: Sequence[JSON]) -> Markup:
    """Draw all users' tokens together, time to the first token, and the gaps between tokens."""
    total = [Series("", [(level["concurrency"], level["output_tokens_per_second"]) for level in levels])]
    charts = [("Output tokens per second, all users", total)]
    for title, key in (("Time to first token, seconds", FIRST), ("Between tokens, seconds", BETWEEN)):
        charts.append(
            (title, [Series(rank, [(level["concurrency"], level[key][rank]) for level in levels if level[key]]) for rank in RANKS])
        )
    return multiples([
        figure(title, line_chart(series, title, "users at once", size=(360, 220), from_zero=True)) for title, series in charts
    ])  # fmt: skip


def numbers(levels: Sequence[JSON]) -> Markup:
    """Write all figures of every level."""
    rows: list[list[Cell]] = []
    for level in levels:
        spreads = [right(" / ".join(written(level.get(key), rank) for rank in RANKS)) for key in (PER_USER, FIRST, BETWEEN)]
        rows.append([
            level["concurrency"], level["requests"], sum(level["failed"].values()), level.get("prompt_tokens_mean"), level.get("output_tokens_mean"),
            level.get("output_tokens_per_second"), *spreads,
        ])  # fmt: skip
    columns = [
        "users", "requests", "failed", "prompt tokens", "output tokens", "tokens/s, all", "tokens/s per user, p50/p90/p99",
        "first token, s, p50/p90/p99", "between tokens, s, p50/p90/p99",
    ]  # fmt: skip
    faults = sorted({fault for level in levels for fault in level["failed"]})
    return table("Every level in numbers", columns, rows, f"Failed: {'; '.join(faults)}" if faults else "")


def written(values: JSON | None, rank: str) -> str:
    """Write a percentile, or a dash."""
    return decimal(values[rank]) if values else "–"


def memory(weights: JSON | None) -> str:
    """Write what the weights take, as exported and in two bytes each, beside the report's figures."""
    if not weights:
        return ""
    exported = " and ".join(f"{kind} {one['bytes'] / 1e6:,.2f} MB" for kind, one in weights["by_type"].items())
    rows: list[list[Cell]] = [
        ["this model, as exported", right(f"{weights['bytes'] / 1e6:,.2f}"), f"{count(weights['parameters'])} parameters: {exported}"],
        ["this model, two bytes a parameter", right(f"{2 * weights['parameters'] / 1e6:,.2f}"), "BF16 or FP16"],
    ]
    rows += [[name, right(f"{megabytes:,}"), "BF16, GPU memory as the report gives it"] for name, megabytes in REPORTED_MEGABYTES.items()]
    return table(
        "Memory of the weights, MB", ["model", "MB", "what"], rows, "Weights alone, without caches. The report's figures are Fox-1's."
    )
