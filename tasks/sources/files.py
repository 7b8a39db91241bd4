"""A declared location to raw files that can be opened, wherever they lie.

A location is a local path or glob, `s3://bucket/key*`, `hf://...`, `package:NAME/path*` (a data file of an installed Python
package, whose code is not imported) or `stdlib:path*` (the Python standard library); several are separated by spaces
(quote one that contains a space).
"""

import glob
import gzip
import importlib.util
import io
import shlex
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import fsspec

from recipes.errors import BadInput
from tasks.artifacts.store import s3_options, sha256_file


@dataclass(frozen=True)
class RawFile:
    """A file of a source: `path` opens it, `address` names it wherever the project is installed."""

    path: str
    address: str


def find_files(location: str, wanted_by: str) -> list[RawFile]:
    """Resolve a location for `wanted_by` (named in errors); BadInput if a package is missing or a pattern matches nothing."""
    found: list[RawFile] = []
    for pattern in shlex.split(location):
        matches = _find(pattern, wanted_by)
        if not matches:
            raise BadInput(
                f"{wanted_by}: nothing matches {pattern!r}: check its location (a path or glob, s3://bucket/key*, hf://, package: or stdlib:)"
            )
        found += matches
    if not found:
        raise BadInput(f"{wanted_by} has an empty location: give a path, a glob, s3://bucket/key*, package:NAME/path or stdlib:path")
    return found


def _find(pattern: str, wanted_by: str) -> list[RawFile]:
    scheme, _, rest = pattern.partition(":")
    if scheme == "stdlib":
        return _below(Path(sysconfig.get_paths()["stdlib"]), rest, "stdlib:")
    if scheme == "package":
        package, _, inside = rest.partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise BadInput(
                f"{wanted_by}: the Python package {package!r} is not installed: run `make install`, "
                "or `pip install --no-deps -r recipes/tiny.requirements.txt`"
            )
        return _below(Path(next(iter(spec.submodule_search_locations))), inside, f"package:{package}/")
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


def _below(folder: Path, pattern: str, prefix: str) -> list[RawFile]:
    return [RawFile(str(path), prefix + path.relative_to(folder).as_posix()) for path in sorted(folder.glob(pattern)) if path.is_file()]


def open_raw(path: str) -> io.BufferedIOBase:
    """Open a raw file for reading bytes, decompressing `.gz` and `.zst`."""
    stream = _filesystem(path.partition("://")[0]).open(path, "rb") if "://" in path else open(path, "rb")  # noqa: SIM115  the caller closes it
    if path.endswith(".gz") and not path.endswith(".warc.gz"):
        return gzip.open(stream, "rb")
    if path.endswith(".zst"):
        import zstandard

        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(stream))
    return stream


def _filesystem(protocol: str) -> fsspec.AbstractFileSystem:
    return fsspec.filesystem(protocol, **(s3_options() if protocol == "s3" else {}))


def fingerprint(file: RawFile) -> tuple[int, str]:
    """Return a raw file's size and what identifies its bytes: the sha256 of a local file, the store's own checksum or ETag else."""
    if "://" not in file.path:
        return Path(file.path).stat().st_size, f"sha256:{sha256_file(file.path)}"
    info = _filesystem(file.path.partition("://")[0]).info(file.path)
    mark = info.get("ETag") or info.get("blob_id") or info.get("LastModified") or info.get("last_commit")
    return int(info.get("size") or 0), f"etag:{str(mark).strip(chr(34))}"
