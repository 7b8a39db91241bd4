"""The files of a finished run to where people find them: its folder, and beside artifacts that lie elsewhere the store too."""

from pathlib import Path

from tasks.artifacts.handles import Run
from tasks.artifacts.lineage import ancestors
from tasks.artifacts.manifest import Manifest
from tasks.artifacts.store import open_store
from tasks.lineage.graph import Graph, graph_of, place_of

FOLDER = "reports"  # of the store, by the run's name


def leave(run: Run, files: dict[str, bytes]) -> dict[str, str]:
    """Write files into the run's folder and return where each is to be found.

    A folder in a pod is gone with it: where the store is not on this machine, they are written there as well.
    """
    folder, store, places = Path(run.folder), open_store(run.store), {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
        places[name] = str(folder / name)
        if not store.is_local:
            store.write(f"{FOLDER}/{run.name}/{name}", data)
            places[name] = store.uri(f"{FOLDER}/{run.name}/{name}")
    return places


def origins_of(run: Run, releases: list[Manifest]) -> tuple[Graph, list[str]]:
    """Return the graph of all that releases were made from, and their places in it."""
    store = open_store(run.store)
    every = {place_of(one): one for release in releases for one in ancestors(store, release)}
    return graph_of(every.values()), [place_of(release) for release in releases]
