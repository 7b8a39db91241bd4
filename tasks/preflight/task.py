"""A recipe to a run that may start: inputs pinned, sizes checked, tracking opened. The first task of every workflow."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from recipes.errors import BadInput
from recipes.schema import Recipe
from tasks.artifacts.handles import RawSources, RawSourcesRef, Run, RunRef
from tasks.openness.bill import unknown_in
from tasks.panels.preflight import started
from tasks.runtime.flyte import control_task, show
from tasks.runtime.interface import RunName, StoreRoot
from tasks.runtime.production import Production
from tasks.runtime.tracking import start_parent


class Started(NamedTuple):
    """A run, and what it reads."""

    run: RunRef
    documents: RawSourcesRef
    conversations: RawSourcesRef


@control_task("tasks.preflight")
def start_run(recipe: Recipe, name: RunName, store: StoreRoot) -> Started:
    """Check the whole recipe before anything is spent, open the run, and pin the raw documents and conversations."""
    from tasks.preflight.check import check_recipe, pin_chats, pin_sources

    run = _opened(recipe, name, store, check_recipe)
    documents, chats = pin_sources(recipe.curation), pin_chats(recipe)
    show("run", started(recipe, run.model_dump(), unknown_in(recipe), documents[0] | chats[0]))
    return Started(run, _pinned(run, "raw-documents", *documents), _pinned(run, "raw-conversations", *chats))


@control_task("tasks.preflight")
def open_run(recipe: Recipe, name: RunName, store: StoreRoot) -> RunRef:
    """Open the run of a workflow that works on what the store has, and reads no raw data."""
    from tasks.preflight.check import check_without_data

    run = _opened(recipe, name, store, check_without_data)
    show("run", started(recipe, run.model_dump(), unknown_in(recipe), {}))
    return run


def _opened(recipe: Recipe, name: str, store: str, check: Callable[[Recipe, str, str], None]) -> Run:
    """Open a run: an empty name means the recipe's; an empty store means REYNARD_STORE, or `runs/<name>/store`."""
    begun = time.time()
    name = name or recipe.name
    runs = Path(os.environ.get("REYNARD_RUNS", "runs")).absolute()
    folder = runs / name
    root = store or os.environ.get("REYNARD_STORE") or str(folder / "store")
    root = root if "://" in root else str(Path(root).absolute())
    profile = os.environ.get("REYNARD_PROFILE", "local")
    if "@" in os.environ.get("MLFLOW_TRACKING_URI", ""):
        raise BadInput(
            "MLFLOW_TRACKING_URI holds a user or password, which would end up in logs: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    check(recipe, profile, root)
    folder.mkdir(parents=True, exist_ok=True)
    if os.environ.get("REYNARD_LATEST") != "no":
        link_latest(runs, name)
    tracking_uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder}/mlflow.db"
    artifacts = None if os.environ.get("MLFLOW_TRACKING_URI") else (folder / "mlartifacts").as_uri()
    tags = {"recipe": recipe.name, "store": root, "profile": profile, "run": name}
    parent = start_parent(tracking_uri, name, artifacts, tags)
    run = Run(name=name, folder=str(folder), store=root, profile=profile, tracking_uri=tracking_uri, tracking_run=parent, started=begun)
    print(f"run {name}: recipe {recipe.name}, {recipe.model.parameter_count():,} parameters, store {root}", flush=True)
    for reason in unknown_in(recipe):
        print(f"! its release will be refused: {reason}", flush=True)
    return run


def _pinned(run: Run, name: str, marks: dict, places: dict) -> RawSources:
    with Production(run, "raw", name, marks, {}, "tasks.preflight") as made:
        if made.needed:
            sizes = [size for rows in marks.values() for _, size, _ in rows]
            made.add_text("marks.json", repr(marks).encode())
            made.seal({"files": len(sizes), "bytes": sum(sizes)}, {"places": places})
        return made.handle(RawSources)


def link_latest(runs: Path, name: str) -> None:
    """Point `runs/latest` to a run."""
    link = runs / f".latest-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(name, target_is_directory=True)
    os.replace(link, runs / "latest")
