"""Artifacts of a small run, made by hand: documents, tokens, conversations, a chat checkpoint, cards and scores, sealed in a store."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tasks.artifacts.documents import document_id, write_lines
from tasks.artifacts.handles import Checkpoint, Handle, Run, Scores
from tasks.artifacts.manifest import Manifest
from tasks.artifacts.store import Store
from tasks.contamination.items import SAMPLES
from tasks.runtime.production import Production, handle_of


def words(first: int, number: int) -> str:
    """Return words that no other place has: w1000 w1001 w1002 ..."""
    return " ".join(f"w{first + one}" for one in range(number))


def run_in(folder: Path) -> Run:
    """Return a run that tracks into its own folder."""
    return Run(name="r", folder=str(folder), store=str(folder / "store"), profile="local", tracking_uri="", tracking_run="", started=0.0)


def row_of(source: str, number: int, text: str) -> dict:
    """Return a document's row."""
    return {"id": document_id(text), "text": text, "raw": f"{source}#{number}", "quality": None}


class Made:
    """Seals one artifact after another."""

    def __init__(self, folder: Path) -> None:
        self.run, self.store, self.folder = run_in(folder), Store(str(folder / "store")), folder

    def seal(
        self, kind: str, files: dict[str, Iterable[dict] | bytes], counts: dict, details: dict, parents: dict[str, Handle], mark: str = ""
    ) -> Manifest:
        """Seal files (rows, or bytes) as an artifact."""
        with Production(self.run, kind, kind, {"mark": mark}, parents, "tests.contamination") as made:
            for path, rows in files.items():
                local = made.scratch / "file"
                local.write_bytes(rows) if isinstance(rows, bytes) else write_lines(local, rows)
                made.add_file(local, path)
            made.seal(counts, details)
        assert made.manifest is not None
        return made.manifest

    def handle(self, manifest: Manifest) -> Handle:
        """Return the plain handle of an artifact."""
        return handle_of(self.store, manifest, Handle)

    def chat(self, texts: dict[str, list[str]], held_out: set[str], conversations: list[str]) -> Checkpoint:
        """Seal everything up to a chat checkpoint: documents by source, of which some are held out, and conversations."""
        rows = {
            source: sorted((row_of(source, *one) for one in enumerate(own)), key=lambda row: row["id"]) for source, own in texts.items()
        }
        documents = self.seal("documents", {f"documents/{source}/00000.jsonl.zst": own for source, own in rows.items()}, {}, {}, {})
        listed = {
            f"tokens/{source}/00000.documents.jsonl.zst": [{"id": row["id"]} for row in own if row["text"] not in held_out]
            for source, own in rows.items()
        }
        tokens = self.seal("tokens", listed, {}, {}, {"documents": self.handle(documents)})
        tokenizer = self._tokenizer()
        encoded = [np.array(tokenizer.encode(text).ids, dtype=np.uint32) for text in conversations]
        marked = [ids | np.uint32(1 << 31) if n % 2 else ids for n, ids in enumerate(encoded)]  # some are targets
        chats = self.seal("conversations", {
            "streams.jsonl.zst": [{"source": "conversations", "from": "chats", "tokens": sum(map(len, encoded))}],
            "tokens/conversations/00000.bin": b"".join(ids.tobytes() for ids in marked),
            "rows/00000.jsonl.zst": [{"raw": f"chats#{n}", "tokens": len(ids)} for n, ids in enumerate(encoded)],
        }, {}, {}, {})  # fmt: skip
        base = self.seal("checkpoint", {}, {}, {}, {"tokens": self.handle(tokens)}, "base")
        counts = {"stage": "sft", "steps": 1, "tokens": 1, "parameters": 1, "loss": 1.0}
        files = {"tokenizer/tokenizer.json": tokenizer.to_str().encode()}
        chat = self.seal("checkpoint", files, counts, {}, {"parent": self.handle(base), "conversations": self.handle(chats)}, "chat")
        return handle_of(self.store, chat, Checkpoint)

    def _tokenizer(self):
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, []))
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        return tokenizer

    def scores(self, which: str, tasks: dict[str, list[tuple[dict, float]]]) -> Scores:
        """Seal a card for each task, with the value of each of its items, and the scores that they give."""
        benchmarks = []
        for task, items in tasks.items():
            rows = [
                {"task": task, "doc_id": n, "doc": doc, "doc_hash": document_id(str(doc)), "metrics": {"none": {"acc": value}}}
                for n, (doc, value) in enumerate(items)
            ]
            card = self.seal("card", {SAMPLES: rows}, {}, {}, {}, f"{which} {task}")
            score = round(100 * sum(value for _, value in items) / len(items), 4)
            benchmarks.append({"suite": "s", "task": task, "shots": 0, "metric": "acc", "score": score, "card": f"card@{card.version}"})
        counts = {"checkpoint": which, "scores": {f"s/{one['task']}": one["score"] for one in benchmarks}, "bits_per_byte": 1.0}
        made = self.seal("scores", {}, counts, {"benchmarks": benchmarks}, {}, which)
        return handle_of(self.store, made, Scores)
