"""A run's name or a store's address to the artifact store that a command looks into, and what is known of the run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import typer

from recipes.errors import BadInput

if TYPE_CHECKING:
    from tasks.artifacts.store import Store
    from tasks.lineage.models import Model


@dataclass(frozen=True)
class Where:
    """A store, and the run it was asked for through: its name (empty if a store was named) and its summary, if it has finished."""

    store: "Store"
    run: str
    summary: dict[str, Any]
    is_own: bool  # the store lies in the run's folder: all in it was made by this run

    @property
    def versions(self) -> dict[str, str]:
        """The versions of the run's artifacts by name, as far as its summary says."""
        return self.summary.get("versions", {})


def find_store(run: str, root: str) -> Where:
    """Open the store of a run (the latest, if none is named) or at a root; BadInput if there is none."""
    from tasks.artifacts.store import open_store

    if run and root:
        raise BadInput(f"--run {run} and --store {root} both say where to look: give one of them")
    if root:
        if "://" not in root and not Path(root).is_dir():
            raise BadInput(f"there is no store at {root}: give that of a run, such as runs/NAME/store or s3://bucket/prefix")
        return Where(open_store(root), "", {}, False)
    folder = Path(os.environ.get("REYNARD_RUNS", "runs")) / (run or "latest")
    if not folder.is_dir():
        raise BadInput(f"there is no run at {folder}: run `make run` first, name one by --run, or give --store")
    summary = orjson.loads(file.read_bytes()) if (file := folder / "summary.json").is_file() else {}
    own = folder.resolve() / "store"
    told = summary.get("locations", {})
    moved = told.get("run") not in (None, str(folder.resolve())) and own.is_dir()  # a copy has the store that lies in it
    place = (told.get("store") if not moved else "") or (str(own) if own.is_dir() else os.environ.get("REYNARD_STORE"))
    if not place:
        raise BadInput(f"the run {folder} does not say where its store is: give --store")
    store = open_store(place)
    return Where(store, folder.resolve().name, summary, Path(store.root) == own)


def printable(text: str) -> str:
    """Replace what could move a terminal's cursor or change its colours: foreign text is not trusted."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text)


@contextmanager
def refusing(*kinds: type[Exception]) -> Iterator[None]:
    """End the command with an error of these kinds in one line: status 2 for bad input, else 1."""
    try:
        yield
    except kinds as error:
        typer.secho(f"error: {printable(str(error))}", fg="red", err=True)
        raise typer.Exit(2 if isinstance(error, BadInput) else 1) from None


def find_traced(model: str, run: str, root: str, altered: list[str] | None = None) -> "Model":
    """Open what MODEL names: a released folder, a run, or an artifact of a store; if nothing is said, the chat model of the latest run.

    A released folder is looked up in the store of its run, else in that of the latest run, and stands for itself where none has it.
    BadInput if there is no such model, OSError if the store's manifests were altered, unless a list is given, which then names them.
    """
    from tasks.lineage.models import is_folder, open_model

    runs = Path(os.environ.get("REYNARD_RUNS", "runs"))
    if is_folder(model) and not (run or root):
        released = Path(model).resolve()
        home = released.parents[1] if released.parent.name == "release" else runs / "latest"
        known = (home / "summary.json").is_file() or (home / "store").is_dir()
        return open_model(model, find_store(str(home), "").store if known else None, altered=altered)
    if model and not (run or root) and (runs / model).is_dir():
        model, run = "", model
    where = find_store(run, root)
    return open_model(model or _last_release(where), where.store, where.run, altered)


def _last_release(where: Where) -> str:
    return f"release-chat@{where.versions['release-chat']}" if "release-chat" in where.versions else ""
