"""A run's released models to the Hub, and to what is remembered of it: a receipt in the store, and the alias `released` in MLflow."""

from collections.abc import Callable
from pathlib import Path

from tasks.artifacts.handles import Released, Run
from tasks.artifacts.manifest import JSON
from tasks.hub.client import Hub, endpoint, token
from tasks.hub.contents import Revision
from tasks.hub.publish import Published, Publisher
from tasks.hub.releases import release_section, run_revisions
from tasks.runtime.production import Production, load_manifest
from tasks.runtime.registry import mark_released


def push(run: Run, base: Released, chat: Released, private: bool, say: Callable[[str], None]) -> Production:
    """Publish both models, the checkpoints on the way to them and their data, and return the receipt."""
    releases = {"base": load_manifest(run, base), "chat": load_manifest(run, chat)}
    section = release_section(releases["base"].identity["section"])
    with Production(run, "publication", "publication", {"endpoint": endpoint()}, {"base": base, "chat": chat}, "tasks.publishing") as made:
        revisions = run_revisions(made.store, releases, Path(run.folder) / "release", say)
        done = Publisher(Hub(endpoint(), token()), private, say).publish(revisions, section.organization)
        if made.needed:
            made.seal(*receipt(revisions, done))
        for which, manifest in releases.items():
            address = next(
                one for one in done if one.address.endswith(f"/{section.repository(which)}") and one.revision == f"v{section.version}"
            )
            mark_released(run.tracking_uri, made.store, manifest, {"address": address.url(endpoint()), "commit": address.commit})
    return made


def receipt(revisions: list[Revision], done: list[Published]) -> tuple[JSON, JSON, JSON]:
    """Return what is remembered of a publication: counts, and what lies where; commits carry times, and are beside the digest."""
    counts = {"revisions": len(done), "files": sum(len(one.items) for one in revisions), "bytes": sum(one.bytes for one in revisions)}
    places = [{"address": one.address, "kind": one.kind, "revision": one.revision} for one in done]
    return counts, {"published": places}, {"commits": {f"{one.address}@{one.revision}": one.commit for one in done}}
