"""Many independent pieces of work to sealed results in the store: on Ray, in bounded memory, and never done twice.

A step is a function applied to items. An item's key says what decides its result; the result lies under the hash of that key at
`<step>/<hash>/`: its files, then `done.json` with their sha256 and the item's counts. Whoever runs the step again, after
whatever was killed, finds the finished items and works only on the others. Results are functions of the keys alone, so it does
not matter who made them, or if two workers made the same one at once.

    dones = Steps(store, "work/curation", workers).run("tag", tag_unit, items, code="...")
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from recipes.errors import BadInput
from tasks.artifacts.manifest import JSON, canonical, digest_of
from tasks.artifacts.store import Store, open_store, sha256_bytes, sha256_file
from tasks.runtime.progress import Progress

LOOK_UPS_AT_ONCE = 32  # of a store across a network


@dataclass(frozen=True)
class Item:
    """One piece of a step's work: the key that decides its result, the function's argument, and its size for the progress line."""

    key: JSON
    work: Any
    weight: float = 1.0


@dataclass(frozen=True)
class Done:
    """A finished item: where its files lie, their sha256, and what was counted."""

    folder: str
    files: dict[str, JSON]
    counts: JSON

    @property
    def digest(self) -> str:
        """The hash of what was made: equal results have equal digests, whoever made them."""
        return digest_of({"files": self.files, "counts": self.counts})

    def key(self, name: str) -> str:
        """Return the store's key of one of the files."""
        if name not in self.files:
            raise FileNotFoundError(f"{self.folder} has no file {name!r}")
        return f"{self.folder}/{name}"

    def path(self, store: Store, name: str) -> Path:
        """Return a local path to a file's verified bytes; OSError if they are damaged."""
        return store.local_copy(self.key(name), self.files[name]["sha256"])


class Output:
    """The files of an item while it is being made. `scratch` is a folder that disappears with it."""

    def __init__(self, store: Store, folder: str) -> None:
        self.store, self.folder = store, folder
        self.files: dict[str, JSON] = {}
        self.scratch = Path(tempfile.mkdtemp(prefix="reynard-step-"))

    def add(self, local: Path, name: str) -> None:
        """Move a finished local file into the store as one of the item's files."""
        self.files[name] = {"bytes": local.stat().st_size, "sha256": sha256_file(local)}
        self.store.put(local, f"{self.folder}/{name}")

    def seal(self, counts: JSON) -> None:
        """Write `done.json`: from here on the item is finished."""
        body = {"files": self.files, "counts": counts}
        self.store.write(f"{self.folder}/done.json", canonical({"body": body, "sha256": sha256_bytes(canonical(body))}))


Function = Callable[[Store, Any, Output], JSON]  # makes an item's files and returns its counts


@dataclass
class Steps:
    """Runs steps against one store. `workers` 0 works in this process; else on Ray, at most so many items at once."""

    store: Store
    folder: str
    workers: int
    seconds: dict[str, float] = field(default_factory=dict)  # by step: wall-clock
    made: dict[str, int] = field(default_factory=dict)  # by step: items that were worked on now; the others were found finished
    used: dict[str, set[str]] = field(default_factory=dict)  # by step: folders of the items that were asked for
    gpus: float = 0.0  # of each item, on Ray

    def run(self, step: str, function: Function, items: list[Item], code: str, unit: str = "items") -> list[Done]:
        """Return the results of all items, in order; an item's exception stops the step, and finished items stay finished."""
        begun = time.monotonic()
        folders = [f"{self.folder}/{step}/{digest_of({'key': item.key, 'code': code})[:24]}" for item in items]
        self.used.setdefault(step, set()).update(folders)
        with ThreadPoolExecutor(LOOK_UPS_AT_ONCE) as threads:
            looked_up = threads.map(lambda folder: read_done(self.store, folder), folders)
            found = {place: done for place, done in enumerate(looked_up) if done is not None}
        missing = [place for place in range(len(items)) if place not in found]
        missing.sort(key=lambda place: -items[place].weight)  # the largest first: none is left over at the end
        self.made[step] = self.made.get(step, 0) + len(missing)
        with Progress(step, sum(items[place].weight for place in missing), unit) as progress:
            work = {place: (folders[place], items[place].work) for place in missing}
            for place in self._finished(function, work):
                done = read_done(self.store, folders[place])
                if done is None:
                    raise OSError(
                        f"step {step}: {self.store.uri(folders[place])} is not there after it was written: check the artifact store"
                    )
                found[place] = done
                progress.advance(items[place].weight, f"{len(found)}/{len(items)} done")
        self.seconds[step] = self.seconds.get(step, 0.0) + time.monotonic() - begun
        return [found[place] for place in range(len(items))]

    def forget(self, keep: Collection[str]) -> None:
        """Delete the items that were asked for here, but those of the steps to keep: what they led to is sealed by now."""
        for step, folders in self.used.items():
            for folder in sorted(folders) if step not in keep else ():
                self.store.delete(folder, first="done.json")

    def _finished(self, function: Function, work: dict[int, tuple[str, Any]]) -> Iterator[int]:
        if self.workers == 0:
            for place, (folder, argument) in work.items():
                make_item(function, self.store.root, folder, argument)
                yield place
        elif work:
            from tasks.runtime.pool import finished_items

            yield from finished_items(function, self.store.root, work, self.workers, self.gpus)


def make_item(function: Function, root: str, folder: str, argument: Any) -> None:
    """Make one item and seal it, unless it is sealed: a worker may have died after that, and before it was known.

    A damaged input is made known; nothing half-written is ever sealed.
    """
    store = open_store(root)
    if read_done(store, folder) is not None:
        return
    output = Output(store, folder)
    try:
        output.seal(function(store, argument, output))
    finally:
        shutil.rmtree(output.scratch, ignore_errors=True)


def read_done(store: Store, folder: str) -> Done | None:
    """Return a finished item, or None if it has to be made (again): not there, or torn."""
    try:
        record = orjson.loads(store.read(f"{folder}/done.json"))
        body = record["body"]
        if sha256_bytes(canonical(body)) != record["sha256"]:
            return None
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return Done(folder, body["files"], body["counts"])


def first_fault(error: BaseException) -> BaseException:
    """Return the BadInput inside an error that a worker passed on, or the error itself."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, BadInput):
            return seen
        seen = getattr(seen, "cause", None) or seen.__cause__
    return error
