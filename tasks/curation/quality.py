"""Texts to quality scores by a fastText classifier, loaded or trained here, and all scores to the one threshold of the corpus.

As DCLM-BASELINE does it (Li et al. 2024, section 4.4; Moxin section 3.2.1): the score is the probability of the good label,
and a fixed share of the documents with the highest scores is kept.
"""

import hashlib
import heapq
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from recipes.curation import ModelFile, TrainClassifier
from recipes.errors import BadInput
from tasks.artifacts.documents import document_id
from tasks.artifacts.store import sha256_file
from tasks.sources.files import find_files, open_raw

LABEL = "__label__"  # how fastText marks a label
BINS = 65_536
_BUCKETS = 1 << 18  # of hashed word n-grams; fastText's own 2,000,000 would make a model of 800 MB at 100 dimensions


def model_path(rule: ModelFile, scratch: Path) -> Path:
    """Return a local path to a model file, copied into `scratch` if it lies elsewhere.

    BadInput if the location is not exactly one file, or its sha256 is not the recipe's.
    """
    files = find_files(rule.location, "a fastText model")
    if len(files) != 1:
        raise BadInput(f"model location {rule.location!r} matches {len(files)} files: name exactly one fastText model")
    path = Path(files[0].path)
    if "://" in files[0].path:
        path = scratch / hashlib.sha256(files[0].path.encode()).hexdigest()[:16]
        with open_raw(files[0].path) as stream, path.open("wb") as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
    if rule.sha256 is not None and (found := sha256_file(path)) != rule.sha256:
        raise BadInput(
            f"model {rule.location!r} has sha256 {found}, the recipe says {rule.sha256}: fetch the right file or correct the recipe"
        )
    return path


def load_fasttext(path: Path, wanted_by: str) -> Any:
    """Load a fastText model; return its bare binding, whose `predict(line, count, threshold, "strict")` works with every numpy."""
    import fasttext

    try:
        return fasttext.load_model(str(path)).f
    except (ValueError, RuntimeError) as error:
        raise BadInput(f"{wanted_by}: {path} is not a fastText model ({error}): give a .bin or .ftz file") from None


def train_classifier(rule: TrainClassifier, label: str, positives: Iterable[str], negatives: Iterable[str], scratch: Path) -> Path:
    """Train a classifier of two labels, `label` and `not_label`; return the path of the model in `scratch`.

    Of each side the `documents` different texts with the smallest content hashes are taken, and all are shown in the order of
    their hashes: neither the order in which they come nor copies among them change a byte of the model (on one kind of
    processor: fastText adds floats in vectors). BadInput if a side has no text.
    """
    label = label.removeprefix(LABEL)
    lines: list[tuple[str, str]] = []
    for side, name, texts in (("positive", label, positives), ("negative", f"not_{label}", negatives)):
        chosen = _smallest_hashes(texts, rule.documents)
        if not chosen:
            raise BadInput(
                f"curation.quality.train: no document on the {side} side, whose sources are {getattr(rule, side)}: check these sources"
            )
        lines += [(key, f"{LABEL}{name} {_line(text)}") for key, text in chosen]
    examples, model = scratch / "examples.txt", scratch / "classifier.bin"
    with examples.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        for _, line in sorted(lines):
            file.write(line)
    _train(
        input=str(examples), output=str(model), lr=rule.learning_rate, dim=rule.dimensions, epoch=rule.epochs,
        wordNgrams=rule.word_ngrams, bucket=_BUCKETS, minCount=1, loss="softmax", thread=1, seed=rule.seed, verbose=0,
    )  # fmt: skip
    examples.unlink()
    return model


