"""MT-Bench's figures, answers and judgements to a page: means by category and turn, and every transcript, escaped."""

from collections.abc import Sequence
from typing import Any

from tasks.panels.charts import Dot, DotRow, dot_plot
from tasks.panels.formats import amount, count, escaped, shortened
from tasks.panels.markup import Cell, Markup, fold, panel, right, table
from tasks.panels.markup import figure as framed
from tasks.panels.page import page

JSON = dict[str, Any]
TURNS = {"turn_1": "first turn", "turn_2": "second turn", "both": "both turns"}
STOCK_ANSWER_TOKENS = 1024
REPORTED = [
    ("Moxin-7B-chat", 6.42),
    ("Llama 2 13B Chat", 6.65),
    ("Vicuna 13B", 6.57),
    ("Llama 2 7B Chat", 6.27),
    ("Vicuna 7B", 6.17),
    ("Alpaca 13B", 4.53),
]
REPORTED_NOTE = "Moxin-7B's report, table 4, judged by GPT-4. Ratings by another judge do not compare with them."


def mt_bench_page(result: JSON) -> str:
    """Write the page of a run: `summary`, `setup`, `answers` and `judgements`."""
    summary, setup = result["summary"], result["setup"]
    facts = [
        ("model", setup["model"]), ("judge", setup["judge"]), ("questions", count(setup["questions"])),
        ("judgements", f"{count(summary['judged'])} of {count(summary['expected'])}"), ("without a rating", count(summary["unrated"])),
    ]  # fmt: skip
    subtitle = "Two turns a question, each rated from 1 to 10 by a judge: FastChat's single-answer grading"
    return page("MT-Bench", subtitle, facts, [ratings(summary, setup), transcripts(result["answers"], result["judgements"])])


def ratings(summary: JSON, setup: JSON) -> str:
    """Show the mean rating of each category and turn with its interval, and the report's figures beside it."""
    lead = f"Mean rating of all judgements: {written(summary['overall'])}. {missing(summary)}"
    if not setup["stock"]:
        lead += " The questions are not FastChat's own: these are no MT-Bench figures."
    if (most := setup["decoding"]["answer_tokens"]) != STOCK_ANSWER_TOKENS:
        lead += f" Answers were cut at {count(most)} tokens, FastChat's at {count(STOCK_ANSWER_TOKENS)}."
    rows = [dot_row(category, figures) for category, figures in summary["categories"].items()]
    rows.append(dot_row("all", {"both": summary["overall"], **{turn: summary[turn] for turn in ("turn_1", "turn_2")}}))
    note = "A dot is a mean rating, the line through it half the width of its 95 % interval to each side (10,000 samples of questions)."
    chart = framed("Mean rating by category", dot_plot(rows, list(TURNS.values()), "Mean rating by category and turn", "rating", 10), note)
    own: list[Cell] = [f"{setup['model_name']} (this run, judge {setup['judge_name']})", right(written(summary["overall"]))]
    reported: list[list[Cell]] = [own, *([name, right(f"{value:.2f}")] for name, value in REPORTED)]
    return panel("Ratings", lead, chart, numbers(summary), table("Beside a report's figures", ["model", "rating"], reported, REPORTED_NOTE))


def missing(summary: JSON) -> str:
    """Say how many judgements are in no mean, and why."""
    absent = summary["expected"] - summary["judged"]
    unrated = f"{amount(summary['unrated'], 'judgement')} had no rating after all readings and {'is' if summary['unrated'] == 1 else 'are'} in no mean"
    return f"{unrated}; {amount(absent, 'judgement')} {'is' if absent == 1 else 'are'} missing: run again." if absent else f"{unrated}."


def dot_row(label: str, figures: JSON) -> DotRow:
    """Make a row of the plot: a dot for each turn and for both."""
    dots = [Dot(one["mean"], (one["high"] - one["low"]) / 2) if (one := figures[turn])["ratings"] else None for turn in TURNS]
    return DotRow(label, dots)


def written(figure: JSON) -> str:
    """Write a mean with its interval."""
    return f"{figure['mean']:.2f} ({figure['low']:.2f} to {figure['high']:.2f})" if figure["ratings"] else "–"


def numbers(summary: JSON) -> str:
    """Write all means in a table, folded away."""
    rows: list[list[Cell]] = [
        [category, *(right(written(figures[turn])) for turn in TURNS), figures["both"]["ratings"]]
        for category, figures in summary["categories"].items()
    ]
    rows.append(["all", *(right(written(summary["overall" if turn == "both" else turn])) for turn in TURNS), summary["overall"]["ratings"]])
    return fold("All means in numbers", table("Mean rating (95 % interval)", ["category", *TURNS.values(), "ratings"], rows))


def transcripts(answers: Sequence[JSON], judgements: Sequence[JSON]) -> str:
    """Show every question with its answers and judgements, folded away one by one."""
    judged = {(row["question_id"], row["turn"]): row for row in judgements}
    parts = [transcript(row, [judged.get((row["question_id"], turn)) for turn in (1, 2)]) for row in answers]
    lead = "Each line opens to the conversation and to what the judge wrote about it."
    return panel("Transcripts", lead, *parts)


def transcript(row: JSON, judged: Sequence[JSON | None]) -> Markup:
    """Show one conversation, each answer followed by its judgement."""
    parts = []
    for number, (turn, judgement) in enumerate(zip(row["turns"], judged, strict=True), start=1):
        parts.append(said(f"user, turn {number}", turn["messages"][-1]["content"]))
        parts.append(
            said(f"{row['model']} · temperature {row['decoding']['temperature']} · ended by {turn['finish_reason']}", turn["text"])
        )
        if judgement:
            label = f"judge {judgement['judge']} · {judgement['prompt']} · rating {shown(judgement['rating'])}"
            parts.append(said(label, judgement["judgement"]))
    marks = " and ".join(shown(one["rating"]) if one else "–" for one in judged)
    asked = " ".join(row["turns"][0]["messages"][-1]["content"].split())
    return fold(f"{row['question_id']} {row['category']}, rated {marks}: {shortened(asked, 560)}", *parts)


def shown(value: float | None) -> str:
    """Write a rating, or that there is none."""
    return "none" if value is None else f"{value:g}"


def said(who: str, text: str) -> str:
    """Show a text whole, its line breaks kept, and whose it is."""
    return f'<blockquote><p style="white-space:pre-wrap">{escaped(text) or "(nothing)"}</p><footer>{escaped(who)}</footer></blockquote>'
