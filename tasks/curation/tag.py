"""A unit of raw data to tagged documents: read, extracted, cleaned, and measured by everything that any rule asks about.

Nothing is dropped here. Thresholds are not looked at here either: they can change without any of this running again. Every record
is worked on under an alarm in a process that can be lost: one that crashes or hangs the reader is kept as a row with the fault
`crashed`, and its address.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from recipes.curation import DERIVED, Decontamination, NearDuplicates, Rules, Source
from tasks.artifacts.documents import read_lines
from tasks.artifacts.manifest import JSON
from tasks.artifacts.store import Store
from tasks.curation.blocked_urls import BlockedUrls
from tasks.curation.cleaning import clean
from tasks.curation.code_files import is_generated, programming_language
from tasks.curation.decontamination import BenchmarkIndex
from tasks.curation.facts import measure
from tasks.curation.language import LanguageModel
from tasks.curation.minhash import near_keys
from tasks.curation.tagged import BATCH_CHARACTERS, BATCH_DOCUMENTS, Tagged, TaggedWriter
from tasks.runtime.isolation import Watch, run_isolated
from tasks.runtime.steps import Done, Output
from tasks.sources.html import extract_text
from tasks.sources.records import Record, read_unit, split_long
from tasks.sources.units import Unit

DOCUMENT_SECONDS = 60.0  # a document that takes longer is quarantined; the slowest honest ones take a second
DEFAULT_SHORT_LINE = 30  # characters, FineWeb's


@dataclass(frozen=True)
class Models:
    """What measuring needs besides the text: files that a step put into the store."""

    language: Done | None = None
    blocked_urls: Done | None = None
    benchmarks: Done | None = None
    decontamination: Decontamination | None = None

    def identity(self) -> JSON:
        """What of the models decides a measurement."""
        dones = {name: getattr(self, name) for name in ("language", "blocked_urls", "benchmarks")}
        return {name: done.digest for name, done in dones.items() if done}


@dataclass(frozen=True)
class TagWork:
    """A unit of raw data, or of derived records, and how to measure it."""

    source: Source
    rules: Rules
    near: NearDuplicates | None
    unit: Unit | None
    derived: Done | None
    models: Models

    def key(self) -> JSON:
        """What decides the tagged documents: the bytes, how they are read, and what is measured; no threshold."""
        rules = self.rules
        measured = {
            "html": rules.html, "max_characters": rules.max_characters, "repair_encoding": rules.repair_encoding, "mask": rules.mask,
            "c4_lines": rules.c4_lines and rules.c4_lines.model_dump(exclude={"min_sentences"}),
            "short_line_characters": short_line_characters(rules), "language": rules.language is not None, "code": rules.code is not None,
            "blocked_urls": rules.blocked_urls, "decontaminate": rules.decontaminate,
            "near": self.near and self.near.model_dump(exclude={"jaccard_threshold", "scope"}),
        }  # fmt: skip
        read = self.source.model_dump(include={"format", "fields", "where", "split_above_characters"})
        bytes_of = self.unit.identity() if self.unit else {"derived": self.derived.digest if self.derived else ""}
        return {"read": read, "measured": measured, "models": self.models.identity(), "bytes": bytes_of}


def short_line_characters(rules: Rules) -> int:
    """Return what counts as a short line."""
    return rules.fineweb_quality.short_line_characters if rules.fineweb_quality else DEFAULT_SHORT_LINE


def tag_unit(store: Store, work: TagWork, output: Output) -> JSON:
    """Tag a unit: the step's function. Return counts of documents, characters, faults and skipped rows."""
    load_kernels(work)
    measuring = Measuring(store, work)
    derived = work.derived.path(store, "records.jsonl.zst") if work.derived else None  # a child cannot use this process's store
    counts = run_isolated(lambda watch: _tag(work, measuring, derived, output.scratch, watch), DOCUMENT_SECONDS)
    for name in ("text.parquet", "attributes.parquet"):
        output.add(output.scratch / name, name)
    return counts


def load_kernels(work: TagWork) -> None:
    """Load the compiled kernels in this process, from which every child has them for nothing."""
    pa.array([""])  # imports pandas
    measure(["a word"])
    if work.near:
        near_keys(["a word"], work.near)


