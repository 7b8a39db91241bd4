"""Conversations written and rendered as the task does it, for tests."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from recipes.schema import SFT, ChatSource
from tasks.artifacts.store import Store, sha256_file
from tasks.artifacts.token_streams import STREAMS
from tasks.runtime.steps import Steps
from tasks.sft.conversations import open_conversations
from tasks.sft.rendering import TRAINED, render_all
from tasks.sft.template import open_tokenizer
from tasks.sources.units import pin_files
from tests.sft.tokenizers import small_tokenizer


class Rendered:
    """A conversations artifact in a folder, as the task lays it down."""

    def __init__(self, root: Path, section: SFT) -> None:
        self.store, self.section = Store(str(root)), section
        small_tokenizer(root / "checkpoint" / "1" / "tokenizer")
        tokenizer = {f"tokenizer/{path.name}": sha256_file(path) for path in sorted((root / "checkpoint" / "1" / "tokenizer").iterdir())}
        places = {s.name: [{k: v for k, v in asdict(f).items() if k != "path"} for f in pin_files(s)] for s in section.sources}
        self.files: dict[str, str] = {}
        scratch = root / "scratch"
        scratch.mkdir()

        def add(local: Path, path: str) -> None:
            self.files[path] = sha256_file(local)
            self.store.put(local, f"conversations/1/{path}")

        def publish(done, name: str, path: str) -> None:
            self.files[path] = done.files[name]["sha256"]
            self.store.copy(done.key(name), f"conversations/1/{path}")

        self.steps = Steps(self.store, "working/conversations", 0)
        self.counts, self.details = render_all(section, places, "checkpoint/1", tokenizer, self.steps, publish, add, scratch)
        self.folder = root / "conversations" / "1"
        self.tokenizer = open_tokenizer(root / "checkpoint" / "1" / "tokenizer")
        opened = open_conversations(str(root), "conversations/1", self.folder / STREAMS, self.files)
        self.stream, self.lengths, self.targets_of = opened

    def text(self, number: int) -> tuple[str, str]:
        """Return a conversation as it is read back, and what of it is trained on."""
        ends = np.cumsum(self.lengths.numbers())
        (told,) = self.stream.read([(int(ends[number - 1]) if number else 0, int(ends[number]))])
        ids = (told & ~TRAINED).astype(np.int64)
        return self.tokenizer.decode(ids), self.tokenizer.decode(ids[(told & TRAINED) > 0])


def chat(number: int) -> dict:
    """Return a row of the `messages` shape."""
    return {"messages": [{"role": "user", "content": f"word{number}"}, {"role": "assistant", "content": f"system speaks {number}"}]}


def write(path: Path, rows: list[dict]) -> ChatSource:
    """Write rows and return the source that they are."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = {"name": path.stem, "format": "jsonl", "shape": "messages", "location": str(path), "licence": "CC0"}
    return ChatSource.model_validate(fields)
