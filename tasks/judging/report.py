"""A run of MT-Bench to its summary and its page."""

from pathlib import Path
from typing import Any

import orjson

from tasks.judging.mt_bench import JUDGE_TOKENS, SEED, Bench
from tasks.judging.questions import SOURCE
from tasks.judging.ratings import summarize
from tasks.panels.mt_bench import mt_bench_page

JSON = dict[str, Any]


def write_report(bench: Bench, name: str, result: JSON, folder: Path) -> JSON:
    """Write `summary.json` and `report.html` beside the answers; return the summary's figures."""
    figures = summarize(result["judgements"], len(bench.data.questions))
    served = sorted({turn["served_model"] for row in result["answers"] for turn in row["turns"]})
    judged_by = sorted({reading["served_model"] for row in result["judgements"] for reading in row["readings"]})
    setup = {
        "model": f"{name} at {bench.model.url}", "judge": f"{bench.judge.model} at {bench.judge.url}",
        "model_name": name, "judge_name": bench.judge.model, "served_model": served, "served_judge": judged_by,
        "weights": bench.weights, "questions": len(bench.data.questions), "stock": bench.data.is_stock,
        "data": {"source": SOURCE, "sha256": bench.data.sha256},
        "decoding": {"answer_tokens": bench.answer_tokens, "judge_tokens": JUDGE_TOKENS, "seed": SEED},
    }  # fmt: skip
    written = {"summary": figures, "setup": setup, "failed": result["failed"]}
    (folder / "summary.json").write_bytes(orjson.dumps(written, option=orjson.OPT_INDENT_2) + b"\n")
    (folder / "report.html").write_text(mt_bench_page(written | result), encoding="utf-8")
    return figures