def _train(**arguments: Any) -> None:
    """Train in a process of its own, where memory is fresh.

    With one thread fastText 0.9.2 fills a tenth of its input matrix and leaves the rest as it finds it: zeros from the
    system, or what an earlier model left behind. The variable has glibc ask the system for every large block.
    """
    script = (
        "import json, sys, fasttext; arguments = json.loads(sys.argv[1]); output = arguments.pop('output'); "
        "fasttext.train_supervised(**arguments).save_model(output)"
    )
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    ended = subprocess.run([sys.executable, "-c", script, json.dumps(arguments)], env=environment, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"fastText ended with {ended.returncode} while it trained the quality classifier: {ended.stderr.strip()[-500:]}")


def _smallest_hashes(texts: Iterable[str], count: int) -> list[tuple[str, str]]:
    """Return the `count` different texts with the smallest hashes, sorted, holding no more than those at any time."""
    largest_first: list[tuple[int, str]] = []
    taken: set[int] = set()
    for text in texts:
        key = -int(document_id(text), 16)
        if key in taken or not text.strip():
            continue
        if len(largest_first) < count:
            heapq.heappush(largest_first, (key, text))
        elif key > largest_first[0][0]:
            taken.discard(heapq.heapreplace(largest_first, (key, text))[0])
        else:
            continue
        taken.add(key)
    return sorted((f"{-key:032x}", text) for key, text in largest_first)


def _line(text: str) -> str:
    """Write a text as the one line that fastText reads; what looks like a label in it is none."""
    return " ".join(text.replace(LABEL, "label ").split()) + "\n"


class Classifier:
    """Scores texts by a fastText model: the probability of one of its labels. BadInput if the model does not have it."""

    def __init__(self, path: Path, label: str) -> None:
        self.model = load_fasttext(path, "curation.quality")
        self.label = LABEL + label.removeprefix(LABEL)
        labels = self.model.getLabels("strict")[0]
        if self.label not in labels:
            raise BadInput(f"curation.quality.label {label!r} is no label of the model {path}: it has {', '.join(sorted(labels))}")
        self.labels = len(labels)

    def score(self, text: str) -> float:
        """Return the label's probability for the whole text, 0 to 1 and exact in float32; 0 for a text without words."""
        for probability, label in self.model.predict(_line(text), self.labels, 0.0, "strict"):
            if label == self.label:
                return float(np.float32(min(max(probability, 0.0), 1.0)))
        return 0.0


class ScoreHistogram:
    """Scores from 0 to 1 counted in BINS bins of equal width: of any size, added in any order, and merged by addition."""

    def __init__(self, counts: np.ndarray | None = None) -> None:
        self.counts = np.zeros(BINS, dtype=np.int64) if counts is None else np.asarray(counts, dtype=np.int64)

    def add(self, scores: np.ndarray) -> None:
        """Count scores; ValueError for one outside of 0 to 1, NaN among them."""
        scores = np.asarray(scores, dtype=np.float64)
        if not np.all((scores >= 0.0) & (scores <= 1.0)):
            raise ValueError(f"a quality score lies outside of 0 to 1: {scores[~((scores >= 0.0) & (scores <= 1.0))][0]}")
        self.counts += np.bincount(np.minimum((scores * BINS).astype(np.int64), BINS - 1), minlength=BINS)

    def __add__(self, other: "ScoreHistogram") -> "ScoreHistogram":
        return ScoreHistogram(self.counts + other.counts)

    @property
    def total(self) -> int:
        """The number of scores."""
        return int(self.counts.sum())

    def threshold(self, keep_fraction: float) -> float:
        """Return the highest lower edge of a bin at or above which at least `keep_fraction` of the scores lie; 0 without scores.

        That is the score of document number ceil(keep_fraction x documents) from the top, rounded down to a multiple of
        1/65,536. Documents of one bin are not told apart, so a few more than the fraction may be kept, and never fewer.
        """
        wanted = math.ceil(Fraction(str(keep_fraction)) * self.total)  # exact: 0.7 of 10 are 7
        at_or_above = np.cumsum(self.counts[::-1])[::-1]
        return int(np.flatnonzero(at_or_above >= wanted)[-1]) / BINS if self.total else 0.0
