"""A released folder to `SHA256SUMS`, and back to what differs: the format of `sha256sum`, so that `sha256sum -c SHA256SUMS` checks it too.

It lists the files of the release. What may differ between equal releases (records: the environment's bill, the archive of the source
code, a signature) lies beside it; a signature covers that as well.
"""

from collections.abc import Collection
from pathlib import Path

from tasks.artifacts.store import sha256_file

SUMS = "SHA256SUMS"


def write_sums(folder: Path, records: Collection[str]) -> None:
    """Write the sums of all files of a folder but `records`, in order of their paths."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    kept = [name for name in names if name != SUMS and name not in records]
    (folder / SUMS).write_text("".join(f"{sha256_file(folder / name)}  {name}\n" for name in kept), encoding="utf-8")


def read_sums(folder: Path) -> dict[str, str]:
    """Return the sums of a folder by path."""
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    return {name: total for total, _, name in (line.partition("  ") for line in lines)}


def altered(folder: Path) -> list[str]:
    """Return the files that are gone or have other bytes than the sums say."""
    sums = read_sums(folder)
    return [name for name, total in sums.items() if not (folder / name).is_file() or sha256_file(folder / name) != total]
