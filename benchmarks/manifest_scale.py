"""A tokens artifact of the real size to how long its readers take: 3 trillion tokens, 50,000 shards, Fox-1's second stage.

    python benchmarks/manifest_scale.py --json rows.json

The manifest, the table of shards and the block hashes are as tokenization writes them; the shards' ids are holes in one sparse file
under 50,000 names, so that a disk holds them. Every reader is a process of its own: its memory is the most that it ever had.
"""

import argparse
import json
import multiprocessing
import os
import pickle
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import xxhash

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machine import machine_facts, peak_bytes  # noqa: E402
from recipes.load import load_recipe  # noqa: E402
from recipes.schema import Stage  # noqa: E402
from tasks.artifacts.documents import write_lines  # noqa: E402
from tasks.artifacts.manifest import FileEntry, Manifest, read_manifest, write_manifest  # noqa: E402
from tasks.artifacts.store import Store, sha256_bytes  # noqa: E402
from tasks.artifacts.token_streams import BLOCK_TOKENS, STREAMS, documents_file, token_type  # noqa: E402

VOCABULARY, TOKENS, SHARDS = 256_000, 3_000_000_000_000, 50_000
WORLD, SEEKS = 64, 20
GOALS = {"open_seconds": 5.0, "seek_seconds": 1.0, "reader_megabytes": 1000.0}


def second_stage() -> Stage:
    """Return Fox-1's second stage: twenty sources, two chunk lengths, halves of Common Crawl."""
    return load_recipe(ROOT / "recipes" / "fox1.yaml").pretraining.stages[1]


def lay_down(root: Path, stage: Stage, tokens: int, shards: int) -> None:
    """Write a tokens artifact `tokens/big` for a stage's sources: equal shards, divided in proportion to what the stage takes."""
    kind, size, folder = token_type(VOCABULARY), tokens // shards, root / "tokens" / "big"
    scratch = root / "hole"
    with scratch.open("wb") as file:
        file.truncate(size * kind.itemsize)
    pieces = [min(BLOCK_TOKENS, size - start) for start in range(0, size, BLOCK_TOKENS)]
    hashes = b"".join(xxhash.xxh3_64_digest(bytes(piece * kind.itemsize)) for piece in pieces)
    (root / "hashes").write_bytes(hashes)
    taken = [entry.share / (entry.portion[1] - entry.portion[0] if entry.portion else 1.0) for entry in stage.mixture]
    entries, rows = [], []
    for entry, share in zip(stage.mixture, taken, strict=True):
        count = max(round(shards * share / sum(taken)), 1)
        (folder / "tokens" / entry.source).mkdir(parents=True)
        for number in range(count):
            name, id = f"tokens/{entry.source}/{number:05d}", f"{2**128 * number // count:032x}"
            os.symlink(scratch, folder / f"{name}.bin")
            os.symlink(root / "hashes", folder / f"{name}.blocks")
            rows.append(
                {"source": entry.source, "shard": number, "tokens": size, "documents": 1, "first_id": id, "blocks": sha256_bytes(hashes)}
            )
            entries += [
                FileEntry(path=f"{name}.{ending}", bytes=size, sha256="0" * 64) for ending in ("bin", "blocks", "documents.jsonl.zst")
            ]
        for number in {int(at * count) - back for at in entry.portion or () for back in (0, 1) if 0 <= int(at * count) - back < count}:
            path = folder / documents_file(entry.source, number)
            write_lines(path, [{"id": f"{2**128 * number // count:032x}", "start": 0, "tokens": size, "bytes": size, "raw": "r"}])
            place = next(n for n, e in enumerate(entries) if e.path == documents_file(entry.source, number))
            entries[place] = FileEntry(path=entries[place].path, bytes=1, sha256=sha256_bytes(path.read_bytes()))
    write_lines(folder / STREAMS, rows)
    entries.append(FileEntry(path=STREAMS, bytes=1, sha256=sha256_bytes((folder / STREAMS).read_bytes())))
    write_manifest(Store(str(root)), "tokens/big", Manifest(
        kind="tokens", name="tokens", version="big", digest="0" * 64, identity={}, files=entries, recorded={}, records=[],
        counts={"vocabulary_size": VOCABULARY}, details={"tokenizer": {"eos": 1}},
    ))  # fmt: skip


