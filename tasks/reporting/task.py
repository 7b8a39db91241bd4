"""A finished run to what people look at: `summary.json`, `report.html`, and the summary on the terminal."""

import time
from pathlib import Path

import orjson

from recipes.schema import Recipe
from tasks.artifacts.handles import (
    Checkpoint,
    CheckpointRef,
    CleanScoresRef,
    DocumentsRef,
    ReleasedRef,
    RunRef,
    ScoresRef,
    Summary,
    SummaryRef,
    TokensRef,
)
from tasks.reporting.summary import summary_text
from tasks.runtime.flyte import control_task
from tasks.runtime.tracking import end_parent


@control_task("tasks.reporting")
def summarize(
    run: RunRef, recipe: Recipe, documents: DocumentsRef, tokens: TokensRef, stages: list[Checkpoint], chat: CheckpointRef,
    base_scores: ScoresRef, chat_scores: ScoresRef, clean_scores: CleanScoresRef, base_release: ReleasedRef, chat_release: ReleasedRef,
) -> SummaryRef:  # fmt: skip
    """Write the run's summary and report, and end its MLflow run."""
    from tasks.reporting.report import collect, make_report

    parts = collect(run, documents, tokens, [*stages, chat], [base_scores, chat_scores], clean_scores, [base_release, chat_release])
    folder = Path(run.folder)
    summary = parts.summary(run, recipe, time.time() - run.started)
    (folder / "report.html").write_text(make_report(recipe, parts, summary))
    (folder / "summary.json").write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2))
    metrics = {"wall_seconds": summary["wall_seconds"], "bits_per_byte": base_scores.bits_per_byte} | {
        f"chat/{k}": v for k, v in chat_scores.scores.items()
    }
    end_parent(run.tracking_uri, run.tracking_run, metrics, {"report": str(folder / "report.html")}, failed=False, store=run.store)
    print(summary_text(summary), flush=True)
    return Summary(
        name="summary", version=chat_release.version, uri=str(folder / "summary.json"), digest=chat_release.digest,
        report=str(folder / "report.html"), seconds=round(summary["wall_seconds"], 1),
    )  # fmt: skip
