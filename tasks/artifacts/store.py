"""A root URI to a place where bytes are kept: a local folder or `s3://bucket/prefix`, behind one small interface.

A write becomes visible whole or not at all: local files are renamed into place, S3 objects are put in one request or one
completed multipart upload.
"""

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import fsspec

from recipes.errors import BadInput


def sha256_file(path: str | Path) -> str:
    """Return the hex sha256 of a local file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_bytes(data: bytes) -> str:
    """Return the hex sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


class Damaged(OSError):
    """Bytes in a store are not those that were sealed: reading them again does not help."""


FETCHED = Path(tempfile.gettempdir()) / "reynard-fetched"  # verified local copies of remote objects, named by their sha256


class Store:
    """Objects under `root`, named by relative keys with forward slashes."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        self.is_local = "://" not in root
        if self.is_local:
            self.root = str(Path(root).absolute())
        elif not root.startswith("s3://"):
            raise BadInput(f"artifact store {root!r}: use a local folder or s3://bucket/prefix")
        else:
            self.files = Answering(fsspec.filesystem("s3", use_listings_cache=False, **s3_options()))

    def uri(self, key: str) -> str:
        """Return the full address of a key."""
        return f"{self.root}/{key}"

    def key(self, uri: str) -> str:
        """Return the key of an address in this store; ValueError for an address elsewhere."""
        if not uri.startswith(self.root + "/"):
            raise ValueError(f"{uri} is not in the artifact store {self.root}")
        return uri[len(self.root) + 1 :]

    def exists(self, key: str) -> bool:
        """Tell whether an object is there (folders do not count); OSError if the store does not answer."""
        if self.is_local:
            return Path(self.uri(key)).is_file()
        try:
            return self.files.info(self.uri(key))["type"] == "file"
        except FileNotFoundError:
            return False

    def read(self, key: str) -> bytes:
        """Return an object's bytes; FileNotFoundError if it is not there."""
        return Path(self.uri(key)).read_bytes() if self.is_local else self.files.cat_file(self.uri(key))

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Return the bytes [start, end) of an object."""
        if not self.is_local:
            return self.files.cat_file(self.uri(key), start=start, end=end)
        with open(self.uri(key), "rb") as file:
            file.seek(start)
            return file.read(end - start)

    def write(self, key: str, data: bytes) -> None:
        """Write an object whole."""
        if not self.is_local:
            self.files.pipe_file(self.uri(key), data)
            return
        target = Path(self.uri(key))
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        scratch.write_bytes(data)
        os.replace(scratch, target)

    def put(self, local: Path, key: str) -> None:
        """Move a local file into the store."""
        if not self.is_local:
            self.files.put_file(str(local), self.uri(key))
            local.unlink()
            return
        target = Path(self.uri(key))
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        shutil.move(local, scratch)
        os.replace(scratch, target)

    def copy(self, key: str, target: str) -> None:
        """Let a finished object be found under a second key as well: on a disk without using space twice."""
        if not self.is_local:
            self.files.copy(self.uri(key), self.uri(target))
            return
        path = Path(self.uri(target))
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            os.link(self.uri(key), scratch)
        except OSError:  # a disk without hard links
            shutil.copyfile(self.uri(key), scratch)
        os.replace(scratch, path)

    def list(self, prefix: str) -> list[str]:
        """Return the sorted keys below a prefix: of objects, not of the empty ones that stand for folders in some stores."""
        if self.is_local:
            folder = Path(self.uri(prefix))
            found = [str(path) for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
            return sorted(path[len(self.root) + 1 :] for path in found)
        start = self.root.removeprefix("s3://")
        found = self.files.find(self.uri(prefix), detail=True)
        return sorted(path[len(start) + 1 :] for path, facts in found.items() if facts["type"] == "file" and not path.endswith("/"))

    def remove(self, key: str) -> None:
        """Remove an object, if it is there."""
        if self.is_local:
            Path(self.uri(key)).unlink(missing_ok=True)
        elif self.exists(key):
            self.files.rm_file(self.uri(key))

    def delete(self, prefix: str, first: str = "_SUCCESS") -> None:
        """Remove everything below a prefix; the file that vouches for the others goes first, so that no reader trusts what is half removed."""
        for key in sorted(self.list(prefix), key=lambda key: not key.endswith(first)):
            if self.is_local:
                Path(self.uri(key)).unlink(missing_ok=True)
            else:
                self.files.rm_file(self.uri(key))

    def local_copy(self, key: str, sha256: str, cache: Path = FETCHED) -> Path:
        """Return a local path that holds an object, fetched into `cache` once and checked against its sha256."""
        if self.is_local:
            return _verified(Path(self.uri(key)), sha256)
        target = cache / sha256
        if not target.exists():
            cache.mkdir(parents=True, exist_ok=True)
            scratch = cache / f".{sha256}.{uuid.uuid4().hex}"
            self.files.get_file(self.uri(key), str(scratch))
            if (found := sha256_file(scratch)) != sha256:
                scratch.unlink()
                raise Damaged(f"{self.uri(key)} holds bytes with sha256 {found}, its manifest says {sha256}: the object is damaged")
            os.replace(scratch, target)
        return target


class Answering:
    """A filesystem elsewhere whose every failure is an OSError: also, unlike in fsspec, that of a server which is not there."""

    def __init__(self, files: fsspec.AbstractFileSystem) -> None:
        self.files = files

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self.files, name)

        def told(*arguments: object, **options: object) -> object:
            try:
                return call(*arguments, **options)
            except OSError:
                raise
            except Exception as error:
                raise OSError(f"{type(error).__name__}: {error}") from error

        return told


_seen: set[tuple[str, int, int, str]] = set()


def _verified(path: Path, sha256: str) -> Path:
    """Return a path whose bytes have a sha256: read once for every state of the file; OSError if they have another."""
    state = path.stat()
    mark = (str(path), state.st_mtime_ns, state.st_size, sha256)
    if mark not in _seen:
        if (found := sha256_file(path)) != sha256:
            raise Damaged(f"{path} holds bytes with sha256 {found}, its manifest says {sha256}: the file was changed or damaged")
        _seen.add(mark)
    return path


def s3_options() -> dict[str, object]:
    """Read the endpoint from the usual AWS variables; keys and region are found by botocore itself."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return {"endpoint_url": endpoint} if endpoint else {}


@lru_cache
def open_store(root: str) -> Store:
    """Open the store at a root URI (one per process and root)."""
    return Store(root)
