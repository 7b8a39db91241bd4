"""A released model, its artifacts and its raw sources to the proof that every byte is as it was sealed, or to what is not.

Nothing is taken on trust: every file is read again and hashed, manifests are held against `_SUCCESS`, digests and versions are computed
anew from what the manifests list, and every parent's digest is held against the parent itself. What is not at hand (a raw file that is
gone, an address elsewhere that does not answer) is said. Files are read by several threads; hashing leaves the interpreter's lock free.
"""

import hashlib
import os
import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks.artifacts.manifest import JSON, FileEntry, Manifest, content_digest, digest_of
from tasks.artifacts.store import Store, sha256_bytes, sha256_file
from tasks.lineage.graph import label_of, parents_of, place_of, recorded_parents
from tasks.openness.checksums import SUMS, read_sums
from tasks.sources.files import fingerprint, locate

PIECE_BYTES = 1 << 22
OWN_FILES = ("manifest.json", "_SUCCESS")
DAMAGED, UNSEALED, ABSENT = "damaged", "not sealed", "not at hand"


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was sealed, or that could not be looked at: of which artifact, which file, and what."""

    kind: str  # DAMAGED, UNSEALED or ABSENT
    artifact: str
    file: str
    said: str


Check = tuple[int, Callable[[], Finding | None]]  # the bytes that it reads, and what it finds


def run_checks(checks: list[Check], advance: Callable[[float], None], threads: int | None = None) -> list[Finding]:
    """Do checks on several threads, and tell `advance` how many bytes each has read; return what was found, in the checks' order."""
    found = []
    with ThreadPoolExecutor(threads or min(16, 2 * (os.cpu_count() or 1))) as pool:
        for (size, _), finding in zip(checks, pool.map(lambda check: check[1](), checks), strict=True):
            advance(size)
            if finding:
                found.append(finding)
    return found


# --- artifacts in a store ----------------------------------------------------------------------------------------------------


@dataclass
class Walk:
    """An artifact and its ancestors as they lie in a store: the manifests that can be read, what is wrong with them, files to be hashed."""

    store: Store
    manifests: dict[str, Manifest]
    findings: list[Finding]
    sealed: dict[str, Manifest] = field(default_factory=dict)  # those that are what _SUCCESS says

    @classmethod
    def of(cls, store: Store, roots: list[str]) -> "Walk":
        """Read the manifests from some artifacts back to their raw sources, and check all that needs no other file."""
        walk, pending, seen = cls(store, {}, []), list(roots), set()
        while pending:
            place = pending.pop(0)
            if place not in seen:
                seen.add(place)
                if manifest := walk._read(place):
                    walk.manifests[place] = manifest
                    pending += parents_of(manifest).values()
        for manifest in walk.manifests.values():
            walk._check_parents(manifest)
        return walk

    def _say(self, artifact: str, file: str, said: str, kind: str = DAMAGED) -> None:
        self.findings.append(Finding(kind, artifact, file, said))

    def _read(self, place: str) -> Manifest | None:
        try:
            data, seal = self.store.read(f"{place}/manifest.json"), self.store.read(f"{place}/_SUCCESS").decode(errors="replace").strip()
        except FileNotFoundError as error:
            self._say(
                place,
                str(error.filename or error).rsplit("/", 1)[-1],
                "is gone: the artifact was deleted, or lies in another store",
                ABSENT,
            )
            return None
        if sha256_bytes(data) != seal:
            self._say(
                place, "manifest.json", f"its sha256 is {sha256_bytes(data)[:16]}, _SUCCESS says {seal[:16]!r}: one of the two was altered"
            )
        try:
            manifest = Manifest.model_validate_json(data)
        except ValidationError:
            self._say(place, "manifest.json", "cannot be read: what the artifact was made from is not followed any further")
            return None
        if sha256_bytes(data) == seal:
            self.sealed[place] = manifest
        self._check_manifest(place, manifest)
        return manifest

    def _check_manifest(self, place: str, manifest: Manifest) -> None:
        """Compute what a manifest says of itself anew."""
        name = label_of(manifest)
        identity = {key: value for key, value in manifest.identity.items() if key != "parent_artifacts"}
        if place_of(manifest) != place or digest_of(identity)[:16] != manifest.version:
            self._say(name, "manifest.json", f"lies at {place}, and what decided it gives {manifest.kind}/{digest_of(identity)[:16]}")
        if (digest := content_digest(manifest.kind, manifest.files, manifest.counts)) != manifest.digest:
            self._say(name, "manifest.json", f"its files and counts give digest {digest[:16]}, it says {manifest.digest[:16]}")
        listed = {entry.path for entry in [*manifest.files, *manifest.records]} | set(OWN_FILES)
        for key in self.store.list(place):
            if (path := key.removeprefix(f"{place}/")) not in listed:
                self._say(name, path, "lies in the artifact's folder, and its manifest does not list it", UNSEALED)

    def _check_parents(self, manifest: Manifest) -> None:
        """Hold the digests of parents that decided an artifact against the parents themselves."""
        roles = parents_of(manifest)
        for role, digest in recorded_parents(manifest).items():
            parent = self.manifests.get(roles.get(role, ""))
            if parent is not None and parent.digest != digest:
                self._say(
                    label_of(manifest),
                    "manifest.json",
                    f"was made from a {role} with digest {digest[:16]}, {label_of(parent)} has {parent.digest[:16]}",
                )

    def checks(self) -> list[Check]:
        """Return the checks of all files of all artifacts, records included."""
        return [
            (entry.bytes, lambda place=place, one=one, entry=entry: self._check_file(place, label_of(one), entry))
            for place, one in self.manifests.items() for entry in [*one.files, *one.records]
        ]  # fmt: skip

    def _check_file(self, place: str, name: str, entry: FileEntry) -> Finding | None:
        try:
            size, digest = hashed(self.store, f"{place}/{entry.path}")
        except FileNotFoundError:
            return Finding(DAMAGED, name, entry.path, "is gone, and the manifest lists it")
        except OSError as error:
            return Finding(ABSENT, name, entry.path, f"cannot be read: {error}")
        return _compared(name, entry, size, digest)


