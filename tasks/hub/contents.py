"""A released folder, or files of a store, to what one revision of a repository shall hold: paths, sizes, sums, and where the bytes are."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from recipes.errors import BadInput
from tasks.artifacts.manifest import FileEntry, Manifest
from tasks.artifacts.store import Store, sha256_bytes, sha256_file
from tasks.openness.checksums import SUMS, read_sums


@dataclass(frozen=True)
class Item:
    """A file of a repository. `fetch` gives its bytes, or a local path that holds them, and is called only for what is uploaded."""

    path: str
    bytes: int
    sha256: str
    fetch: Callable[[], Path | bytes] = field(repr=False)
    is_record: bool = False  # may differ between equal releases: timings, the environment, a signature

    def git_sha1(self) -> str:
        """Return the name that git gives to a file that is no LFS object."""
        data = self.fetch()
        data = data if isinstance(data, bytes) else data.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Revision:
    """All files of one revision: the head of a branch, and the tag that it gets, if any. The account is decided when it is published."""

    repository: str
    kind: Literal["model", "dataset"]
    branch: str
    tag: str  # empty: the branch itself is what is published, and never changes
    title: str
    items: list[Item]

    @property
    def label(self) -> str:
        """Return the repository and the name under which the revision is found for good."""
        return f"{self.repository}@{self.tag or self.branch}"

    @property
    def bytes(self) -> int:
        """Return the size of all files."""
        return sum(item.bytes for item in self.items)


def text_item(path: str, text: str) -> Item:
    """Make a file of a text."""
    data = text.encode()
    return Item(path, len(data), sha256_bytes(data), lambda: data)


def manifest_items(store: Store, manifest: Manifest, prefix: str, into: str = "") -> list[Item]:
    """Return an artifact's files below a prefix, put below another; they are checked against their sums when they are fetched."""

    def item(entry: FileEntry, is_record: bool) -> Item:
        key = f"{manifest.kind}/{manifest.version}/{entry.path}"
        fetch = partial(store.local_copy, key, entry.sha256)
        return Item(into + entry.path.removeprefix(prefix), entry.bytes, entry.sha256, fetch, is_record)

    files = [item(entry, False) for entry in manifest.files if entry.path.startswith(prefix)]
    return files + [item(entry, True) for entry in manifest.records if entry.path.startswith(prefix)]


def folder_items(folder: Path) -> list[Item]:
    """Return a released folder's files; BadInput if it is none, leads out of itself, or was altered since its sums were written.

    What `SHA256SUMS` lists is the release; a file beside it (the environment's bill of materials, a signature) is a record.
    """
    if not (folder / SUMS).is_file():
        raise BadInput(f"{folder} has no {SUMS}: give a folder that a release laid down, such as runs/latest/release/base")
    sums = read_sums(folder)
    items = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise BadInput(f"{folder}/{name} is a link, which may lead out of the folder: put the file in its place")
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            raise BadInput(f"{folder}/{name} is hidden, and a released folder has no such file: remove it")
        if path.is_file():
            items.append(Item(name, path.stat().st_size, sha256_file(path), lambda path=path: path, name not in sums and name != SUMS))
    altered = [item.path for item in items if sums.get(item.path, item.sha256) != item.sha256]
    altered += sorted(sums.keys() - {item.path for item in items})
    if altered:
        raise BadInput(
            f"{folder} is not what was released: {', '.join(altered)} differs from {SUMS}; release the model again, and publish that"
        )
    return items
