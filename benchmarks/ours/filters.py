"""Heuristic filters, cleaning, language and quality by this project's own functions, in one process."""

import time
from typing import Any

import numpy as np

from benchmarks.measuring import Task
from recipes.curation import Curation

# Gopher A.1.1 and table A1, FineWeb section 3.6, Moxin section 3.2.1: the published thresholds
HEURISTICS: dict[str, Any] = {
    "min_characters": 200, "max_characters": 10**8,
    "gopher_quality": {
        "words": [50, 100_000], "mean_word_length": [3, 10], "max_symbols_per_word": 0.1, "max_bullet_lines": 0.9, "max_ellipsis_lines": 0.3,
        "min_alphabetic_words": 0.8, "min_stop_words": 2,
    },
    "gopher_repetition": {
        "duplicate_lines": 0.3, "duplicate_paragraphs": 0.3, "duplicate_line_characters": 0.2, "duplicate_paragraph_characters": 0.2,
        "top_ngram_characters": [0.2, 0.18, 0.16], "duplicate_ngram_characters": [0.15, 0.14, 0.13, 0.12, 0.11, 0.10],
    },
    "fineweb_quality": {
        "min_lines_with_end_punctuation": 0.12, "max_duplicate_line_characters": 0.1, "max_short_lines": 0.67, "short_line_characters": 30,
        "max_lines_per_word": 0.3,
    },
}  # fmt: skip
C4_LINES = {"end_punctuation": True, "min_words_per_line": 3, "min_sentences": 5}


def section_of(rules: dict[str, Any]) -> Curation:
    """Return a section of a recipe with one source under these rules."""
    return Curation.model_validate(
        {
            "sources": [{"name": "text", "kind": "mixed_web", "format": "jsonl", "location": "-", "licence": "-", "rules": "web"}],
            "rules": {"web": rules | {"exact_duplicates": False}},
            "max_unreadable_fraction": 0.0,
            "exact_duplicates": {"scope": "across_sources", "false_positive_rate": 1e-9},
            "near_duplicates": {},
        }
    )


def _heuristics(task: Task, rules: dict[str, Any]) -> dict:
    from tasks.curation.facts import FACTS, measure
    from tasks.curation.rules import REASONS, decide

    section = section_of(rules)
    source = section.sources[0]
    measure(["load the kernels", "and the tables: ü"])
    reasons, size, inside = np.zeros(len(REASONS), dtype=np.int64), 0.0, 0.0
    with task.measured():
        for batch in task.batches():
            begun = time.process_time()
            facts = measure(batch)
            columns = {name: facts[:, place] for place, name in enumerate(FACTS)} | _neutral(len(batch))
            reasons += np.bincount(decide(columns, source, section, None), minlength=len(REASONS))
            inside += time.process_time() - begun
            size += float(facts[:, FACTS.index("bytes")].sum())
    counts = dict(zip(REASONS, reasons.tolist(), strict=True))
    reasons_given = {name: number for name, number in counts.items() if name and number}
    return {"removed": int(reasons[1:].sum()), "reasons": reasons_given, "mb_per_second_without_parsing": round(size / 1e6 / inside, 3)}


def _neutral(documents: int) -> dict[str, np.ndarray]:
    """Return the columns that other measurements fill: neutral values, as tagging writes them where no rule asks."""
    texts, zeros = np.full(documents, "", dtype=object), np.zeros(documents)
    return {
        **{name: texts for name in ("fault", "licences", "programming_language", "language")},
        **{name: zeros for name in ("language_score", "c4_sentences", "benchmark_matches", "hash_place")},
        **{name: zeros.astype(bool) for name in ("generated", "blocked_url", "c4_page")},
        "quality": np.full(documents, np.nan),
    }


def heuristics(task: Task) -> dict:
    """Measure every fact once, then decide by the 200-character floor, Gopher quality, Gopher repetition and FineWeb together."""
    return _heuristics(task, HEURISTICS)


def cleaning(task: Task) -> dict:
    """Normalise, drop control characters, and clean lines as C4 does; `removed` are documents with too few sentences or a page fault."""
    from recipes.curation import Rules
    from tasks.curation.cleaning import clean

    rules = Rules(min_characters=0, max_characters=10**8, c4_lines=C4_LINES)
    removed = 0
    with task.measured():
        for text in task.texts():
            _, found = clean(text, rules)
            removed += bool(found["c4_page"]) or found["c4_sentences"] < C4_LINES["min_sentences"]
    return {"removed": removed}


def masking(task: Task) -> dict:
    """Clean and mask e-mail, IP and phone numbers and keys; `removed` are documents that are changed."""
    from recipes.curation import Rules
    from tasks.curation.cleaning import clean

    rules = Rules(min_characters=0, max_characters=10**8, mask=["email", "ip", "phone", "key"])
    changed = 0
    with task.measured():
        for text in task.texts():
            _, found = clean(text, rules)
            changed += any(number for name, number in found.items() if name.startswith("masked"))
    return {"removed": changed, "note": "removed: documents that are changed"}


def language(task: Task) -> dict:
    """Identify every document's language with fastText's lid.176; `removed` are those that are not English."""
    from pathlib import Path

    from tasks.curation.language import LanguageModel

    model = LanguageModel(Path(task.settings["language_model"]))
    removed = 0
    with task.measured():
        for text in task.texts():
            removed += model.identify(text)[0] != "en"
    return {"removed": removed}


def quality(task: Task) -> dict:
    """Score every document with a fastText classifier of two hundred thousand bigram buckets and more, as DCLM's; nothing is removed."""
    from pathlib import Path

    from tasks.curation.quality import Classifier

    classifier = Classifier(Path(task.settings["quality_model"]), task.settings["quality_label"])
    with task.measured():
        for text in task.texts():
            classifier.score(text)
    return {"removed": 0}
