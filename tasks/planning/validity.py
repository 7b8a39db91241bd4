"""A recipe and a store to its chain of artifacts: which are finished and stay valid, which are to be made, and why.

Identities are computed by the functions that the tasks themselves call. An artifact that is not there has no digest yet, so what
follows it cannot be looked up, with one exception: if nothing but code changed, its content may well come out as it was, and what
was made from that content then stays valid.
"""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel

from recipes.curation import DERIVED
from recipes.errors import BadInput
from recipes.schema import Recipe
from tasks.artifacts.manifest import JSON, Manifest, read_manifest, sealed
from tasks.artifacts.store import Store
from tasks.contamination.find import clean_identity, drawn_by, overlap_identity
from tasks.contamination.items import cards_of, read_items
from tasks.evaluation.suites import scores_identity
from tasks.release.publish import release_identity
from tasks.runtime.production import identity_of, plain, version_of
from tasks.sft.finetune import conversations_identity, sft_identity
from tasks.sources.files import find_files
from tasks.training.train_stage import stage_identity

DIFFERENCES_SHOWN = 3
FINISHED, IF_UNCHANGED, TO_MAKE = "finished", "if unchanged", "to be made"


@dataclass(frozen=True)
class Found:
    """One artifact of the chain as the store has it. `digest` is what it is, or what it may come out as again."""

    kind: str
    name: str
    status: str
    why: str = ""
    manifest: Manifest | None = None
    digest: str | None = None
    older: bool = False  # whether the store has others of this kind and name

    def row(self) -> JSON:
        """Return what a plan says of it."""
        label = f"{self.name}@{self.manifest.version[:8]}" if self.manifest else self.name
        version = self.manifest.version if self.manifest else None
        return {
            "kind": self.kind,
            "name": self.name,
            "label": label,
            "version": version,
            "status": self.status,
            "why": self.why,
            "older": self.older,
        }


class Chain:
    """Artifacts of a store, asked for one after the other as a run makes them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.found: list[Found] = []
        self._sealed: dict[str, list[Manifest]] = {}

    def sealed(self, kind: str, name: str) -> list[Manifest]:
        """Return the store's finished artifacts of a kind and name, newest first."""
        if kind not in self._sealed:
            self._sealed[kind] = sealed(self.store, kind)
        mine = [manifest for manifest in self._sealed[kind] if manifest.name == name]
        return sorted(mine, key=lambda manifest: (str(manifest.recorded.get("finished", "")), manifest.version), reverse=True)

    def add(self, found: Found) -> Found:
        """Take an artifact into the chain."""
        found = replace(found, older=bool(self.sealed(found.kind, found.name)))
        self.found.append(found)
        return found

    def ask(self, kind: str, name: str, section: BaseModel | JSON | None, parents: dict[str, Found], package: str) -> Found:
        """Look an artifact up by what decides it; `section` is None where that is not known before a parent is made."""
        open_parents = [parent for parent in parents.values() if parent.status != FINISHED]
        digests = {role: parent.digest for role, parent in parents.items()}
        after = " and ".join(parent.name for parent in open_parents)
        if section is None or None in digests.values():
            return self.add(Found(kind, name, TO_MAKE, self._why(kind, name, section, package) or f"after {after}"))
        identity = identity_of(kind, section, {role: str(digest) for role, digest in digests.items()}, package)
        manifest = read_manifest(self.store, f"{kind}/{version_of(identity)}")
        if manifest is not None:
            if not open_parents:
                return self.add(Found(kind, name, FINISHED, "", manifest, manifest.digest))
            why = f"stays valid if {after} {'comes' if len(open_parents) == 1 else 'come'} out as before"
            return self.add(Found(kind, name, IF_UNCHANGED, why, manifest, manifest.digest))
        older = nearest(self.sealed(kind, name), identity)
        why = reason(older, identity) if older else ""
        digest = older.digest if older and only_code(older, identity) else None
        return self.add(Found(kind, name, TO_MAKE, why or (f"after {after}" if after else "never made in this store"), None, digest))

    def _why(self, kind: str, name: str, section: BaseModel | JSON | None, package: str) -> str:
        """Say what of an artifact itself changed, besides its parents."""
        if section is None:
            return ""
        identity = identity_of(kind, section, {}, package)
        older = nearest(self.sealed(kind, name), identity)
        return reason(older, identity | {"parents": older.identity["parents"]}) if older else ""


