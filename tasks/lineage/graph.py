"""Manifests to the graph of what was made from what: back from a model to its raw sources, forward from a source to every model.

A node is an artifact, named by its place in a store (`kind/version`). Its parents are those that its identity names; besides, scores
are made from the cards that they sum up, and a card from the checkpoint that it was first answered for, if that is there.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import ValidationError

from tasks.artifacts.manifest import JSON, Manifest, read_manifest, sealed
from tasks.artifacts.store import Store, sha256_bytes

KINDS = (
    "raw", "documents", "tokens", "conversations", "checkpoint", "published", "export", "card", "scores", "contamination", "clean_scores",
    "release", "publication",
)  # fmt: skip
ANSWERED = ("checkpoint", "published")  # what a card may have been answered for


def place_of(manifest: Manifest) -> str:
    """Return where an artifact lies in any store: `kind/version`."""
    return f"{manifest.kind}/{manifest.version}"


def label_of(manifest: Manifest) -> str:
    """Write an artifact as the console does: `name@version`, short."""
    return f"{manifest.name}@{manifest.version[:8]}"


def parents_of(manifest: Manifest) -> dict[str, str]:
    """Return the places of what an artifact was made from, by role."""
    named = manifest.identity.get("parent_artifacts") or {}
    found = {role: "/".join(parent.get("uri", "").split("/")[-3:-1]) for role, parent in named.items()}
    if manifest.kind == "scores":
        cards = {row["card"].rpartition("@")[2] for row in manifest.details.get("benchmarks") or [] if row.get("card")}
        found |= {f"card {version[:8]}": f"card/{version}" for version in sorted(cards)}
    return found


@dataclass(frozen=True)
class Graph:
    """Artifacts by place, and those that are named as parents and are not there."""

    manifests: dict[str, Manifest]
    missing: set[str] = field(default_factory=set)

    @cached_property
    def parents(self) -> dict[str, dict[str, str]]:
        """The places of each artifact's parents, by role, as far as they are in the graph."""
        found = {place: parents_of(one) for place, one in self.manifests.items()}
        for place, one in self.manifests.items():
            if version := (one.recorded.get("checkpoint") or {}).get("version") if one.kind == "card" else None:
                found[place] |= {"checkpoint": next((at for kind in ANSWERED if (at := f"{kind}/{version}") in self.manifests), "")}
        return {place: {role: at for role, at in roles.items() if at in self.manifests} for place, roles in found.items()}

    @cached_property
    def children(self) -> dict[str, list[str]]:
        """The places of what was made from each artifact, in the order of `made`."""
        found: dict[str, list[str]] = {place: [] for place in self.manifests}
        for place in self.made:
            for parent in dict.fromkeys(self.parents[place].values()):
                found[parent].append(place)
        return found

    @cached_property
    def made(self) -> list[str]:
        """All places in an order in which they can be made: parents first; the rest by kind, name and version."""
        order: dict[str, None] = {}
        key = {place: (KINDS.index(one.kind) if one.kind in KINDS else 99, one.name, one.version) for place, one in self.manifests.items()}

        pending = [(place, False) for place in sorted(self.manifests, key=key.__getitem__, reverse=True)]
        while pending:
            place, ready = pending.pop()
            if place in order:
                continue
            if ready:
                order[place] = None
            else:
                above = sorted(set(self.parents[place].values()) - order.keys(), key=key.__getitem__, reverse=True)
                pending += [(place, True), *((parent, False) for parent in above)]
        return list(order)

    def back(self, places: Iterable[str]) -> "Graph":
        """Return the part from which some artifacts were made, themselves included."""
        return self._reached(places, {place: list(roles.values()) for place, roles in self.parents.items()})

    def forward(self, places: Iterable[str]) -> "Graph":
        """Return the part that was made from some artifacts, themselves included."""
        return self._reached(places, self.children)

    def _reached(self, places: Iterable[str], ways: dict[str, list[str]]) -> "Graph":
        seen, pending = set(), [place for place in places if place in self.manifests]
        while pending:
            place = pending.pop()
            if place not in seen:
                seen.add(place)
                pending += ways[place]
        inside = {place: self.manifests[place] for place in self.made if place in seen}
        return Graph(inside, {at for one in inside.values() for at in parents_of(one).values()} & self.missing)


def graph_of(manifests: Iterable[Manifest]) -> Graph:
    """Make the graph of some manifests."""
    found = {place_of(one): one for one in manifests}
    return Graph(found, {place for one in found.values() for place in parents_of(one).values() if place not in found})


def store_graph(store: Store, altered: list[str] | None = None) -> Graph:
    """Make the graph of all finished artifacts of a store; OSError if a manifest was altered since it was sealed.

    Given a list, such manifests are taken as they are as far as they can be read, and the places of all of them are added to the list.
    """
    if altered is None:
        return graph_of(manifest for kind in KINDS for manifest in sealed(store, kind))
    found: dict[str, Manifest] = {}
    seals = [key for kind in KINDS for key in store.list(kind) if key.endswith("/_SUCCESS") and key.count("/") == 2]
    for place in (key.removesuffix("/_SUCCESS") for key in seals):
        try:
            data = store.read(f"{place}/manifest.json")
            if sha256_bytes(data) != store.read(f"{place}/_SUCCESS").decode(errors="replace").strip():
                altered.append(place)
            found[place] = Manifest.model_validate_json(data)
        except FileNotFoundError:
            altered.append(place)
        except ValidationError:
            continue
    return Graph(found)


def ancestors_graph(store: Store, root: Manifest) -> Graph:
    """Make the graph of an artifact and what it came from, reading no other manifest; what is gone is among its `missing`."""
    found, gone, pending = {place_of(root): root}, set(), list(parents_of(root).values())
    while pending:
        place = pending.pop()
        if place not in found and place not in gone:
            manifest = read_manifest(store, place)
            if manifest is None:
                gone.add(place)
            else:
                found[place] = manifest
                pending += parents_of(manifest).values()
    return Graph(found, gone)


def recorded_parents(manifest: Manifest) -> JSON:
    """Return the digests that an artifact's identity has of its parents, by role."""
    return manifest.identity.get("parents") or {}
