"""A trained model to which document it saw at which step, and back: computed from its manifests, read from the store alone."""

from dataclasses import dataclass, field
from functools import lru_cache, partial

import orjson

from recipes.schema import Stage
from tasks.artifacts.lineage import ancestors
from tasks.artifacts.manifest import JSON, Manifest
from tasks.artifacts.store import Store
from tasks.artifacts.token_streams import Stream, documents_between, documents_file, read_documents, shard_of_id
from tasks.curriculum.batches import Sequence, StageBatches
from tasks.runtime.production import Reader
from tasks.training.supply import open_batches

SHARDS_HELD = 64


class NotSeen(LookupError):
    """A step or a document that the model's training does not have."""


class OtherOrder(LookupError):
    """The order of batches that this code computes is not the one that a model was trained in."""


@dataclass(frozen=True)
class TrainedStage:
    """A finished stage: its checkpoint's manifest, its batches, and the tokens that they are made of."""

    manifest: Manifest
    batches: StageBatches
    tokens: Reader

    @property
    def first_step(self) -> int:
        """The steps of all stages before."""
        return self.manifest.details["first_step"]

    @property
    def world_size(self) -> int:
        """The workers that trained it, at its end."""
        return self.manifest.details["world_size"]

    def place(self, step: int, unit: int) -> JSON:
        """Name a unit of a batch: the step counted through all stages, from 1, as in the journal, and the rank that it was dealt to."""
        return {"step": self.first_step + step + 1, "stage": self.batches.stage.name, "rank": unit % self.world_size, "unit": unit}


def batches_of(checkpoint: Manifest, tokens: Reader) -> StageBatches:
    """Return the batches that a stage was trained on; OtherOrder if this code takes them in another order."""
    section, recorded = checkpoint.identity["section"], checkpoint.details.get("order")
    if recorded is not None:
        batches = open_batches(tokens, Stage.model_validate(section["stage"]), section["seed"], section["attention_across_documents"])
        if batches.fingerprint() == recorded:
            return batches
    raise OtherOrder(
        f"{label(checkpoint)} was trained by a version of this code that took batches in another order: "
        f"trace it with commit {checkpoint.recorded.get('commit', 'unknown')}"
    )


