"""A released folder to `SHA256SUMS`, and back to what differs: the format of `sha256sum`, so that `sha256sum -c SHA256SUMS` checks it too.

It lists the files of the release. What may differ between equal releases (records: the environment's bill, the archive of the source
code, a signature) lies beside it; a signature covers that as well.
"""

import re
from collections.abc import Collection
from pathlib import Path

from recipes.errors import BadInput
from tasks.artifacts.store import sha256_file

SUMS = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def write_sums(folder: Path, records: Collection[str]) -> None:
    """Write the sums of all files of a folder but `records`, in order of their paths."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    kept = [name for name in names if name != SUMS and name not in records]
    (folder / SUMS).write_text("".join(f"{sha256_file(folder / name)}  {name}\n" for name in kept), encoding="utf-8")


def read_sums(folder: Path) -> dict[str, str]:
    """Return the sums of a folder by path; BadInput names the first line that is none."""
    sums = {}
    for number, line in enumerate((folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not (told := LINE.fullmatch(line)):
            raise BadInput(f"{folder / SUMS}, line {number}: {line[:60]!r} is no sum and path: it was cut or altered, fetch it again")
        sums[told[2]] = told[1]
    return sums


def altered(folder: Path) -> list[str]:
    """Return the files that are gone or have other bytes than the sums say."""
    sums = read_sums(folder)
    return [name for name, total in sums.items() if not (folder / name).is_file() or sha256_file(folder / name) != total]
