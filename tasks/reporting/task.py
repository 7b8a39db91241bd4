"""A finished run to what people look at: `summary.json`, `report.html`, and the summary on the terminal."""

import time

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
from tasks.runtime.flyte import control_task, show
from tasks.runtime.tracking import end_parent


@control_task("tasks.reporting")
def summarize(
    run: RunRef, recipe: Recipe, documents: DocumentsRef, tokens: TokensRef, stages: list[Checkpoint], chat: CheckpointRef,
    base_scores: ScoresRef, chat_scores: ScoresRef, clean_scores: CleanScoresRef, base_release: ReleasedRef, chat_release: ReleasedRef,
) -> SummaryRef:  # fmt: skip
    """Write the run's summary, report and lineage, show them, and end its MLflow run."""
    from tasks.lineage.page import lineage_page, lineage_panels
    from tasks.reporting.delivery import leave, origins_of
    from tasks.reporting.report import collect, make_report, report_panels

    parts = collect(run, documents, tokens, [*stages, chat], [base_scores, chat_scores], clean_scores, [base_release, chat_release])
    summary = parts.summary(run, recipe, time.time() - run.started)
    graph, roots = origins_of(run, parts.releases)
    panels, origins = report_panels(parts), lineage_panels(graph, roots)
    show("report", "".join(panels))
    show("lineage", "".join(origins))
    said = f"What {base_release.label} and {chat_release.label} were made from."
    places = leave(run, {
        "report.html": make_report(recipe, parts, summary, panels).encode(),
        "lineage.html": lineage_page(f"Lineage of {run.name}", said, graph, run.store, origins).encode(),
        "summary.json": orjson.dumps(summary, option=orjson.OPT_INDENT_2),
    })  # fmt: skip
    metrics = {"wall_seconds": summary["wall_seconds"], "bits_per_byte": base_scores.bits_per_byte}
    metrics |= {f"chat/{k}": v for k, v in chat_scores.scores.items()}
    end_parent(run.tracking_uri, run.tracking_run, metrics, {"report": places["report.html"]}, failed=False, store=run.store)
    print(summary_text(summary), flush=True)
    return Summary(
        name="summary", version=chat_release.version, uri=places["summary.json"], digest=chat_release.digest,
        report=places["report.html"], seconds=round(summary["wall_seconds"], 1),
    )  # fmt: skip
