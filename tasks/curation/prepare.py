"""What tagging needs besides raw data: model files, block lists and benchmark n-grams put into the store, and records made from
other sources (planted duplicates, rewritten books)."""

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recipes.curation import Curation, Decontamination, ModelFile, Source
from recipes.errors import BadInput
from tasks.artifacts.documents import write_lines
from tasks.artifacts.manifest import JSON
from tasks.artifacts.store import Store
from tasks.curation.decontamination import BenchmarkIndex
from tasks.curation.plants import PLANTABLE_CHARACTERS, plant
from tasks.curation.quality import model_path
from tasks.curation.rate import reasons_of
from tasks.curation.shuffle import UnitWork
from tasks.curation.tag import Models
from tasks.curation.tagged import iterate_texts, read_columns
from tasks.runtime.steps import Done, Item, Output, Steps
from tasks.sources.files import find_files, fingerprint, open_raw


def marks_of(location: str, wanted_by: str) -> list:
    """Return what identifies the bytes of a location's files."""
    return sorted(list(fingerprint(file)) for file in find_files(location, wanted_by))


def prepare_models(steps: Steps, section: Curation, code: str) -> Models:
    """Put everything that tagging reads besides raw data into the store."""
    language, blocked, benchmarks = section.language_model, section.blocked_urls, section.decontamination

    def one(step: str, function, work, key: JSON) -> Done:
        return steps.run(step, function, [Item(key, work)], code)[0]

    return Models(
        language=one("fetch", fetch_model, language, model_key(language)) if language else None,
        blocked_urls=one("block-list", fetch_domains, blocked, {"marks": marks_of(blocked, "curation.blocked_urls")}) if blocked else None,
        benchmarks=one(
            "benchmarks", index_benchmarks, benchmarks,
            {"marks": marks_of(benchmarks.location, "curation.decontamination"), "ngram_words": benchmarks.ngram_words},
        ) if benchmarks else None,
        decontamination=benchmarks,
    )  # fmt: skip


def model_key(rule: ModelFile) -> JSON:
    """What decides the bytes of a model file."""
    return {"sha256": rule.sha256} if rule.sha256 else {"marks": marks_of(rule.location, "a model file of curation")}


def fetch_model(store: Store, rule: ModelFile, output: Output) -> JSON:
    """Step `fetch`: a model file from its location into the store, checked against its sha256."""
    path = output.scratch / "model.bin"
    found = Path(model_path(rule, output.scratch))
    if found != path:
        shutil.copyfile(found, path)
    output.add(path, "model.bin")
    return {}


def fetch_domains(store: Store, location: str, output: Output) -> JSON:
    """Step `block-list`: all lists of blocked domains as one."""
    domains: set[str] = set()
    for file in find_files(location, "curation.blocked_urls"):
        with open_raw(file.path) as stream:
            lines = (line.strip().lower() for line in stream.read().decode("utf-8", "replace").splitlines())
            domains |= {line for line in lines if line and not line.startswith("#")}
    (output.scratch / "domains.txt").write_text("".join(f"{domain}\n" for domain in sorted(domains)))
    output.add(output.scratch / "domains.txt", "domains.txt")
    return {"domains": len(domains)}


def index_benchmarks(store: Store, rule: Decontamination, output: Output) -> JSON:
    """Step `benchmarks`: the hashes of all word n-grams of the benchmarks' items."""
    index = BenchmarkIndex.build(find_files(rule.location, "curation.decontamination"), rule)
    index.save(output.scratch / "ngrams.npz")
    output.add(output.scratch / "ngrams.npz", "ngrams.npz")
    return {"items": len(index.items), "ngrams": len(index.hashes), "strings": index.strings, "short_strings": index.short_strings}


@dataclass(frozen=True)
class DeriveWork:
    """A derived source, and the units of its origins."""

    source: Source
    origins: list[UnitWork]

    def key(self) -> JSON:
        """What decides the derived records."""
        made_by = self.source.plants or self.source.rewriting
        assert made_by is not None
        rules = [work.rules.model_dump() for work in self.origins] if self.source.rewriting else []
        return {"made_by": made_by.model_dump(), "origins": [work.unit.tagged.digest for work in self.origins], "rules": rules}


def derive_records(store: Store, work: DeriveWork, output: Output) -> JSON:
    """Step `derive`: records made from documents of other sources, chosen by the smallest ids."""
    told: Counter = Counter()
    if work.source.plants is not None:
        plants = work.source.plants
        chosen = _choose(store, work.origins, plants.exact_copies + plants.near_copies, PLANTABLE_CHARACTERS, rules=False)
        rows = [{"text": record.text, "address": record.address} for record in plant(plants, [(raw, text) for _, raw, text in chosen])]
    else:
        from tasks.curation.rewriting import AnswerStore, rewrite

        assert work.source.rewriting is not None
        chosen = _choose(store, work.origins, work.source.rewriting.documents, (1, 2**62), rules=True)
        answers = rewrite(work.source.rewriting, [(id, text) for id, _, text in chosen], AnswerStore(store), counts=told)
        rows = [{"text": text, "address": f"rewritten:{id}"} for id, text in answers]
    if not rows:
        raise BadInput(f"source {work.source.name!r} would be empty: {', '.join(work.source.origins)} have no documents to make it from")
    write_lines(output.scratch / "records.jsonl.zst", rows)
    output.add(output.scratch / "records.jsonl.zst", "records.jsonl.zst")
    told.pop("asked", None)  # how many answers were still missing says nothing about the records
    return {"records": len(rows)} | dict(sorted(told.items()))


def _choose(store: Store, origins: list[UnitWork], most: int, characters: tuple[int, int], rules: bool) -> list[tuple[str, str, str]]:
    """Return (id, address, text) of the documents with the smallest ids, of a length, and kept by their rules if `rules`."""
    found: list[tuple[str, int, int, str]] = []
    for number, work in enumerate(origins):
        columns = read_columns(work.unit.tagged.path(store, "attributes.parquet"), ["id", "raw", "characters"])
        suitable = (columns["characters"] >= characters[0]) & (columns["characters"] <= characters[1]) & (columns["id"] != "")
        if rules:
            suitable &= reasons_of(store, work, None) == 0
        found = sorted(found + [(columns["id"][row], number, int(row), columns["raw"][row]) for row in np.flatnonzero(suitable)])
        found = _distinct(found)[:most]
    texts: dict[tuple[int, int], str] = {}
    for number, work in enumerate(origins):
        rows = np.array(sorted(row for _, unit, row, _ in found if unit == number), dtype=np.int64)
        texts |= {(number, row): text for row, text in iterate_texts(work.unit.tagged.path(store, "text.parquet"), rows)}
    return [(id, raw, texts[number, row]) for id, number, row, raw in found]


def _distinct(found: list[tuple[str, int, int, str]]) -> list[tuple[str, int, int, str]]:
    return [row for place, row in enumerate(found) if place == 0 or row[0] != found[place - 1][0]]
