"""A small real store, made by the frame that tasks run in: two sources, two stages of pre-training, fine-tuning, scores and releases."""

import shutil
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from recipes.schema import Stage
from tasks.artifacts.documents import write_lines
from tasks.artifacts.handles import Handle, Run
from tasks.artifacts.manifest import FileEntry, Manifest
from tasks.artifacts.store import Store, sha256_file
from tasks.artifacts.token_streams import documents_file, open_streams, read_documents
from tasks.curriculum.batches import StageBatches
from tasks.preflight.task import _pinned
from tasks.runtime.cluster import Profile
from tasks.runtime.production import Production, Reader
from tasks.sft.finetune import chat_batches, sft_identity
from tests.curriculum.streams import counting, lay_down
from tests.sft.rendered import Rendered, chat, write
from tests.sft.sections import MODEL, sft_section

SOURCES = {"a": counting(0, 24, 50, shards=4), "b": counting(5000, 9, 100, shards=2)}
LICENCES = {"a": "CC0-1.0", "b": "MIT"}
TWIN = "ab" * 16  # a document of `b` that was dropped as a near duplicate of the first one of `a`


def mixture(chunk: int, sources: tuple[str, ...]) -> list[dict]:
    """Return a stage's mixture: all of one source, or 60 % and 40 % of two."""
    weights = {"a": 0.6, "b": 0.4} if len(sources) == 2 else {sources[0]: 1.0}
    return [{"source": name, "weight": weights[name], "chunk_tokens": chunk, "max_epochs": 2.0} for name in sources]


