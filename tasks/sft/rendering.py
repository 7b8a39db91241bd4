"""Raw conversations to rendered ones, in units that are each resumable and worked on side by side.

An id's top bit (`TRAINED`) says that it is a target. A shard holds the conversations of one unit of raw files, in their order: `ids.bin`
with the hashes of its blocks, the length and the number of targets of each conversation, and a list that leads back to the raw rows. A few
conversations of each source are kept as `probe.jsonl` with their messages: what a release's own template has to render alike. All of it
follows from its raw files, the tokenizer and the template alone: nothing depends on the number of workers.
"""

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import orjson

from recipes.schema import SFT, ChatSource
from tasks.artifacts.documents import write_lines
from tasks.artifacts.manifest import JSON
from tasks.artifacts.store import Store
from tasks.artifacts.token_streams import STREAMS, block_hashes
from tasks.model.template import PROBE
from tasks.runtime.code import code_digest
from tasks.runtime.steps import Done, Item, Output, Steps
from tasks.sft.chats import Chat, Message, check_limit, read_chats
from tasks.sft.template import Renderer, open_tokenizer
from tasks.sources.units import Unit, pinned_file, plan_units

TRAINED = np.uint32(1 << 31)
SOURCE = "conversations"  # the stream's name, as that of a source of documents
UNIT_BYTES = 32_000_000
BATCH_CHATS = 256
LENGTH_EDGES = [0, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768]
EXAMPLE_TOKENS = 400
PROBE_CHATS = 8  # of each source: a release has to render these to the same tokens

Publish = Callable[[Done, str, str], None]
Add = Callable[[Path, str], None]


@dataclass(frozen=True)
class RenderWork:
    """A unit of a source, and what its conversations are rendered with."""

    source: ChatSource
    unit: Unit
    drop_other_assistants: bool
    template: str
    max_tokens: int
    tokenizer_folder: str  # a key in the store
    tokenizer: tuple[tuple[str, str], ...]  # names and sha256 of its files


def render_all(
    section: SFT, places: JSON, tokenizer_folder: str, tokenizer: JSON, steps: Steps, publish: Publish, add: Add, scratch: Path
) -> tuple[JSON, JSON]:
    """Render all conversations; the artifact's files go out through `publish` and `add`. Return its counts and details.

    `places` are the pinned raw files by source, `tokenizer` sha256 by path below `tokenizer_folder`, a key of the store. BadInput if a
    source has too many bad rows.
    """
    files = tuple(sorted(tokenizer.items()))
    works = [
        RenderWork(source, unit, section.drop_other_assistants, section.template, section.max_tokens, tokenizer_folder, files)
        for source in section.sources
        for unit in plan_units(source, [pinned_file(source, place) for place in places[source.name]], UNIT_BYTES)
    ]
    code = code_digest("tasks.sft.rendering")
    items = [Item(key_of(work), work, max(work.unit.bytes, 1)) for work in works]
    dones = steps.run("render", render_unit, items, code, "bytes of conversations")
    counts: dict[str, Counter] = {source.name: Counter() for source in section.sources}
    for work, done in zip(works, dones, strict=True):
        counts[work.source.name].update(done.counts["reasons"])
    check_limit(section, counts)
    rows, example = [], None
    with (scratch / "lengths").open("wb") as lengths, (scratch / "targets").open("wb") as targets:
        for number, (work, done) in enumerate(zip(works, dones, strict=True)):
            for name in ("ids.bin", "blocks"):
                publish(done, name, f"tokens/{SOURCE}/{number:05d}.{name.removeprefix('ids.')}")
            publish(done, "rows.jsonl.zst", rows_file(number))
            lengths.write(done.path(steps.store, "lengths.bin").read_bytes())
            targets.write(done.path(steps.store, "targets.bin").read_bytes())
            told = {name: done.counts[name] for name in ("tokens", "conversations")}
            rows.append({"source": SOURCE, "from": work.source.name, "first_id": "", "blocks": done.files["blocks"]["sha256"]} | told)
            example = example or done.counts["example"]
    write_lines(scratch / STREAMS, rows)
    (scratch / PROBE).write_bytes(probe_rows(works, dones, steps.store))
    for name, path in (("lengths", "lengths.bin"), ("targets", "targets.bin"), (STREAMS, STREAMS), (PROBE, PROBE)):
        add(scratch / name, path)
    return facts(section, counts, works, dones, example)


