"""What a task made, to a manifest that proves it: files with sha256, counts, and the identity that decided the content.

Layout of an artifact: `<kind>/<version>/...files`, then `manifest.json`, then `_SUCCESS` holding the manifest's sha256. A
reader trusts only what `_SUCCESS` covers.

- The *identity* decides content before it is made: kind, recipe section, code of the stage, parents' digests. Its hash is the
  artifact's version and the cache key. Paths, hardware, worker counts and logging are not in it.
- The *digest* is what was made: kind, files and counts. Equal digests mean equal bytes, whoever made them.
"""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.artifacts.store import Store, sha256_bytes

JSON = dict[str, Any]


def canonical(value: object) -> bytes:
    """Serialize to the one JSON text that equal values share."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(value: object) -> str:
    """Return the hex sha256 of a value's canonical JSON."""
    return hashlib.sha256(canonical(value)).hexdigest()


class FileEntry(BaseModel):
    """A file of an artifact."""

    model_config = ConfigDict(frozen=True)
    path: str
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """The record of an artifact. `recorded` holds what may differ between equal runs (times, hosts) and is not in the digest."""

    kind: str
    name: str
    version: str
    digest: str
    identity: JSON
    files: list[FileEntry]
    counts: JSON
    details: JSON
    recorded: JSON
    records: list[FileEntry]  # files that may differ between equal runs, such as journals with timings

    def file(self, path: str) -> FileEntry:
        """Return the entry of a file by its path in the artifact."""
        for entry in [*self.files, *self.records]:
            if entry.path == path:
                return entry
        raise FileNotFoundError(f"artifact {self.name}@{self.version} has no file {path!r}")

    def matching(self, prefix: str) -> list[FileEntry]:
        """Return the entries whose path begins with `prefix`."""
        return [entry for entry in self.files if entry.path.startswith(prefix)]


def content_digest(kind: str, files: list[FileEntry], counts: JSON) -> str:
    """Compute an artifact's digest from what it holds."""
    return digest_of({"kind": kind, "files": sorted([f.path, f.bytes, f.sha256] for f in files), "counts": counts})


def write_manifest(store: Store, folder: str, manifest: Manifest) -> str:
    """Write the manifest and then `_SUCCESS`; return the manifest's URI. All files must be in the store already."""
    data = canonical(manifest.model_dump())
    store.write(f"{folder}/manifest.json", data)
    store.write(f"{folder}/_SUCCESS", sha256_bytes(data).encode())
    return store.uri(f"{folder}/manifest.json")


def sealed(store: Store, kind: str) -> list[Manifest]:
    """Return the manifests of a store's finished artifacts of a kind, by version; OSError if one was altered."""
    folders = [key.removesuffix("/_SUCCESS") for key in store.list(kind) if key.endswith("/_SUCCESS") and key.count("/") == 2]
    return [manifest for folder in folders if (manifest := read_manifest(store, folder))]


def read_manifest(store: Store, folder: str) -> Manifest | None:
    """Return the manifest below a folder, or None if the artifact was never finished; OSError if it was altered since."""
    if not store.exists(f"{folder}/_SUCCESS"):
        return None
    data = store.read(f"{folder}/manifest.json")
    sealed = store.read(f"{folder}/_SUCCESS").decode().strip()
    if sha256_bytes(data) != sealed:
        raise OSError(f"{store.uri(folder)}/manifest.json was altered after it was sealed: its sha256 is not the one in _SUCCESS")
    return Manifest.model_validate_json(data)
