"""Small corpora and the sections of recipes that curate them, for tests."""

import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from recipes.curation import Curation
from tasks.artifacts.documents import read_lines
from tasks.artifacts.store import Store
from tasks.curation.curate import curate
from tasks.preflight.check import pin_sources
from tasks.runtime.steps import Steps

TEXTS = [f"Document {n}: " + " ".join(f"the word {n * 7919 + i} of it is {n}{i}" for i in range(60)) for n in range(6)]
NEAR = {
    "unit": "character", "shingle_length": 13, "permutations": 128, "bands": 9, "rows": 13, "jaccard_threshold": 0.8, "scope": "across_sources",
}  # fmt: skip
PLAIN = {"min_characters": 200, "max_characters": 1_000_000, "near_duplicates": "text"}


def section(sources: list[dict], rules: dict | None = None, near: dict | None = None, **changes) -> Curation:
    """Make a curation section: sources of JSON lines under the rules `plain`, near duplicates as SlimPajama's."""
    known = {"kind": "reference", "format": "jsonl", "licence": "CC0", "rules": "plain"}
    values = {
        "sources": [known | source for source in sources], "rules": {"plain": PLAIN} | (rules or {}), "max_unreadable_fraction": 0.2,
        "exact_duplicates": {"scope": "across_sources", "false_positive_rate": 1e-9}, "near_duplicates": {"text": NEAR | (near or {})},
    }  # fmt: skip
    return Curation.model_validate(values | changes)


@dataclass
class Result:
    """What a curation left: counts, details, kept rows and verdicts by source, the files' hashes, and which items were made."""

    counts: dict
    details: dict
    kept: dict[str, list[dict]]
    verdicts: dict[str, list[dict]]
    files: dict[str, str]
    made: dict[str, int]
    store: Store
    published: dict[str, Path] = field(default_factory=dict)

    def texts(self, source: str) -> list[str]:
        """Return a source's kept texts, sorted."""
        return sorted(row["text"] for row in self.kept[source])

    def reasons(self, source: str) -> dict[str, str]:
        """Return each record's reason by its address, the empty string for a kept one."""
        return {row["raw"]: row["reason"] for row in self.verdicts[source]}


def run(curation: Curation, folder: Path, workers: int = 0) -> Result:
    """Curate into a store below a folder, which may hold an earlier run's steps."""
    store = Store(str(folder))
    steps = Steps(store, "working/curation", workers)
    published: dict[str, Path] = {}
    hashes: dict[str, str] = {}

    def publish(done, name: str, path: str) -> None:
        published[path], hashes[path] = done.path(store, name), done.files[name]["sha256"]

    counts, details = curate(curation, pin_sources(curation)[1], steps, publish)
    names = [source.name for source in curation.sources if source.role == "corpus"]
    kept = {name: [row for local in below(published, f"documents/{name}/") for row in read_lines(local)] for name in names}
    verdicts = {
        name: [row for local in below(published, f"verdicts/{name}/") for row in pq.read_table(local).to_pylist()] for name in names
    }
    return Result(counts, details, kept, verdicts, hashes, steps.made, store, published)


def below(published: dict[str, Path], prefix: str) -> list[Path]:
    """Return the files of an artifact below a folder, in order."""
    return [local for path, local in sorted(published.items()) if path.startswith(prefix)]


def write_jsonl(path: Path, rows: list) -> str:
    """Write texts (lists of one) and raw lines (strings) as JSON lines; return the path."""
    path.write_text("".join((row if isinstance(row, str) else json.dumps({"text": row[0]})) + "\n" for row in rows))
    return str(path)


def sentence(chance: random.Random, words: int) -> list[str]:
    """Make words that no other seed makes."""
    return ["".join(chance.choice("abcdefghijklmnop") for _ in range(chance.randrange(3, 9))) for _ in range(words)]


def family_of_copies(seed: int, families: int, words: int = 120) -> list[str]:
    """Make documents in families of copies with a few words changed: similarities spread from about 0.5 to 1."""
    chance = random.Random(seed)
    texts = []
    for _ in range(families):
        base = sentence(chance, words)
        texts.append(" ".join(base))
        for _ in range(chance.randrange(0, 4)):
            copy = base.copy()
            for _ in range(chance.choice((0, 1, 2, 3, 6, 12))):
                copy[chance.randrange(len(copy))] = sentence(chance, 1)[0]
            texts.append(" ".join(copy))
    chance.shuffle(texts)
    return texts