def probe_rows(works: list[RenderWork], dones: list[Done], store: Store) -> bytes:
    """Return the first rendered conversations of each source, as lines of JSON: `messages`, `ids`, and `trained` for each id."""
    first: dict[str, Done] = {}
    for work, done in zip(works, dones, strict=True):
        if done.counts["conversations"]:
            first.setdefault(work.source.name, done)
    return b"".join(done.path(store, PROBE).read_bytes() for done in first.values())


def rows_file(shard: int) -> str:
    """Return the path in a conversations artifact of the list of a shard's conversations."""
    return f"rows/{shard:05d}.jsonl.zst"


def key_of(work: RenderWork) -> JSON:
    """Return what decides a unit's rendered conversations."""
    rule = {name: getattr(work, name) for name in ("drop_other_assistants", "template", "max_tokens")}
    rule |= {"format": work.source.format, "shape": work.source.shape}
    return rule | {"unit": work.unit.identity(), "tokenizer": list(work.tokenizer)}


def facts(section: SFT, counts: dict[str, Counter], works: list[RenderWork], dones: list[Done], example: JSON | None) -> tuple[JSON, JSON]:
    """Add up what the units counted."""
    details: JSON = {}
    for source in section.sources:
        mine = [done.counts for work, done in zip(works, dones, strict=True) if work.source.name == source.name]
        told = {name: sum(one[name] for one in mine) for name in ("conversations", "tokens", "trained_tokens", "cut", "cut_tokens")}
        details[source.name] = told | {
            "reasons": {reason: number for reason, number in sorted(counts[source.name].items()) if number},
            "licence": source.licence, "revision": source.revision, "shape": source.shape,
            "length_histogram": {"edges": LENGTH_EDGES, "counts": np.sum([one["histogram"] for one in mine], axis=0).tolist()},
        }  # fmt: skip
    total = {name: sum(row[name] for row in details.values()) for name in ("conversations", "tokens", "trained_tokens", "cut")}
    all_reasons = sum(counts.values(), Counter())
    total |= {"rows": all_reasons["rows"], "dropped": all_reasons["rows"] - total["conversations"]}
    rule = {"template": section.template, "max_tokens": section.max_tokens, "drop_other_assistants": section.drop_other_assistants}
    return total, {"sources": details, "reasons": dict(sorted(all_reasons.items())), "example": example} | rule


@lru_cache(maxsize=1)
def _renderer(root: str, folder: str, files: tuple[tuple[str, str], ...], template: str) -> Renderer:
    """Open a tokenizer whose files lie in the store, once a process."""
    import tempfile

    from tasks.artifacts.store import open_store

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # side by side are units, each on one core
    store = open_store(root)
    with tempfile.TemporaryDirectory() as here:
        for name, sha256 in files:
            (Path(here) / Path(name).name).write_bytes(store.local_copy(f"{folder}/{name}", sha256).read_bytes())
        return Renderer(open_tokenizer(Path(here), template))


