"""The frame that every task runs in: find the artifact in the store, or make it, seal it, record it and say so.

    with Production(run, "documents", name, section, {"raw": raw}, "tasks.curation") as made:
        if made.needed:
            ...write files into made.scratch, made.add_file(path, "shard.jsonl.zst")...
            made.seal(counts=..., details=...)
        return made.handle(Documents)

The store is the cache: an artifact is found by its identity (kind, section, code, parents' digests) and can therefore not
outlive its data or hide a change. Flyte's own cache, which on a cluster spares even the pod, uses the same digests.
"""

import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from pydantic import BaseModel

from tasks.artifacts.handles import Handle, Run
from tasks.artifacts.manifest import JSON, FileEntry, Manifest, content_digest, digest_of, read_manifest, write_manifest
from tasks.artifacts.store import Store, open_store, sha256_file
from tasks.panels.formats import clock
from tasks.panels.links import links
from tasks.runtime.code import ROOT, code_digest
from tasks.runtime.flyte import show_links
from tasks.runtime.tracking import Tracking, end_parent

H = TypeVar("H", bound=Handle)


@lru_cache
def code_commit() -> str:
    """Return the git commit of the code, with `+changes` if the tree differs from it; outside of git what REYNARD_COMMIT says, or `unknown`."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("REYNARD_COMMIT", "unknown")  # an image says which commit it was built from
    return commit + ("+changes" if dirty.strip() else "")


def plain(section: BaseModel | JSON) -> JSON:
    """Return a section as plain JSON values."""
    return section.model_dump(mode="json") if isinstance(section, BaseModel) else section


def identity_of(kind: str, section: BaseModel | JSON, parents: dict[str, str], package: str) -> JSON:
    """Return what decides an artifact's content before it is made; `parents` are digests by role."""
    return {"kind": kind, "section": plain(section), "code": code_digest(package), "parents": parents}


def version_of(identity: JSON) -> str:
    """Return the version under which an identity is found in a store."""
    return digest_of(identity)[:16]


class Production:
    """One artifact on its way from `needed` to sealed."""

    def __init__(self, run: Run, kind: str, name: str, section: BaseModel | JSON, parents: dict[str, Handle], package: str) -> None:
        self.run, self.kind, self.name = run, kind, name
        self.store: Store = open_store(run.store)
        self.parents = parents
        self.identity = identity_of(kind, section, {role: parent.digest for role, parent in parents.items()}, package)
        self.version = version_of(self.identity)
        self.folder = f"{kind}/{self.version}"
        self.manifest: Manifest | None = None
        self.files: list[FileEntry] = []
        self.records: list[FileEntry] = []

    @property
    def label(self) -> str:
        """Name and version, as the console writes them."""
        return f"{self.name}@{self.version[:8]}"

    @property
    def needed(self) -> bool:
        """Tell whether the artifact has yet to be made."""
        return self.manifest is None

    def __enter__(self) -> "Production":
        self.begun = time.monotonic()
        self.manifest = read_manifest(self.store, self.folder)
        self.was_cached = self.manifest is not None
        parent = Path(self.store.root) / ".scratch" if self.store.is_local else None
        if parent:
            parent.mkdir(parents=True, exist_ok=True)
        self.scratch = Path(tempfile.mkdtemp(prefix=f"{self.kind}-", dir=parent))
        self.tracking = Tracking(self.run.tracking_uri, self.run.tracking_run, self.store)
        self.tracking.start_child(self.name, {"artifact": f"{self.name}@{self.version}", "cached": str(self.was_cached).lower()})
        return self

    def add_file(self, local: Path, path: str) -> None:
        """Move a finished local file into the artifact; its bytes are part of the digest."""
        self.files.append(self._store_file(local, path))

    def adopt_file(self, key: str, path: str, bytes: int, sha256: str) -> None:
        """Take an object that lies in the store already into the artifact."""
        self.store.copy(key, f"{self.folder}/{path}")
        self.files.append(FileEntry(path=path, bytes=bytes, sha256=sha256))

    def add_record(self, local: Path, path: str) -> None:
        """Move a file into the artifact that may differ between equal runs (a journal with timings); not in the digest."""
        self.records.append(self._store_file(local, path))

    def copy_file(self, local: Path, path: str) -> None:
        """Put a copy of a local file into the artifact."""
        self.add_file(Path(shutil.copyfile(local, self.scratch / "copy")), path)

    def add_text(self, path: str, data: bytes, record: bool = False) -> None:
        """Put bytes into the artifact as a file, or as a record."""
        local = self.scratch / "bytes"
        local.write_bytes(data)
        (self.add_record if record else self.add_file)(local, path)

    def journal_rows(self) -> list[dict[str, float]]:
        """Return the rows of the artifact's journal."""
        return [json.loads(line) for line in self.store.read(f"{self.folder}/journal.jsonl").splitlines()]

    def _store_file(self, local: Path, path: str) -> FileEntry:
        entry = FileEntry(path=path, bytes=local.stat().st_size, sha256=sha256_file(local))
        self.store.put(local, f"{self.folder}/{path}")
        return entry

    def seal(self, counts: JSON, details: JSON, recorded: JSON | None = None) -> None:
        """Write the manifest and `_SUCCESS`: from here on the artifact exists."""
        self.manifest = Manifest(
            kind=self.kind, name=self.name, version=self.version, digest=content_digest(self.kind, self.files, counts),
            identity=self.identity | {"parent_artifacts": {r: {"name": p.name, "version": p.version, "uri": p.uri} for r, p in self.parents.items()}},
            files=sorted(self.files, key=lambda entry: entry.path), counts=counts, details=details, records=self.records,
            recorded={
                "seconds": round(time.monotonic() - self.begun, 3), "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "commit": code_commit(), "python": platform.python_version(), "profile": self.run.profile, "run": self.run.name,
            } | self.tracking.recorded | (recorded or {}),
        )  # fmt: skip
        write_manifest(self.store, self.folder, self.manifest)

    def handle(self, cls: type[H]) -> H:
        """Return the typed handle of what was made."""
        assert self.manifest is not None, "seal() the artifact before handing it on"
        return handle_of(self.store, self.manifest, cls)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)
        failed = error is not None or self.manifest is None
        self.tracking.finish(self.folder if self.manifest else "", failed)
        if failed:
            end_parent(self.run.tracking_uri, self.run.tracking_run, {}, {"failed": self.name}, failed=True, store=self.run.store)
        if not failed:
            assert self.manifest is not None
            show_links(links(self.manifest, self.store.uri(self.folder), self.tracking.link))
            how = "cached" if self.was_cached else clock(time.monotonic() - self.begun)
            print(f"✓ {self.name}@{self.version[:8]}  {headline(self.manifest.counts)}  [{how}]", flush=True)