@dataclass
class Trace:
    """All that a model saw. A chunk's documents are those whose tokens it holds as inputs; its last label may be one token further."""

    store: Store
    model: Manifest
    stages: list[TrainedStage] = field(default_factory=list)

    def __post_init__(self) -> None:
        every = ancestors(self.store, self.model)
        by_place = {(manifest.kind, manifest.version): manifest for manifest in every}
        for manifest in every:
            section = manifest.identity.get("section") or {}
            if manifest.kind == "checkpoint" and "stage" in section:
                parent = manifest.identity["parent_artifacts"]["tokens"]
                tokens = Reader(self.store, by_place["tokens", parent["version"]])
                self.stages.append(TrainedStage(manifest, batches_of(manifest, tokens), tokens))
        self.stages.sort(key=lambda stage: stage.first_step)
        self.documents = lru_cache(SHARDS_HELD)(self._documents)

    def _documents(self, stage: int, source: str, shard: int) -> list[JSON]:
        return read_documents(self.stages[stage].tokens.path(documents_file(source, shard)))

    def step(self, step: int, rank: int | None = None) -> JSON:
        """Return a step's sequences (of one rank) with their documents, and its row of the journal; NotSeen if there is no such step.

        It is `verified` if the hash that the journal took of the tokens when they were trained on is that of the tokens told here.
        """
        number = next((n for n, s in enumerate(self.stages) if s.first_step < step <= s.first_step + s.batches.steps), None)
        if number is None:
            last = self.stages[-1].first_step + self.stages[-1].batches.steps if self.stages else 0
            raise NotSeen(f"there is no step {step}: {label(self.model)} was pre-trained in steps 1 to {last:,}")
        stage, within = self.stages[number], step - self.stages[number].first_step - 1
        if rank is not None and not 0 <= rank < stage.world_size:
            raise NotSeen(
                f"there is no rank {rank}: {stage.batches.stage.name} was trained by {stage.world_size} workers, 0 to {stage.world_size - 1}"
            )
        units = [unit for unit in range(stage.batches.units) if rank is None or unit % stage.world_size == rank]
        sequences = [
            stage.place(within, unit) | self._sequence(number, sequence)
            for unit in units
            for sequence in stage.batches.sequences(within, [unit])
        ]
        journal = self._journal(stage).get(step, {})
        return {
            "step": step, "verified": f"{stage.batches.targets_hash(within):016x}" == journal.get("targets"),
            "stage": stage.batches.stage.name, "stage_step": within + 1, "stage_steps": stage.batches.steps, "rank": rank,
            "world_size": stage.world_size, "checkpoint": label(stage.manifest), "tokens": sum(row["tokens"] for row in sequences),
            "journal": journal, "sequences": sequences,
        }  # fmt: skip

    def _journal(self, stage: TrainedStage) -> dict[int, JSON]:
        data = self.store.read(f"checkpoint/{stage.manifest.version}/journal.jsonl")
        return {int(row["step"]): row for row in map(orjson.loads, data.splitlines())}

    def _sequence(self, stage: int, sequence: Sequence) -> JSON:
        stream = self.stages[stage].batches.streams[sequence.source]
        documents = documents_between(
            stream, sequence.start, sequence.start + sequence.tokens, partial(self.documents, stage, sequence.source)
        )
        return {"source": sequence.source, "start": sequence.start, "tokens": sequence.tokens, "documents": documents}

    def document(self, id: str) -> list[JSON]:
        """Return where a document lies and every step that saw some of it, for each source that has it; NotSeen if none has.

        `id` is a document's id, or its first digits; NotSeen as well if these begin several ids.
        """
        found: dict[tuple[str, str], JSON] = {}
        for number, stage in enumerate(self.stages):
            for source, stream in stage.batches.streams.items():
                for shard, row in self._find(number, source, stream, id):
                    one = found.setdefault((source, row["id"]), {"id": row["id"], "source": source, "shard": shard} | row | {"seen": []})
                    start = stream.begin(shard) + row["start"]
                    for step, unit, sequence in stage.batches.visits(source, start, start + row["tokens"]):
                        first, end = max(sequence.start - start, 0), min(sequence.start + sequence.tokens - start, row["tokens"])
                        one["seen"].append(stage.place(step, unit) | {"from": first, "to": end})
        if len(ids := sorted({id for _, id in found})) > 1:
            raise NotSeen(f"{len(ids):,} documents have an id that begins with {id}: give more digits of one, such as {', '.join(ids[:5])}")
        if not found:
            raise NotSeen(self._why_unseen(id))
        return list(found.values())

    def _find(self, stage: int, source: str, stream: Stream, id: str) -> list[tuple[int, JSON]]:
        first, last = (shard_of_id(stream, id.ljust(32, digit)) for digit in "0f")
        return [
            (shard, row)
            for shard in range(first, last + 1) if stream.first_ids and stream.first_ids[shard]
            for row in self.documents(stage, source, shard) if row["id"].startswith(id)
        ]  # fmt: skip

    def _why_unseen(self, id: str) -> str:
        tokens = {stage.tokens.manifest.version: stage.tokens for stage in self.stages}
        for reader in tokens.values():
            for entry in reader.manifest.matching("held_out/"):
                if entry.path.endswith(".documents.jsonl.zst"):
                    for row in read_documents(reader.path(entry.path)):
                        if row["id"].startswith(id):
                            return f"document {row['id']} of {entry.path.split('/')[1].split('.')[0]} is held out: no step saw it, evaluation uses it"
        mixed = sorted({entry.source for stage in self.stages for entry in stage.batches.stage.mixture})
        return (
            f"no document {id!r} is in the sources that {label(self.model)} was trained on ({', '.join(mixed)}): "
            "`reynard explain --document` says what curation did with it"
        )


def label(manifest: Manifest) -> str:
    """Write an artifact's name as the console does."""
    return f"{manifest.name}@{manifest.version[:8]}"