class SmallStore:
    """The store and what it was made from. Stage one takes source `a` alone, stage two both."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "runs" / "small" / "store"
        self.run = Run(
            name="small",
            folder=str(folder / "runs/small"),
            store=str(self.root),
            profile="local",
            tracking_uri="",
            tracking_run="",
            started=0.0,
        )
        self.store = Store(str(self.root))
        self.documents, self.tokens = self._data()
        one = self._stage("one", 640, 8, ("a",), 0, None)
        two = self._stage("two", 960, 16, ("a", "b"), 10, one)
        self.chat, self.base = self._fine_tuned(two), two
        self.folders = {which: self._released(which, made) for which, made in (("base", two), ("chat", self.chat))}

    def _data(self) -> tuple[Handle, Handle]:
        raw_folder = self.folder / "raw"
        raw_folder.mkdir(parents=True)
        marks, places = {}, {}
        for name in SOURCES:
            path = raw_folder / f"{name}.txt"
            path.write_text(f"all that is in {name}\n" * 20)
            mark = f"sha256:{sha256_file(path)}"
            marks[name] = [[str(path), path.stat().st_size, mark]]
            places[name] = [{"address": str(path), "bytes": path.stat().st_size, "mark": mark}]
        raw = _pinned(self.run, "raw-documents", marks, places)
        lay_down(self.folder / "laid", SOURCES)
        laid = self.folder / "laid" / "tokens" / "1"
        self.ids = {
            name: [row["id"] for number in range(len(shards)) for row in read_documents(laid / documents_file(name, number))]
            for name, shards in SOURCES.items()
        }
        section = {"sources": [{"name": name, "licence": LICENCES[name], "format": "text"} for name in SOURCES]}
        with Production(self.run, "documents", "documents", section, {"raw": raw}, "tasks.curation") as made:
            for name, ids in self.ids.items():
                rows = [{"id": id, "raw": f"{name}.txt#{n}", "reason": "", "duplicate_of": ""} for n, id in enumerate(ids)]
                if name == "b":
                    rows.append({"id": TWIN, "raw": "b.txt#99", "reason": "near_duplicate", "duplicate_of": self.ids["a"][0]})
                pq.write_table(pa.Table.from_pylist(sorted(rows, key=lambda row: row["id"])), made.scratch / "v")
                made.add_file(made.scratch / "v", f"verdicts/{name}/00000.parquet")
                write_lines(made.scratch / "d", [{"id": id, "text": f"text {id}", "raw": "", "quality": 0} for id in ids])
                made.add_file(made.scratch / "d", f"documents/{name}/00000.jsonl.zst")
            kept = {
                name: {"licence": LICENCES[name], "documents_in": len(ids), "documents_kept": len(ids)} for name, ids in self.ids.items()
            }
            made.seal({"documents_in": 34, "documents_kept": 33, "characters_kept": 1}, {"sources": kept, "reasons": {"near_duplicate": 1}})
            documents = made.handle(Handle)
        with Production(self.run, "tokens", "tokens", {}, {"documents": documents}, "tasks.tokenization") as made:
            held = made.scratch / "h"
            write_lines(held, [{"id": "f" * 32, "start": 0, "tokens": 5, "bytes": 9, "raw": "a.txt#98"}])
            made.add_file(held, "held_out/a.documents.jsonl.zst")
            for path in sorted(path for path in laid.rglob("*") if path.is_file()):
                made.add_file(path, path.relative_to(laid).as_posix())
            sources = {name: {"tokens": 50 * 24 if name == "a" else 900, "held_out_tokens": 5 * (name == "a")} for name in SOURCES}
            made.seal({"tokens": 2100, "held_out_tokens": 5, "vocabulary_size": 6000}, {"sources": sources, "tokenizer": {"eos": 2}})
            return documents, made.handle(Handle)

    def _stage(self, name: str, tokens: int, chunk: int, sources: tuple[str, ...], first: int, parent: Handle | None) -> Handle:
        stage = {"name": name, "tokens": tokens, "batch_tokens": 64, "optimizer_state": "keep", "mixture": mixture(chunk, sources)}
        section = {"seed": 3, "stage": stage, "attention_across_documents": True, "first_step": first}
        parents = {"tokens": self.tokens} | ({"parent": parent} if parent else {})
        with Production(self.run, "checkpoint", name, section, parents, "tasks.training") as made:
            reader = Reader.of(self.run, self.tokens)
            streams = open_streams(self.store.root, reader.folder, reader.path("streams.jsonl.zst"), np.dtype("uint16"))
            batches = StageBatches(Stage.model_validate(stage), 3, streams, {"a": (0, 1200), "b": (0, 900)})
            made.add_text("model.safetensors", f"weights of {name}".encode())
            made.add_text("journal.jsonl", b"{}\n", record=True)
            details = {
                "first_step": first,
                "stage_steps": tokens // 64,
                "stage_tokens": tokens,
                "world_size": 2,
                "order": batches.fingerprint(),
            }
            details["mixture"] = {source: count for source, count in batches.mixture_tokens().items()}
            made.seal({"stage": name, "steps": first + tokens // 64, "tokens": tokens, "parameters": 7, "loss": 5.0}, details)
            self.batches = getattr(self, "batches", {}) | {name: batches}
            return made.handle(Handle)

    def _fine_tuned(self, base: Handle) -> Handle:
        section = sft_section([write(self.folder / "own.jsonl", [chat(n) for n in range(10)])], batch_conversations=2, epochs=2.0)
        rendered = Rendered(self.folder / "rendered", section)
        with Production(self.run, "conversations", "conversations", {}, {}, "tasks.sft") as made:
            for path in sorted(rendered.files):
                made.add_file(rendered.folder / path, path)
            made.seal(rendered.counts, rendered.details)
            conversations, reader = made.handle(Handle), Reader(made.store, made.manifest)
        parents = {"parent": base, "conversations": conversations}
        with Production(self.run, "checkpoint", "sft", sft_identity(section, MODEL, 1), parents, "tasks.sft") as made:
            batches = chat_batches(section, 1, reader, Profile("local", 2, 1, 0, 1, 4096))
            made.add_text("model.safetensors", b"weights of the chat model")
            made.seal({"steps": 10}, {"stage_steps": 10, "stage_tokens": 100, "world_size": 2, "order": batches.fingerprint()})
            self.chat_batches = batches
            return made.handle(Handle)

    def _released(self, which: str, checkpoint: Handle) -> Path:
        with Production(self.run, "card", f"card-x-{which}", {"weights": which}, {}, "tasks.evaluation.harness") as card:
            card.add_text("samples.jsonl.zst", b"answers")
            card.seal({"items": 1}, {}, {"checkpoint": {"name": checkpoint.name, "version": checkpoint.version}})
        parents = {"checkpoint": checkpoint, "tokens": self.tokens}
        with Production(self.run, "scores", f"scores-{which}", {}, parents, "tasks.evaluation") as scores:
            rows = [{"suite": "s", "task": "x", "score": 50.0, "card": f"{card.name}@{card.version}"}]
            scores.seal({"checkpoint": which, "scores": {"s/x": 50.0}, "bits_per_byte": 3.0}, {"benchmarks": rows})
        parents = {"checkpoint": checkpoint, "scores": scores.handle(Handle)}
        with Production(self.run, "release", f"release-{which}", {"which": which}, parents, "tasks.release") as made:
            reader = Reader.of(self.run, checkpoint)
            made.copy_file(reader.path("model.safetensors"), "model/model.safetensors")
            made.add_text("model/README.md", f"# {which}\n".encode())
            made.add_text("model/reynard/recipe.yaml", b"name: small\n")
            made.add_text("model/reynard/lineage.json", orjson.dumps(self.told(checkpoint, scores.handle(Handle))))
            made.seal({"repository": f"Small-{which}", "folder": f"release/{which}"}, {})
        folder = self.folder / "runs" / "small" / "release" / which
        shutil.rmtree(folder, ignore_errors=True)
        return Reader(self.store, made.manifest).place("model/", folder)

    def told(self, checkpoint: Handle, scores: Handle) -> dict:
        """What a released folder says of its lineage."""
        from tasks.lineage.graph import ancestors_graph, place_of

        manifests: dict[str, Manifest] = {}
        for handle in (checkpoint, scores):
            manifests |= ancestors_graph(self.store, Reader.of(self.run, handle).manifest).manifests
        roots = [place_of(Reader.of(self.run, handle).manifest) for handle in (checkpoint, scores)]
        return {"root": roots, "manifests": [one.model_dump() for one in manifests.values()]}

    def sums(self, which: str) -> list[FileEntry]:
        """The files of a released folder, as SHA256SUMS lists them."""
        return [
            FileEntry(path=path.relative_to(self.folders[which]).as_posix(), bytes=path.stat().st_size, sha256=sha256_file(path))
            for path in sorted(self.folders[which].rglob("*")) if path.is_file()
        ]  # fmt: skip
