"""An artifact to everything it was made from, read from the store alone."""

from tasks.artifacts.handles import Handle
from tasks.artifacts.manifest import Manifest, read_manifest
from tasks.artifacts.store import Store


def ancestors(store: Store, handle: Handle) -> list[Manifest]:
    """Return the manifests of an artifact and all it came from, itself first, each once, nearest first."""
    found: dict[str, Manifest] = {}
    pending = [handle.uri]
    while pending:
        uri = pending.pop(0)
        folder = store.key(uri).removesuffix("/manifest.json")
        if folder in found:
            continue
        manifest = read_manifest(store, folder)
        if manifest is None:
            raise OSError(f"lineage is broken: {uri} is not in the store any more")
        found[folder] = manifest
        pending += [parent["uri"] for parent in manifest.identity.get("parent_artifacts", {}).values()]
    return list(found.values())
