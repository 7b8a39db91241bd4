"""What a person calls a model (a released folder, a label, a digest) to its manifests, in a store or from the folder alone."""

from dataclasses import dataclass
from pathlib import Path

import orjson

from recipes.errors import BadInput
from tasks.artifacts.manifest import Manifest
from tasks.artifacts.store import Store, sha256_file
from tasks.lineage.graph import Graph, graph_of, label_of, place_of, store_graph

LINEAGE, RECIPE, RECORDED = "reynard/lineage.json", "reynard/recipe.yaml", "reynard/recorded.json"


@dataclass(frozen=True)
class Model:
    """Something to trace. From a folder alone there is no store, and the roots are what the release was made from."""

    graph: Graph  # of the whole store, or of all that the folder names
    roots: list[str]  # places of what was asked for
    store: Store | None
    folder: Path | None

    @property
    def title(self) -> str:
        """What it is called."""
        if self.store is None and self.folder is not None:
            return self.folder.name
        return ", ".join(label_of(self.graph.manifests[place]) for place in self.roots)


def is_folder(wanted: str) -> bool:
    """Tell whether a model is named by a released folder."""
    return bool(wanted) and Path(wanted).is_dir() and ((Path(wanted) / LINEAGE).is_file() or any(Path(wanted).glob("*.safetensors")))


def open_model(wanted: str, store: Store | None, run: str = "", altered: list[str] | None = None) -> Model:
    """Find what is meant: a released folder, `name@version`, `kind/version`, a version or a digest (its first 8 digits), or, if nothing
    is said, the newest chat model (of a run). BadInput if there is none or several; `altered` as in `store_graph`."""
    if is_folder(wanted):
        return _from_folder(Path(wanted), store, altered)
    if store is None:
        raise BadInput(f"{wanted!r} is no released folder, and there is no store to look into: give --run or --store")
    graph = store_graph(store, altered)
    root = find_artifact(graph, wanted, store.root) if wanted else _newest(graph, run, store.root)
    return Model(graph, [root], store, None)


def find_artifact(graph: Graph, wanted: str, where: str) -> str:
    """Return the place of the one artifact that is meant; of several with one name the newest; BadInput if there is none, or several."""
    name, _, version = wanted.rpartition("@")
    hexadecimal = len(wanted) >= 8 and set(wanted) <= set("0123456789abcdef")
    found = [
        (place, one) for place, one in graph.manifests.items()
        if place == wanted or (name and one.name == name and version and one.version.startswith(version)) or one.name == wanted
        or (hexadecimal and (one.digest.startswith(wanted) or one.version.startswith(wanted)))
    ]  # fmt: skip
    if not found:
        raise BadInput(
            f"{where} has no finished artifact {wanted!r}: give a released folder, `name@version`, or the first 8 or more digits of a digest"
        )
    if len({one.name for _, one in found}) > 1:
        raise BadInput(
            f"{wanted!r} is the beginning of several: {', '.join(sorted(label_of(one) for _, one in found)[:6])}: give more of it"
        )
    return max(found, key=lambda pair: (str(pair[1].recorded.get("finished", "")), pair[0]))[0]


def _newest(graph: Graph, run: str, where: str) -> str:
    """Return the place of the newest model of a run, or of all: a release if there is one, else the last checkpoint."""
    trained = [(place, one) for place, one in graph.manifests.items() if one.kind in ("release", "checkpoint")]
    own = [pair for pair in trained if pair[1].recorded.get("run") == run] or trained
    if not own:
        raise BadInput(f"{where} holds no finished checkpoint: let the run finish a stage of pre-training first")
    releases = [pair for pair in own if pair[1].kind == "release"]
    return max(releases or own, key=lambda pair: (str(pair[1].recorded.get("finished", "")), pair[1].name))[0]


def _from_folder(folder: Path, store: Store | None, altered: list[str] | None) -> Model:
    if store is not None:
        graph = store_graph(store, altered)
        if root := release_of(graph, folder):
            return Model(graph, [root], store, folder)
    if not (folder / LINEAGE).is_file():
        where = f"no release in {store.root} has its weights" if store else "no store was found"
        raise BadInput(f"{folder} has no {LINEAGE}, and {where}: give the store that released it (--store)")
    told, manifests = read_lineage(folder)
    graph = graph_of(manifests)
    roots = [place for place in told if place in graph.manifests]
    return Model(graph, roots, None, folder)


def release_of(graph: Graph, folder: Path) -> str | None:
    """Return the place of the release that a folder was laid down from: that with its weights and most of its other files."""
    sums = {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.is_file()}
    weights = {name: digest for name, digest in sums.items() if name.endswith(".safetensors")}
    alike = []
    for place, one in graph.manifests.items():
        if one.kind == "release":
            own = {entry.path.removeprefix("model/"): entry.sha256 for entry in one.files}
            if weights and all(own.get(name) == digest for name, digest in weights.items()):
                alike.append((sum(own.get(name) == digest for name, digest in sums.items()), str(one.recorded.get("finished")), place))
    return max(alike)[2] if alike else None


def read_lineage(folder: Path) -> tuple[list[str], list[Manifest]]:
    """Return the roots and manifests that a released folder carries; BadInput if it does not, or they are not readable."""
    try:
        told = orjson.loads((folder / LINEAGE).read_bytes())
        recorded = orjson.loads(file.read_bytes()) if (file := folder / RECORDED).is_file() else {}
        manifests = [
            Manifest.model_validate(one | {"recorded": recorded.get(f"{one['kind']}/{one['version']}", {})}) for one in told["manifests"]
        ]
        roots = [root if isinstance(root, str) else f"{root['kind']}/{root['version']}" for root in root_list(told["root"])]
    except FileNotFoundError:
        raise BadInput(f"{folder} has no {LINEAGE}: it is no folder that this version released") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{folder / LINEAGE} cannot be read ({type(error).__name__}: {str(error)[:120]}): take the folder as it was released"
        ) from None
    return roots or [place_of(one) for one in manifests[:1]], manifests


def root_list(root: object) -> list:
    """Return the roots of a lineage file as a list: it may name one, several, or several by role."""
    return list(root.values()) if isinstance(root, dict) and "kind" not in root else root if isinstance(root, list) else [root]