def headline(counts: JSON) -> str:
    """Write an artifact's counts on one line."""
    shown = {key: value for key, value in counts.items() if isinstance(value, int | float) and not isinstance(value, bool)}
    return ", ".join(
        f"{key.replace('_', ' ')} {value:,.4g}" if isinstance(value, float) else f"{key.replace('_', ' ')} {value:,}"
        for key, value in shown.items()
    )


def handle_of(store: Store, manifest: Manifest, cls: type[H]) -> H:
    """Return the typed handle of a finished artifact: its fields beyond the common ones are taken from the manifest's counts."""
    extra = {field: manifest.counts[field] for field in cls.model_fields if field not in Handle.model_fields}
    uri = store.uri(f"{manifest.kind}/{manifest.version}/manifest.json")
    return cls(name=manifest.name, version=manifest.version, uri=uri, digest=manifest.digest, **extra)


def load_manifest(run: Run, handle: Handle) -> Manifest:
    """Read the manifest behind a handle; OSError if it is gone, altered, or another artifact than the handle says."""
    store = open_store(run.store)
    manifest = read_manifest(store, store.key(handle.uri).removesuffix("/manifest.json"))
    if manifest is None:
        raise OSError(f"{handle.label} is not (or no longer) in the artifact store at {handle.uri}: run the workflow again to make it")
    if manifest.digest != handle.digest:
        raise OSError(
            f"{handle.label} at {handle.uri} has digest {manifest.digest[:12]}, the handle says {handle.digest[:12]}: refusing to use it"
        )
    return manifest


class Reader:
    """Local paths to the files of a finished artifact, fetched and verified when the store is remote."""

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self.store, self.manifest, self.folder = store, manifest, f"{manifest.kind}/{manifest.version}"

    @classmethod
    def of(cls, run: Run, handle: Handle) -> "Reader":
        """Open what a handle names; OSError if it is gone, altered, or another artifact than the handle says."""
        return cls(open_store(run.store), load_manifest(run, handle))

    def path(self, path: str) -> Path:
        """Return a local path that holds the file's bytes."""
        return self.store.local_copy(f"{self.folder}/{path}", self.manifest.file(path).sha256)

    def place(self, prefix: str, folder: Path) -> Path:
        """Copy all files below a prefix into a local folder under their own names."""
        for entry in [*self.manifest.matching(prefix), *(r for r in self.manifest.records if r.path.startswith(prefix))]:
            target = folder / entry.path.removeprefix(prefix).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.path(entry.path), target)
        return folder
