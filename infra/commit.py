"""The commit that is deployed: what git says of this project."""

import subprocess
from pathlib import Path

from recipes.errors import BadInput

ROOT = Path(__file__).resolve().parents[1]


def git(*arguments: str) -> str:
    """Return what git says of this project; BadInput if it says nothing."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        raise BadInput("git is not installed: a deployment is of a commit, which git names") from None
    if done.returncode:
        raise BadInput(
            f"`git {' '.join(arguments)}` failed ({done.stderr.strip()}): a deployment is of a commit, so it needs the repository"
        )
    return done.stdout.rstrip()


def head() -> str:
    """Return the commit that is checked out."""
    return git("rev-parse", "HEAD")


def uncommitted() -> str:
    """Return the sentence that refuses a tree which is not its commit, empty if it is."""
    changed = git("status", "--porcelain").splitlines()
    few = ", ".join(line[3:] for line in changed[:3]) + (", ..." if len(changed) > 3 else "")
    return f"{len(changed)} files are not as committed ({few}): commit them, since the version is the commit" if changed else ""
