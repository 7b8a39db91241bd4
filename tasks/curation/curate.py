"""Raw sources to documents worth training on: the steps of curation in order, each on all units, each resumable.

    tag      read, extract, clean and measure every record; drop nothing     tag.py
    rate     score by the quality classifier; one threshold for all          rate.py
    select   decide by the rules on single documents                         rules.py, exact.py
    copies   exact copies, by range of content hashes                        exact.py
    bands, buckets, bins, gather, verify   near copies                       near.py, verify.py
    paragraphs, repeats                    lines that earlier documents have paragraphs.py
    emit, shard                            documents and verdicts            emit.py

Everything that passes between steps lies in the store under the hash of what decided it, so a rerun after whatever was killed does
only what is missing, and a changed threshold measures nothing again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from recipes.curation import DERIVED, Curation, NearDuplicates, Source
from recipes.errors import BadInput
from tasks.artifacts.manifest import JSON, digest_of
from tasks.curation.emit import ShardWork, emit_unit, write_shard
from tasks.curation.exact import HASHES_PER_PARTITION, CopiesWork, find_copies, select_unit
from tasks.curation.near import KEYS_PER_PARTITION, BinsWork, BucketsWork, assign_bins, band_unit, link_buckets
from tasks.curation.paragraphs import RepeatsWork, find_repeats, spread_paragraphs
from tasks.curation.prepare import DeriveWork, derive_records, fetch_model, model_key, prepare_models
from tasks.curation.rate import TrainWork, quality_threshold, rate_unit, train_on_units
from tasks.curation.shuffle import TaggedUnit, UnitWork, partitions_for
from tasks.curation.tag import Models, TagWork, tag_unit
from tasks.curation.tallies import curation_counts, curation_details
from tasks.curation.verify import BinWork, gather_texts, verify_bin
from tasks.runtime.code import code_digest
from tasks.runtime.steps import Done, Function, Item, Steps
from tasks.sources.units import Unit, pinned_file, plan_units

LEAST_UNIT_BYTES, MOST_UNIT_BYTES, UNITS_AIMED_AT = 16_000_000, 1_000_000_000, 8192
SHARD_CHARACTERS = 64_000_000

MEASUREMENTS = ("fetch", "block-list", "benchmarks", "tag", "derive", "train", "rate")  # what a changed threshold does not need again

Publish = Callable[[Done, str, str], None]  # a finished item's file becomes a file of the artifact


def curate(section: Curation, places: JSON, steps: Steps, publish: Publish) -> tuple[JSON, JSON]:
    """Curate all sources of a recipe; the artifact's files go out through `publish`. Return its counts and details.

    `places` are the pinned raw files by source, as preflight recorded them. BadInput if a source is empty, changed since it was
    pinned, or has more unreadable records than the recipe allows.
    """
    corpus = Corpus(section, places, steps)
    corpus.tag()
    corpus.rate()
    corpus.deduplicate()
    return corpus.write(publish)


@dataclass
class Corpus:
    """All units on their way through the steps. Results of a step on units stand in the order of the units' numbers."""

    section: Curation
    places: JSON
    steps: Steps
    models: Models = field(default_factory=Models)
    tagged: dict[str, list[Done]] = field(default_factory=dict)  # by source
    derived: dict[str, Done] = field(default_factory=dict)  # by source: the records that were made for it
    units: list[TaggedUnit] = field(default_factory=list)
    own: dict[str, list[Done]] = field(default_factory=dict)  # by step: each unit's own result
    shared: dict[str, list[Done]] = field(default_factory=dict)  # by step: results that every unit needs
    threshold: float | None = None

    # --- one document at a time ---

    def tag(self) -> None:
        """Tag the units of all sources, first those that are read, then those that are made from them."""
        self.models = prepare_models(self.steps, self.section, code_digest("tasks.curation.prepare"))
        read = [source for source in self.section.sources if source.format not in DERIVED]
        total = sum(file["bytes"] for source in read for file in self.places[source.name])
        aimed = min(max(LEAST_UNIT_BYTES, total // UNITS_AIMED_AT), MOST_UNIT_BYTES)
        work = [(source, self._tag_work(source, unit=unit), unit.bytes) for source in read for unit in self._plan(source, aimed)]
        self._tag_all(work)
        derived = [source for source in self.section.sources if source.format in DERIVED]
        made = []
        for source in derived:
            origins = [self._work(unit) for unit in self._numbered(source.origins)]
            derive = DeriveWork(source, origins)
            done = self.steps.run("derive", derive_records, [Item(derive.key(), derive)], code_digest("tasks.curation.prepare"))[0]
            self.derived[source.name] = done
            made.append((source, self._tag_work(source, derived=done), done.files["records.jsonl.zst"]["bytes"]))
        self._tag_all(made)
        for source in self.section.sources:
            check_source(self.section, source, self.tagged.get(source.name, []))
        self.units = self._numbered([source.name for source in self.section.sources if source.role != "classifier"])

    def _plan(self, source: Source, aimed: int) -> list[Unit]:
        files = [pinned_file(source, place) for place in sorted(self.places[source.name], key=lambda place: place["address"])]
        return plan_units(source, files, aimed)

    def _tag_work(self, source: Source, unit: Unit | None = None, derived: Done | None = None) -> TagWork:
        rules = self.section.rules_of(source)
        near = self.section.near_duplicates[rules.near_duplicates] if rules.near_duplicates else None
        return TagWork(source, rules, near, unit, derived, self.models)

    def _tag_all(self, work: list[tuple[Source, TagWork, float]]) -> None:
        items = [Item(one.key(), one, size) for _, one, size in work]
        for (source, _, _), done in zip(
            work, self.steps.run("tag", tag_unit, items, code_digest("tasks.curation.tag"), "bytes"), strict=True
        ):
            self.tagged.setdefault(source.name, []).append(done)

    def _numbered(self, names: Iterable[str]) -> list[TaggedUnit]:
        """Number the units of sources: reference sources first, then in the order of the recipe."""
        wanted = set(names)
        places = [place for place, source in enumerate(self.section.sources) if source.name in wanted]
        places.sort(key=lambda place: self.section.sources[place].role != "reference")
        pairs = [(place, done) for place in places for done in self.tagged.get(self.section.sources[place].name, [])]
        return [TaggedUnit(number, place, done) for number, (place, done) in enumerate(pairs)]

    def rate(self) -> None:
        """Score quality where a rule asks for it, and find the threshold of the whole corpus."""
        quality = self.section.quality
        if quality is None or not any(self.section.rules_of(source).quality for source in self.section.sources):
            return
        if quality.load is not None:
            classifier = self.steps.run(
                "fetch", fetch_model, [Item(model_key(quality.load), quality.load)], code_digest("tasks.curation.prepare")
            )
        else:
            assert quality.train is not None
            sides = [[self._work(unit) for unit in self._numbered(names)] for names in (quality.train.positive, quality.train.negative)]
            train = TrainWork(quality.train, quality.label, *sides)
            key = {
                "rule": quality.train.model_dump(), "label": quality.label,
                "sides": [[[work.unit.tagged.digest, work.rules.model_dump(), work.source.sample] for work in side] for side in sides],
            }  # fmt: skip
            classifier = self.steps.run("train", train_on_units, [Item(key, train)], code_digest("tasks.curation.rate"))
        self.shared["classifier"] = classifier
        self.own["rate"] = self._each("rate", rate_unit, ["classifier"], {"label": quality.label})
        self.threshold = quality_threshold(self.steps.store, self.own["rate"], self.section)

    # --- all documents together ---

    def deduplicate(self) -> None:
        """Find exact copies, near copies and repeated paragraphs."""
        documents = sum(unit.tagged.counts["documents"] for unit in self.units)
        partitions = partitions_for(documents, HASHES_PER_PARTITION)
        frozen = [self.section.sources[unit.source].role == "reference" for unit in self.units]
        numbers = [unit.number for unit in self.units]
        self.own["select"] = self._each("select", select_unit, [], self._dump("exact_duplicates"), partitions=partitions)
        selected = self.own["select"]
        works = [CopiesWork(n, partitions, selected, numbers, frozen, self.section) for n in range(partitions)]
        key = {"selected": self._digest(selected), "frozen": frozen, "rule": self.section.exact_duplicates.model_dump()}
        self.shared["copies"] = self._all("copies", find_copies, works, key)
        self._find_near_copies(numbers)
        rule = self.section.duplicate_paragraphs
        if rule is None or not any(self.section.rules_of(source).duplicate_paragraphs for source in self.section.sources):
            return
        lines = partitions_for(documents * 20, HASHES_PER_PARTITION)
        spread = self._each("paragraphs", spread_paragraphs, ["copies", "verify"], self._dump("duplicate_paragraphs"), partitions=lines)
        repeats = [RepeatsWork(n, lines, spread, numbers, frozen, rule.false_positive_rate) for n in range(lines)]
        key = {"spread": self._digest(spread), "frozen": frozen, "rule": rule.model_dump()}
        self.shared["repeats"] = self._all("repeats", find_repeats, repeats, key)

    def _find_near_copies(self, numbers: list[int]) -> None:
        rules = [self._near_rule(unit) for unit in self.units]
        bands = max((rule.bands for rule in rules if rule), default=0)
        if not bands:
            self.shared["verify"] = []
            return
        left = sum(done.counts["left"] for done in self.own["select"])
        ranges = partitions_for(left, KEYS_PER_PARTITION)
        keyed = self._each("bands", band_unit, ["copies"], self._dump("near_duplicates"), bands=bands, ranges=ranges)
        buckets = [BucketsWork(n, bands * ranges, keyed, numbers) for n in range(bands * ranges)]
        linked = self._all("buckets", link_buckets, buckets, {"keyed": self._digest(keyed)})
        tagged = [unit.tagged for unit in self.units]
        bins = self._all("bins", assign_bins, [BinsWork(linked, tagged)], {"linked": self._digest(linked), "tagged": self._digest(tagged)})
        self.shared["bins"] = bins
        count = bins[0].counts["bins"]
        texts = self._each("gather", gather_texts, ["bins"], self._dump("near_duplicates"), bins=count)
        works = [BinWork(n, count, len(self.units), texts, self.section) for n in range(count)]
        key = {"texts": self._digest(texts), "sources": [[s.name, s.kind, s.role] for s in self.section.sources]}
        self.shared["verify"] = self._all("verify", verify_bin, works, key | self._dump("near_duplicates", "rules"))

    def _near_rule(self, unit: TaggedUnit) -> NearDuplicates | None:
        name = self.section.rules_of(self.section.sources[unit.source]).near_duplicates
        return self.section.near_duplicates[name] if name else None

    # --- the artifact ---

    def write(self, publish: Publish) -> tuple[JSON, JSON]:
        """Write documents and verdicts of every source, and the Bloom filters; return counts and details."""
        emitted: dict[str, list[Done]] = {}
        for source in [source for source in self.section.sources if source.role == "corpus"]:
            mine = [unit for unit in self.units if self.section.sources[unit.source].name == source.name]
            left = sum(self.own["select"][unit.number].counts["characters_left"] for unit in mine)
            shards = partitions_for(left, SHARD_CHARACTERS)
            done = self._each("emit", emit_unit, ["copies", "verify", "repeats"], {}, mine, shards=shards)
            emitted[source.name] = done
            files = max(1, -(-left // (shards * SHARD_CHARACTERS)))  # of a shard, where a source has more than MOST_PARTITIONS of them
            works = [ShardWork(n, shards, files, done) for n in range(shards)]
            sealed = self._all("shard", write_shard, works, {"emitted": self._digest(done), "files": files})
            for number, shard in enumerate(sealed):
                for name in shard.files:
                    kind, _, file = name.partition("-")
                    publish(shard, name, f"{kind}/{source.name}/{number * files + int(file[:5]):05d}{file[5:]}")
        for step, kind in (("copies", "documents"), ("repeats", "paragraphs")):
            for number, done in enumerate(self.shared.get(step, [])):
                publish(done, "bloom.npz", f"bloom/{kind}-{number:05d}.npz")
        details = curation_details(self.section, self.tagged, emitted, self.shared, self.threshold)
        for name, done in self.derived.items():
            details["sources"][name]["made"] = done.counts
        return curation_counts(details), details

    # --- running a step ---

    def _work(self, unit: TaggedUnit) -> UnitWork:
        return UnitWork(unit, self.section, {}, {})

    def _each(
        self, step: str, function: Function, shared: list[str], decided_by: JSON, units: list[TaggedUnit] | None = None, **settings: Any
    ) -> list[Done]:  # fmt: skip
        """Run a step on every unit, with its own results of earlier steps and the named shared ones."""
        together = {name: self.shared.get(name, []) for name in shared}
        digests = {name: self._digest(dones) for name, dones in together.items()}
        settings |= {"units": len(self.units), "quality_threshold": self.threshold}
        source_of_unit = tuple(unit.source for unit in self.units)
        names = [source.name for source in self.section.sources]
        items = []
        for unit in self.units if units is None else units:
            earlier = {name: [dones[unit.number]] for name, dones in self.own.items()} | together
            work = UnitWork(unit, self.section, earlier, settings, source_of_unit)
            key = {
                "tagged": unit.tagged.digest, "number": unit.number, "settings": settings, "section": decided_by, "names": names,
                "source": work.source.model_dump(include={"name", "kind", "role", "sample"}), "rules": work.rules.model_dump(),
                "earlier": {name: dones[unit.number].digest for name, dones in self.own.items()} | digests,
            }  # fmt: skip
            items.append(Item(key, work, max(unit.tagged.counts["bytes"], 1)))
        return self.steps.run(step, function, items, code_digest(function.__module__), "bytes")

    def _all(self, step: str, function: Function, works: list[Any], key: JSON) -> list[Done]:
        """Run a step on parts of the whole corpus, which have the key in common."""
        items = [Item({"part": [number, len(works)]} | key, work) for number, work in enumerate(works)]
        return self.steps.run(step, function, items, code_digest(function.__module__))

    def _dump(self, *fields: str) -> JSON:
        return self.section.model_dump(mode="json", include=set(fields))

    @staticmethod
    def _digest(dones: list[Done]) -> str:
        return digest_of([done.digest for done in dones])


def check_source(section: Curation, source: Source, tagged: list[Done]) -> None:
    """BadInput if a source has no readable record, or more unreadable ones than the recipe allows."""
    read = sum(done.counts["documents"] for done in tagged)
    skipped = sum(done.counts["skipped"] for done in tagged)
    unreadable = sum(done.counts["faults"].get("unreadable", 0) for done in tagged)
    if read == unreadable:
        said = f"{unreadable} unreadable, {skipped} not matching `where`" if skipped else f"{unreadable} unreadable"
        raise BadInput(
            f"source {source.name!r} has no readable record in {source.location!r} ({said}): check its format ({source.format}), its fields "
            f"(text is {source.fields.text!r}) and its `where`"
        )
    if unreadable > section.max_unreadable_fraction * read:
        raise BadInput(
            f"source {source.name!r}: {unreadable} of {read} records are unreadable, more than max_unreadable_fraction "
            f"{section.max_unreadable_fraction} allows: mend the source or raise the limit in the recipe"
        )