def nearest(older: list[Manifest], identity: JSON) -> Manifest | None:
    """Return the artifact whose section differs least, the newest of equals."""
    return min(older, key=lambda manifest: len(differences(manifest.identity["section"], identity["section"])), default=None)


def only_code(older: Manifest, identity: JSON) -> bool:
    """Tell whether an artifact was made from the same section and parents by other code."""
    return older.identity["section"] == identity["section"] and older.identity["parents"] == identity["parents"]


def reason(older: Manifest, identity: JSON) -> str:
    """Say why an older artifact is not the one that is asked for."""
    changed = differences(older.identity["section"], identity["section"])
    said = changed[:DIFFERENCES_SHOWN] + ([f"and {len(changed) - DIFFERENCES_SHOWN} more"] if len(changed) > DIFFERENCES_SHOWN else [])
    if older.identity["code"] != identity["code"]:
        said.append("code changed")
    for role, digest in identity["parents"].items():
        if older.identity["parents"].get(role) != digest:
            said.append(f"{'parent' if role == 'parent' else 'parent ' + role} changed")
    return f"not {older.name}@{older.version[:8]}: {', '.join(said)}" if said else ""


def differences(old: object, new: object, path: str = "") -> list[str]:
    """List the fields in which two sections differ, as `path: old -> new`; entries of a list go by their name where they have one."""
    if isinstance(old, list) and isinstance(new, list) and all(named(value) for value in [*old, *new]):
        old, new = {named(value): value for value in old}, {named(value): value for value in new}
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [said for key in keys for said in differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))]
    return [] if old == new else [f"{path}: {short(old)} -> {short(new)}"]


def named(value: object) -> str:
    """Return the name by which an entry of a list is known, empty if it has none."""
    return str(value.get("name") or value.get("source") or value.get("task") or "") if isinstance(value, dict) else ""


