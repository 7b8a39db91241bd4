"""A declared location to raw files that can be opened, wherever they lie.

A location is a local path or glob, `s3://bucket/key*`, `hf://...`, `package:NAME/path*` (a data file of an installed Python
package, whose code is not imported) or `stdlib:path*` (the Python standard library); several are separated by spaces
(quote one that contains a space).
"""

import glob
import importlib.util
import io
import shlex
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from recipes.errors import BadInput
from tasks.artifacts.store import s3_options, sha256_file

BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class RawFile:
    """A file of a source: `path` opens it, `address` names it wherever the project is installed."""

    path: str
    address: str


def find_files(location: str, wanted_by: str, revision: str | None = None) -> list[RawFile]:
    """Resolve a location for `wanted_by` (named in errors); BadInput if a package is missing or a pattern matches nothing.

    `revision` (a commit, branch or tag) is that of the repositories of `hf://` patterns; other patterns have none.
    """
    found: list[RawFile] = []
    for pattern in shlex.split(location):
        matches = _find(_at_revision(pattern, revision, wanted_by), wanted_by)
        if not matches:
            raise BadInput(
                f"{wanted_by}: nothing matches {pattern!r}: check its location (a path or glob, s3://bucket/key*, hf://, package: or stdlib:)"
            )
        known = {file.address for file in found}
        found += [file for file in matches if file.address not in known]  # a file that two patterns match is read once
    if not found:
        raise BadInput(f"{wanted_by} has an empty location: give a path, a glob, s3://bucket/key*, package:NAME/path or stdlib:path")
    return found


def _at_revision(pattern: str, revision: str | None, wanted_by: str) -> str:
    """Write a revision into the address of a repository of the hub: `hf://datasets/org/name@revision/path`."""
    if revision is None or not pattern.startswith("hf://"):
        return pattern
    parts = pattern.removeprefix("hf://").split("/")
    name = 2 if parts[0] in ("datasets", "spaces") else 1  # hf://datasets/org/name/path, hf://org/name/path (a model)
    if len(parts) <= name + 1:
        raise BadInput(f"{wanted_by}: {pattern!r} names no file: write hf://datasets/org/name/path*, with the revision in its own field")
    if "@" in parts[name]:
        raise BadInput(f"{wanted_by}: {pattern!r} names a revision, and the field `revision` does too ({revision!r}): keep the field")
    parts[name] += "@" + revision.replace("/", "%2F")
    return "hf://" + "/".join(parts)


def _find(pattern: str, wanted_by: str) -> list[RawFile]:
    scheme, _, rest = pattern.partition(":")
    if scheme == "stdlib":
        return _below(_stdlib(), rest, "stdlib:")
    if scheme == "package":
        package, _, inside = rest.partition("/")
        return _below(_package(package, wanted_by), inside, f"package:{package}/")
    if "://" in pattern:
        protocol = pattern.partition("://")[0]
        try:
            paths = sorted(path for path in _filesystem(protocol).glob(pattern) if not path.endswith("/"))
        except Exception as error:
            raise BadInput(
                f"{wanted_by}: {pattern!r} cannot be listed ({type(error).__name__}: {str(error)[:120]}): check the address, the network and your credentials"
            ) from None
        return [RawFile(f"{protocol}://{path}", f"{protocol}://{path}") for path in paths]
    return [RawFile(path, path) for path in sorted(glob.glob(pattern, recursive=True)) if Path(path).is_file()]


def locate(address: str, wanted_by: str) -> RawFile:
    """Return the file that a `RawFile.address` names; nothing is matched, opening it says whether it is there."""
    scheme, _, rest = address.partition(":")
    if scheme == "stdlib":
        return RawFile(str(_stdlib() / rest), address)
    if scheme == "package":
        package, _, inside = rest.partition("/")
        return RawFile(str(_package(package, wanted_by) / inside), address)
    return RawFile(address, address)


def _stdlib() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def _package(package: str, wanted_by: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise BadInput(
            f"{wanted_by}: the Python package {package!r} is not installed: run `make install`, "
            "or `pip install --no-deps -r recipes/tiny.requirements.txt`"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _below(folder: Path, pattern: str, prefix: str) -> list[RawFile]:
    return [RawFile(str(path), prefix + path.relative_to(folder).as_posix()) for path in sorted(folder.glob(pattern)) if path.is_file()]


def is_compressed(path: str) -> bool:
    """Tell whether `open_raw` decompresses a file: `.gz` and `.zst`, but WARC files, whose members have addresses of their own."""
    return path.endswith((".gz", ".zst")) and not path.endswith(".warc.gz")


def open_raw(path: str) -> io.BufferedIOBase:
    """Open a raw file for reading bytes, decompressing `.gz` and `.zst` in bounded memory.

    Reading raises DamagedFile where compressed bytes are torn; whatever else it raises comes from where the file lies.
    """
    if "://" in path:
        stream = io.BufferedReader(_filesystem(path.partition("://")[0]).open(path, "rb"), BUFFER_BYTES)
    else:
        stream = open(path, "rb", buffering=BUFFER_BYTES)  # noqa: SIM115  the caller closes it
    if is_compressed(path):
        from tasks.sources.compression import decompressed

        return decompressed(stream, path[path.rfind(".") :])
    return stream


class Watched(io.RawIOBase):
    """A stream that remembers what its place of storage raised.

    Parsers of compressed formats report damaged bytes and a lost connection alike; `check` tells them apart: damage is counted,
    a lost connection must be tried again.
    """

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream
        self._raised: Exception | None = None

    def check(self) -> None:
        """Raise what reading raised, if it did."""
        if self._raised is not None:
            raise self._raised

    def readinto(self, target: Any) -> int:
        """Read into a buffer; return the number of bytes."""
        try:
            return self._stream.readinto(target)
        except Exception as error:
            self._raised = error
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to an offset."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Return the offset."""
        return self._stream.tell()

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell whether it can be moved in."""
        return self._stream.seekable()

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()
        super().close()


def _filesystem(protocol: str) -> fsspec.AbstractFileSystem:
    return fsspec.filesystem(protocol, **(s3_options() if protocol == "s3" else {}))


def fingerprint(file: RawFile) -> tuple[int, str]:
    """Return a raw file's size and what identifies its bytes: the sha256 of a local file, the store's own checksum or ETag else."""
    if "://" not in file.path:
        return Path(file.path).stat().st_size, f"sha256:{sha256_file(file.path)}"
    info = _filesystem(file.path.partition("://")[0]).info(file.path)
    mark = info.get("ETag") or info.get("blob_id") or info.get("LastModified") or info.get("last_commit")
    return int(info.get("size") or 0), f"etag:{str(mark).strip(chr(34))}"