def hashed(store: Store, key: str) -> tuple[int, str]:
    """Return an object's size and sha256, read piece by piece; FileNotFoundError if it is not there."""
    uri, total, size = store.uri(key), hashlib.sha256(), 0
    with open(uri, "rb") if store.is_local else store.files.open(uri, "rb") as stream:
        while piece := stream.read(PIECE_BYTES):
            total.update(piece)
            size += len(piece)
    return size, total.hexdigest()


def _compared(name: str, entry: FileEntry, size: int, digest: str) -> Finding | None:
    if (size, digest) == (entry.bytes, entry.sha256):
        return None
    sizes = f", and {size:,} bytes instead of {entry.bytes:,}" if size != entry.bytes else ""
    return Finding(DAMAGED, name, entry.path, f"has sha256 {digest[:16]}, sealed was {entry.sha256[:16]}{sizes}")


# --- a released folder -------------------------------------------------------------------------------------------------------


def folder_checks(folder: Path, entries: list[FileEntry], allowed: tuple[str, ...] = ()) -> tuple[list[Check], list[Finding]]:
    """Return the checks of a released folder's files against what was sealed (paths within it), and the files that were not sealed.

    `allowed` are files that may be there besides; hidden ones, such as a download's own, are left alone.
    """
    listed = {entry.path for entry in entries} | set(allowed)
    extra = [
        Finding(UNSEALED, str(folder), path.relative_to(folder).as_posix(), "was not released with the rest")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.relative_to(folder).as_posix() not in listed
        and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    ]

    def check(entry: FileEntry) -> Finding | None:
        path = folder / entry.path
        if not path.is_file():
            return Finding(DAMAGED, str(folder), entry.path, "is gone, and was released")
        return _compared(str(folder), entry, path.stat().st_size, sha256_file(path))

    return [(entry.bytes, lambda entry=entry: check(entry)) for entry in entries], extra


def check_sums(folder: Path, records: tuple[str, ...] = (), allowed: tuple[str, ...] = ()) -> tuple[list[Check], list[Finding]]:
    """Return the checks of a folder against its own SHA256SUMS, for when no store is at hand; BadInput if these cannot be read.

    `records` differ between equal releases, and no sum is kept of them: that they could not be checked is said.
    """
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    entries = [FileEntry(path=name, bytes=sizes.get(name, 0), sha256=digest) for name, digest in read_sums(folder).items()]
    checks, extra = folder_checks(folder, entries, (SUMS, *records, *allowed))
    said = "is a record, of which SHA256SUMS keeps no sum: its store or a signature proves it"
    return checks, extra + [Finding(ABSENT, str(folder), name, said) for name in records if name in sizes]


def told_findings(manifests: dict[str, Manifest]) -> list[Finding]:
    """Compute anew what manifests that came with a folder say of themselves and of each other."""
    walk = Walk(_Empty(), manifests, [])  # type: ignore[arg-type]
    for place, manifest in manifests.items():
        walk._check_manifest(place, manifest)
    for manifest in manifests.values():
        walk._check_parents(manifest)
    return walk.findings


class _Empty:
    """A store that holds no file."""

    def list(self, prefix: str) -> list[str]:
        return []


# --- raw sources -------------------------------------------------------------------------------------------------------------


def raw_checks(manifests: dict[str, Manifest]) -> list[Check]:
    """Return the checks of all raw files that undamaged manifests pin: read again from where they were, if they are there."""
    return [
        (int(place["bytes"]), lambda one=one, source=source, place=place: _check_raw(label_of(one), source, place))
        for one in manifests.values() if one.kind == "raw"
        for source, places in (one.details.get("places") or {}).items() for place in places
    ]  # fmt: skip


def _check_raw(name: str, source: str, place: dict[str, Any]) -> Finding | None:
    address = place["address"]
    named = f"{source}: {address}"
    if not place["mark"].startswith(("sha256:", "etag:")):
        return Finding(ABSENT, name, named, f"is pinned by {place['mark'][:48]}: the Hub vouches for it, no byte of it is here")
    try:
        size, mark = _folder_mark(address) if Path(address).is_dir() else fingerprint(locate(address, f"source {source!r}"))
    except Exception as error:  # a package that is gone, a server that does not answer, a file that was deleted
        why = "it is gone" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {str(error)[:120]}"
        return Finding(ABSENT, name, named, f"cannot be compared: {why}")
    if mark == place["mark"]:
        return None
    return Finding(DAMAGED, name, named, f"is {mark[:23]} of {size:,} bytes, pinned was {place['mark'][:23]} of {place['bytes']:,}")


def _folder_mark(address: str) -> tuple[int, str]:
    """Take the mark of a data set that is a local folder, as it was pinned."""
    from recipes.curation import Source
    from tasks.sources.hub_datasets import pin_dataset

    return pin_dataset(Source.model_construct(name=address, location=shlex.quote(address), revision=None))


def counted(findings: list[Finding]) -> JSON:
    """Count findings by kind."""
    return {kind: sum(one.kind == kind for one in findings) for kind in (DAMAGED, UNSEALED, ABSENT)}