def _tag(work: TagWork, measuring: "Measuring", derived: Path | None, folder: Path, watch: Watch) -> JSON:
    skipped: Counter = Counter()
    faults: Counter = Counter()
    counts = {"documents": 0, "characters": 0, "bytes": 0}
    crashed: list[JSON] = []
    writer = TaggedWriter(folder)
    batch: list[Tagged] = []
    size = 0

    def flush() -> None:
        nonlocal size
        texts = [document.text for document in batch]
        watch.begin(f"{batch[0].raw} to {batch[-1].raw}")
        facts = measure(texts, short_line_characters(work.rules))
        near = near_keys(texts, work.near) if work.near else None
        watch.end()
        writer.write(batch, facts, near)
        counts["bytes"] += int(facts[:, 0].sum())
        batch.clear()
        size = 0

    for document in _documents(work, measuring, derived, watch, skipped):
        batch.append(document)
        size += len(document.text)
        counts["documents"] += 1
        counts["characters"] += len(document.text)
        if document.fault:
            faults[document.fault] += 1
        if document.fault == "crashed":
            crashed.append({"address": document.raw, "why": watch.crashed.get(document.raw, "")})
        if size >= BATCH_CHARACTERS or len(batch) >= BATCH_DOCUMENTS:
            flush()
    if batch:
        flush()
    writer.close()
    return counts | {
        "skipped": sum(skipped.values()),
        "skipped_by": dict(sorted(skipped.items())),
        "faults": dict(sorted(faults.items())),
        "crashed": crashed,
    }


def _documents(work: TagWork, measuring: "Measuring", derived: Path | None, watch: Watch, skipped: Counter) -> Iterator[Tagged]:
    """Yield the unit's documents in order; a record that was convicted of a crash comes as a fault."""
    records = _records(work, derived, skipped)
    last = "the beginning"
    while True:
        reading = f"{work.source.name}: after {last}"
        if not watch.begin(reading):  # the bytes that follow crash the reader: what remains of the unit is one fault
            yield Tagged("", reading, "crashed")
            return
        record = next(records, None)
        if record is None:
            watch.end()
            return
        last = record.address
        if not watch.begin(record.address):
            yield Tagged("", record.address, "crashed")
        elif record.fault:
            yield Tagged("", record.address, record.fault)
        else:
            yield from measuring.documents(record, watch)
        watch.end()


def _records(work: TagWork, derived: Path | None, skipped: Counter) -> Iterator[Record]:
    if work.source.format in DERIVED:
        assert derived is not None
        for row in read_lines(derived):
            yield Record(row["text"], row["address"])
    else:
        assert work.unit is not None
        yield from read_unit(work.source, work.rules, work.unit, skipped)


@lru_cache(maxsize=2)
def _language_model(path: Path) -> LanguageModel:
    """Load a model once a worker, whose children have it for nothing."""
    return LanguageModel(path)


@lru_cache(maxsize=2)
def _benchmark_index(path: Path, rule: Decontamination) -> BenchmarkIndex:
    return BenchmarkIndex.load(path, rule)


@dataclass
class Measuring:
    """The measurements on one document: only those that its rules ask for."""

    store: Store
    work: TagWork
    language: LanguageModel | None = field(init=False, default=None)
    blocked: BlockedUrls | None = field(init=False, default=None)
    benchmarks: BenchmarkIndex | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        rules, models = self.work.rules, self.work.models
        if rules.language and models.language:
            self.language = _language_model(models.language.path(self.store, "model.bin"))
        if rules.blocked_urls and models.blocked_urls:
            self.blocked = BlockedUrls(models.blocked_urls.path(self.store, "domains.txt").read_text().splitlines())
        if rules.decontaminate and models.benchmarks and models.decontamination:
            self.benchmarks = _benchmark_index(models.benchmarks.path(self.store, "ngrams.npz"), models.decontamination)

    def documents(self, record: Record, watch: Watch) -> Iterator[Tagged]:
        """Turn a record into one document, or into several where the source cuts long ones."""
        rules = self.work.rules
        text = extract_text(record.html, rules.html or "all_text") if record.html is not None else record.text or ""
        if len(text) > rules.max_characters and self.work.source.split_above_characters is None:
            yield Tagged("", record.address, "too_long", url=record.url)
            return
        for part in split_long(Record(text, record.address), self.work.source.split_above_characters):
            yield self._measured(part.text or "", part.address, record)

    def _measured(self, raw_text: str, address: str, record: Record) -> Tagged:
        rules = self.work.rules
        text, cleaned = clean(raw_text, rules)
        document = Tagged(text, address, url=record.url, licences=",".join(record.licences))
        document.edits = {name: number for name, number in cleaned.items() if name not in ("c4_sentences", "c4_page")}
        document.c4_sentences, document.c4_page = int(cleaned.get("c4_sentences", 0)), bool(cleaned.get("c4_page", False))
        if self.language:
            document.language, document.language_score = self.language.identify(text)
        if self.blocked:
            document.blocked_url = self.blocked.blocks(record.url)
        if rules.code:
            document.programming_language, document.generated = programming_language(record.path), is_generated(text)
        if self.benchmarks:
            document.benchmark_matches, document.benchmark_item = self.benchmarks.matches(text)
        return document