def short(value: object) -> str:
    """Write a value in a few characters."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, dict):
        return "{...}"
    written = "none" if value is None else str(value)
    return written if len(written) <= 40 else f"{written[:39]}…"


# --- the recipe's chain ------------------------------------------------------------------------------------------------------


def pinned(chain: Chain, name: str, sources: dict[str, tuple[str, str | None, bool]]) -> Found:
    """Look for the newest pins of raw files; `sources` are location, revision, and whether they can be listed here, by name.

    Raw data is not hashed again: a run does. What lies on this machine is listed, and compared by address and size.
    """
    older = chain.sealed("raw", name)
    same = [manifest for manifest in older if set(plain(manifest.identity["section"])) == set(sources)]
    if not older:
        return chain.add(Found("raw", name, TO_MAKE, "never pinned in this store"))
    if not same:
        have, want = set(older[0].identity["section"]), set(sources)
        said = [f"new: {', '.join(sorted(want - have))}"] if want - have else []
        said += [f"gone: {', '.join(sorted(have - want))}"] if have - want else []
        return chain.add(Found("raw", name, TO_MAKE, f"sources changed ({'; '.join(said)})"))
    manifest = same[0]
    changed = [source for source, where in sources.items() if listing_changed(manifest.identity["section"][source], source, *where)]
    if changed:
        return chain.add(Found("raw", name, TO_MAKE, f"files of {', '.join(changed)} changed since they were pinned"))
    when = str(manifest.recorded.get("finished", ""))[:10]
    return chain.add(Found("raw", name, FINISHED, f"pinned {when}, listed, not hashed", manifest, manifest.digest))


def listing_changed(marks: list[list], source: str, location: str, revision: str | None, listable: bool) -> bool:
    """Tell whether the files at a location of this machine are others, by address and size, than those pinned."""
    if not listable or any("://" in pattern for pattern in shlex.split(location)):
        return False
    try:
        files = find_files(location, f"source {source!r}", revision)
    except BadInput:
        return True
    return sorted([file.address, Path(file.path).stat().st_size] for file in files) != sorted(mark[:2] for mark in marks)


def walk(recipe: Recipe, store: Store) -> Chain:
    """Follow the recipe's chain through a store, in the order of the workflows."""
    chain = Chain(store)
    corpus = {s.name: (s.location, s.revision, s.format != "dataset") for s in recipe.curation.sources if s.format not in DERIVED}
    raw = pinned(chain, "raw-documents", corpus)
    documents = chain.ask("documents", "documents", recipe.curation, {"raw": raw}, "tasks.curation")
    tokens = chain.ask("tokens", "tokens", recipe.tokenization, {"documents": documents}, "tasks.tokenization")
    parents = {"tokens": tokens}
    for number, stage in enumerate(recipe.pretraining.stages):
        section = stage_identity(recipe.model, recipe.pretraining, number, recipe.seed)
        parents = {"tokens": tokens, "parent": chain.ask("checkpoint", stage.name, section, parents, "tasks.training")}
    base = parents["parent"]
    chat = ask_chat(chain, recipe, tokens, base)
    scores: dict[str, Found] = {}
    for which, checkpoint in (("base", base), ("chat", chat)):
        section = scores_identity(recipe.evaluation, which)
        scores[which] = chain.ask("scores", f"scores-{which}", section, {"checkpoint": checkpoint, "tokens": tokens}, "tasks.evaluation")
    ask_clean_scores(chain, recipe, tokens, scores)
    for which, checkpoint in (("base", base), ("chat", chat)):
        release = release_identity(recipe, which)
        chain.ask("release", f"release-{which}", release, {"checkpoint": checkpoint, "scores": scores[which]}, "tasks.release")
    return chain


def ask_clean_scores(chain: Chain, recipe: Recipe, tokens: Found, scores: dict[str, Found]) -> None:
    """Follow the search for benchmark items, which are those that the scores' cards hold, in what was trained on."""
    conversations = next(found for found in chain.found if found.kind == "conversations")
    scored, rule = [found.manifest for found in scores.values() if found.manifest], None
    if len(scored) == len(scores):
        items = read_items(chain.store, cards_of(chain.store, scored))
        rule = overlap_identity(recipe.contamination.ngram_words, items, drawn_by(recipe.pretraining))
    searched = {"tokens": tokens, "conversations": conversations} | ({} if rule else scores)
    overlap = chain.ask("contamination", "contamination", rule, searched, "tasks.contamination")
    parents = {"contamination": overlap} | scores
    chain.ask("clean_scores", "clean-scores", clean_identity(recipe.contamination), parents, "tasks.contamination")


def ask_chat(chain: Chain, recipe: Recipe, tokens: Found, base: Found) -> Found:
    """Follow fine-tuning: conversations rendered with the tokenizer's files, which a checkpoint takes over from the token artifact."""
    raw = pinned(chain, "raw-conversations", {s.name: (s.location, s.revision, s.format != "dataset") for s in recipe.sft.sources})
    files = {entry.path: entry.sha256 for entry in tokens.manifest.matching("tokenizer/")} if tokens.manifest else None
    rendering = conversations_identity(recipe.sft, files) if files else None
    rendered = {"raw": raw} if rendering else {"raw": raw, "tokens": tokens}
    conversations = chain.ask("conversations", "conversations", rendering, rendered, "tasks.sft")
    section = sft_identity(recipe.sft, recipe.model, recipe.seed)
    return chain.ask("checkpoint", "sft", section, {"parent": base, "conversations": conversations}, "tasks.sft")
