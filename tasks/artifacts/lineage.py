"""An artifact to everything it was made from, read from the store alone."""

from tasks.artifacts.handles import Handle
from tasks.artifacts.manifest import Manifest, read_manifest
from tasks.artifacts.store import Store


def ancestors(store: Store, made: Handle | Manifest) -> list[Manifest]:
    """Return the manifests of an artifact and all it came from, itself first, each once, nearest first.

    Parents are looked for in this store, wherever it lay when they were recorded. FileNotFoundError if one is not there.
    """
    found: dict[str, Manifest] = {}
    pending = [made.uri if isinstance(made, Handle) else f"{made.kind}/{made.version}/manifest.json"]
    while pending:
        folder = "/".join(pending.pop(0).split("/")[-3:-1])  # kind and version
        if folder in found:
            continue
        manifest = read_manifest(store, folder)
        if manifest is None:
            raise FileNotFoundError(f"lineage is broken: {store.uri(folder)} is not there any more")
        found[folder] = manifest
        pending += [parent["uri"] for parent in manifest.identity.get("parent_artifacts", {}).values()]
    return list(found.values())
