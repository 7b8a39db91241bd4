"""Tagged units to quality scores, and the scores of the whole corpus to one threshold.

Only documents that every other rule on single documents keeps are scored: on a crawl that spares the classifier most of the work.
The threshold follows from a histogram of all scores, which shards add to in any order; nothing holds the corpus.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from recipes.curation import Curation, TrainClassifier
from tasks.artifacts.manifest import JSON
from tasks.artifacts.store import Store
from tasks.curation.cleaning import EDITS
from tasks.curation.quality import Classifier, ScoreHistogram, train_classifier
from tasks.curation.rules import REASONS, decide
from tasks.curation.shuffle import UnitWork
from tasks.curation.tagged import SCHEMA, iterate_texts, read_columns
from tasks.runtime.steps import Done, Output

LESSON_CHARACTERS = 10_000  # of a document that teaches the classifier: a book is not to outweigh a hundred pages
DECISION_COLUMNS = [name for name in SCHEMA.names if name not in {"id", "raw", "url", "near", "benchmark_item", *EDITS}]


def reasons_of(store: Store, work: UnitWork, threshold: float | None) -> np.ndarray:
    """Return the number of the reason to drop each row of a unit, 0 for none, by the rules on single documents.

    Documents of reference sources are dropped for no reason but a fault.
    """
    path = work.unit.tagged.path(store, "attributes.parquet")
    if work.source.role == "reference":
        return np.array([REASONS.index(fault) for fault in read_columns(path, ["fault"])["fault"]], dtype=np.uint8)
    columns = read_columns(path, DECISION_COLUMNS)
    columns["hash_place"] = hash_places(columns["hash"])
    columns["quality"] = scores_of(store, work, len(columns["hash_place"]))
    return decide(columns, work.source, work.section, threshold)


def content_hashes(column: np.ndarray) -> np.ndarray:
    """Return the content hashes of a column as rows of two uint64."""
    return np.frombuffer(b"".join(column.tolist()), dtype=np.uint64).reshape(-1, 2)


def hash_places(column: np.ndarray) -> np.ndarray:
    """Return each content hash's place in the range of all hashes, from 0 to 1: its first 53 bits."""
    return (content_hashes(column)[:, 0] >> np.uint64(11)).astype(np.float64) / 2.0**53


def scores_of(store: Store, work: UnitWork, rows: int) -> np.ndarray:
    """Return a unit's quality scores (float32), nan where none was given."""
    rated = work.earlier.get("rate")
    return np.load(rated[0].path(store, "quality.npy")) if rated else np.full(rows, np.nan, dtype=np.float32)


@lru_cache(maxsize=2)
def _classifier(path: Path, label: str) -> Classifier:
    """Load a model once a worker."""
    return Classifier(path, label)


def rate_unit(store: Store, work: UnitWork, output: Output) -> JSON:
    """Step `rate`: the quality scores of a unit, and their histogram."""
    reasons = reasons_of(store, work, None)
    scores = np.full(len(reasons), np.nan, dtype=np.float32)
    histogram = ScoreHistogram()
    if work.rules.quality and work.section.quality:
        classifier = _classifier(work.earlier["classifier"][0].path(store, "model.bin"), work.section.quality.label)
        for row, text in iterate_texts(work.unit.tagged.path(store, "text.parquet"), np.flatnonzero(reasons == 0)):
            scores[row] = classifier.score(text)
        histogram.add(scores[~np.isnan(scores)])
    for name, values in (("quality.npy", scores), ("histogram.npy", histogram.counts)):
        np.save(output.scratch / name, values)
        output.add(output.scratch / name, name)
    return {"scored": int((~np.isnan(scores)).sum())}


def quality_threshold(store: Store, rated: list[Done], section: Curation) -> float | None:
    """Return the score from which documents are kept, or None where none was scored."""
    total = ScoreHistogram()
    for done in rated:
        total.counts += np.load(done.path(store, "histogram.npy"))
    return total.threshold(section.quality.keep_fraction) if section.quality and total.counts.sum() else None


@dataclass(frozen=True)
class TrainWork:
    """The units of the positive and of the negative sources, and how to train."""

    rule: TrainClassifier
    label: str
    positive: list[UnitWork]
    negative: list[UnitWork]


def train_on_units(store: Store, work: TrainWork, output: Output) -> JSON:
    """Step `train`: a fastText classifier from the documents with the smallest ids of either side."""
    sides = {"positive": _texts(store, work.positive, work.rule.documents), "negative": _texts(store, work.negative, work.rule.documents)}
    model = train_classifier(work.rule, work.label, sides["positive"], sides["negative"], output.scratch)
    output.add(Path(model), "model.bin")
    return {side: len(texts) for side, texts in sides.items()}


def _texts(store: Store, units: list[UnitWork], most: int) -> list[str]:
    """Return the texts of the documents with the smallest ids that the rules on single documents keep."""
    found: list[tuple[str, int, int]] = []
    for number, work in enumerate(units):
        reasons = reasons_of(store, work, None) if work.source.role == "corpus" else None
        ids = read_columns(work.unit.tagged.path(store, "attributes.parquet"), ["id"])["id"]
        rows = np.flatnonzero(ids != "") if reasons is None else np.flatnonzero(reasons == 0)
        found = sorted(found + [(ids[row], number, row) for row in rows])[:most]
    texts: dict[tuple[int, int], str] = {}
    for number, work in enumerate(units):
        rows = np.array(sorted(row for _, unit, row in found if unit == number), dtype=np.int64)
        texts |= {(number, row): text for row, text in iterate_texts(work.unit.tagged.path(store, "text.parquet"), rows)}
    return [texts[number, row][:LESSON_CHARACTERS] for _, number, row in found]