def read(root: str, seed: int, answer) -> None:
    """Open the artifact as a reader does, go to random steps, and load one rank's share of the batches there."""
    import torch

    from tasks.runtime.production import Reader
    from tasks.training.supply import open_batches

    stage, chance = second_stage(), random.Random(seed)
    before = peak_bytes()
    begun = time.perf_counter()
    manifest = read_manifest(Store(root), "tokens/big")
    batches = open_batches(Reader(Store(root), manifest), stage, seed, True)
    row = {"torch": torch.__version__, "steps": batches.steps, "units": batches.units, "open_seconds": time.perf_counter() - begun}
    data = pickle.dumps(batches)
    begun = time.perf_counter()
    batches = pickle.loads(data)  # noqa: S301  what a worker receives
    row |= {"sent_megabytes": len(data) / 1e6, "receive_seconds": time.perf_counter() - begun}
    seeks, loads = [], []
    for _ in range(SEEKS):
        step, rank = chance.randrange(batches.steps), chance.randrange(WORLD)
        begun = time.perf_counter()
        batches.sequences(step, list(range(batches.units)))
        seeks.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        groups = batches.load(step, list(range(rank, batches.units, WORLD)))
        loads.append(time.perf_counter() - begun)
        assert sum(group.ids.numel() for group in groups) * WORLD == stage.batch_tokens
    source = stage.mixture[0].source
    start = batches.ranges[source][0] + chance.randrange(10**9)
    begun = time.perf_counter()
    visits = len(batches.visits(source, start, start + 5_000))
    row |= {
        "seek_seconds": max(seeks), "load_seconds": float(np.median(loads)), "load_seconds_most": max(loads),
        "trace_seconds": time.perf_counter() - begun, "visits": visits,
        "reader_megabytes": peak_bytes() / 1e6, "before_megabytes": before / 1e6,
    }  # fmt: skip
    answer.put(row)


def measure(root: Path, readers: int) -> list[dict]:
    """Run some readers one after the other, each in a fresh process."""
    context, rows = multiprocessing.get_context("spawn"), []
    for seed in range(readers):
        answer = context.Queue()
        process = context.Process(target=read, args=(str(root), seed, answer))
        process.start()
        rows.append(answer.get())
        process.join()
    return rows


def main() -> int:
    """Lay the artifact down, measure, print and write the rows; 1 if a bound does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--shards", type=int, default=SHARDS)
    parser.add_argument("--readers", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the artifact is laid down; default: a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reynard-scale-", dir=given.folder) as folder:
        begun = time.perf_counter()
        lay_down(Path(folder), second_stage(), given.tokens, given.shards)
        print(f"{given.tokens:,} tokens in {given.shards:,} shards laid down in {time.perf_counter() - begun:.1f} s", flush=True)
        rows = measure(Path(folder), given.readers)
    for row in rows:
        print("  ".join(f"{name} {value:,.3f}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()))
    worst = {name: max(row[name] for row in rows) for name in GOALS}
    for name, most in GOALS.items():
        print(f"{'reached' if worst[name] < most else 'MISSED '}  {name} {worst[name]:,.3f} (below {most:g})")
    facts = {"tokens": given.tokens, "shards": given.shards, "world": WORLD, "machine": machine_facts()}
    given.json.write_text(json.dumps([row | facts for row in rows], indent=1) + "\n")
    return int(any(worst[name] >= most for name, most in GOALS.items()))


if __name__ == "__main__":
    sys.exit(main())