def render_unit(store: Store, work: RenderWork, output: Output) -> JSON:
    """Step `render`: read, judge and render a unit's conversations, and write them as they come."""
    renderer = _renderer(store.root, work.tokenizer_folder, work.tokenizer, work.template)
    reasons: Counter = Counter()
    lengths, targets = array("I"), array("I")
    cut = cut_tokens = 0
    example: JSON | None = None
    chats = read_chats(work.source, work.unit, work.drop_other_assistants)
    scratch = output.scratch
    with (scratch / "ids.bin").open("wb") as file, (scratch / "rows").open("wb") as rows, (scratch / PROBE).open("wb") as probe:
        for chat, ids, trained in rendered(chats, renderer, reasons):
            whole = len(ids)
            ids, trained = ids[: work.max_tokens + 1], trained[: work.max_tokens + 1]
            if not trained[1:].any():
                reasons["cut_before_assistant"] += 1
                continue
            reasons["kept"] += 1
            cut, cut_tokens = cut + (whole > len(ids)), cut_tokens + whole - len(ids)
            file.write((ids.astype(np.uint32) | np.where(trained, TRAINED, np.uint32(0))).tobytes())
            lengths.append(len(ids))
            targets.append(int(trained[1:].sum()))
            if len(lengths) <= PROBE_CHATS:
                told = {"messages": chat.messages, "ids": ids.tolist(), "trained": trained.astype(int).tolist()}
                probe.write(orjson.dumps(told) + b"\n")
            row = {"raw": chat.address, "turns": len(chat.messages or []), "tokens": len(ids), "trained": targets[-1]}
            rows.write(orjson.dumps(row) + b"\n")
            example = example or pieces(renderer, ids, trained)
    write_unit(output, lengths, targets)
    return {
        "conversations": len(lengths), "tokens": sum(lengths), "trained_tokens": sum(targets), "cut": cut, "cut_tokens": cut_tokens,
        "reasons": dict(reasons), "example": example,
        "histogram": np.histogram(np.array(lengths, dtype=np.int64), bins=[*LENGTH_EDGES[:-1], 2**62])[0].tolist(),
    }  # fmt: skip


def rendered(chats: Iterable[Chat], renderer: Renderer, reasons: Counter) -> Iterator[tuple[Chat, np.ndarray, np.ndarray]]:
    """Render good conversations, some hundred at a time; count all rows, and those that are left out by reason."""
    rest = iter(chats)
    while batch := list(islice(rest, BATCH_CHATS)):
        good = []
        for chat in batch:
            reasons["rows"] += 1
            reason = chat.fault or ("control_token" if renderer.spells_control_token(chat.messages or []) else "")
            if reason:
                reasons[reason] += 1
            else:
                good.append(chat)
        messages: list[list[Message]] = [chat.messages or [] for chat in good]
        for chat, (ids, trained) in zip(good, renderer.render(messages) if good else [], strict=True):
            yield chat, ids, trained


def write_unit(output: Output, lengths: array, targets: array) -> None:
    """Put a unit's files into the store."""
    ids = np.memmap(output.scratch / "ids.bin", dtype=np.uint32, mode="r") if lengths else np.zeros(0, dtype=np.uint32)
    (output.scratch / "blocks").write_bytes(block_hashes(ids))
    (output.scratch / "lengths.bin").write_bytes(np.array(lengths, dtype=np.uint32).tobytes())
    (output.scratch / "targets.bin").write_bytes(np.array(targets, dtype=np.uint32).tobytes())
    with (output.scratch / "rows").open("rb") as rows:
        write_lines(output.scratch / "rows.jsonl.zst", map(orjson.loads, rows))
    for name in ("ids.bin", "blocks", "lengths.bin", "targets.bin", "rows.jsonl.zst", PROBE):
        output.add(output.scratch / name, name)


def pieces(renderer: Renderer, ids: np.ndarray, trained: np.ndarray) -> JSON:
    """Return a conversation's beginning in parts that are trained on or not, as a person reads them."""
    ids, trained = ids[:EXAMPLE_TOKENS], trained[:EXAMPLE_TOKENS]
    borders = [0, *(np.flatnonzero(np.diff(trained)) + 1).tolist(), len(ids)]
    text = [renderer.tokenizer.decode(ids[first:end].tolist()) for first, end in pairwise(borders)]
    return {"parts": [[one, bool(trained[first])] for one, first in zip(text, borders, strict=False)]}
