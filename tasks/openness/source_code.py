"""The project's checkout to one archive: the source code that made a release, as it was when it was made.

In a git checkout these are the tracked files as they lie there; outside of one, the project's packages. Names are sorted and times are
zero, so that equal sources make equal archives.
"""

import gzip
import subprocess
import tarfile
from pathlib import Path

SOURCE = "reynard/source.tar.gz"  # in a released folder
PACKAGES = ("recipes", "workflows", "tasks", "reynard", "infra")


def write_archive(root: Path, target: Path) -> int:
    """Write the archive of the project at `root`; return the number of its files."""
    names = source_files(root)
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        open(target, "wb") as raw,
        gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in names:
            path = root / name
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = path.stat().st_size, 0o755 if path.stat().st_mode & 0o100 else 0o644
            with open(path, "rb") as file:
                archive.addfile(entry, file)
    return len(names)


def source_files(root: Path) -> list[str]:
    """Return the sorted paths of the project's source files."""
    if (root / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout.decode().split("\0")
        return sorted(name for name in listed if name and (root / name).is_file() and not (root / name).is_symlink())
    found = [path for package in PACKAGES for path in (root / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return sorted(path.relative_to(root).as_posix() for path in found)


def members(archive: Path) -> set[str]:
    """Return the paths in an archive; none if it is not there."""
    if not archive.is_file():
        return set()
    with tarfile.open(archive) as opened:
        return set(opened.getnames())
