"""The manifests of a model's lineage to its licence bill of materials: what it is made of, where that came from, and under which licences.

Sources declare their licence in the recipe and are pinned by their files' digests; what is made from them (derived sources, mixtures, the
tokenizer, conversations) inherits. A licence that nobody knows, or that is inherited from such a one, is a reason to refuse a release.
"""

from dataclasses import dataclass

from recipes.schema import Recipe
from tasks.artifacts.manifest import JSON, Manifest, digest_of
from tasks.openness.evaluation_sets import evaluation_set
from tasks.openness.licences import Licence, all_of, read_licence

EVALUATION = "evaluation set"  # is not in the weights: an unknown licence lowers the class and refuses nothing


@dataclass(frozen=True)
class Entry:
    """A part of a model: what it is, what the recipe says of its licence, where it lies, its digest, and the parts that it is made from."""

    role: str
    name: str
    said: Licence
    location: str = ""
    revision: str = ""
    digest: str = ""
    artifact: str = ""
    origins: tuple["Entry", ...] = ()

    @property
    def unknown(self) -> str:
        """Why the licence is not known; empty if it is."""
        inherited = (f"made from {one.name!r}, of which {one.unknown}" for one in self.origins if one.unknown)
        return self.said.unknown or next(inherited, "") or ("" if self.spdx else "inherits from nothing")

    @property
    def licences(self) -> list[Licence]:
        """What is known of its own licence and of those that it inherits."""
        own = [] if self.said.is_inherited else [self.said]
        return own + [licence for one in self.origins for licence in one.licences]

    @property
    def spdx(self) -> str:
        """The expression under which it lies, with what it inherits."""
        return all_of(self.licences)

    @property
    def is_free(self) -> bool:
        """Tell whether it may be given on, and all that it is made from."""
        return not self.unknown and all(licence.is_free for licence in self.licences)

    def row(self) -> JSON:
        """Return the entry as JSON."""
        return {
            "role": self.role, "name": self.name, "said": self.said.said, "licence": self.spdx, "free": self.is_free, "unknown": self.unknown,
            "location": self.location, "revision": self.revision, "digest": self.digest, "artifact": self.artifact,
            "from": [one.name for one in self.origins],
        }  # fmt: skip


def bill_of(manifests: list[Manifest]) -> list[Entry]:
    """Return what a model is made of, sources first, from the manifests of its checkpoint and scores up to the raw sources."""
    by_kind: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        by_kind.setdefault(manifest.kind, []).append(manifest)
    pinned = {name: (manifest, marks) for manifest in by_kind.get("raw", []) for name, marks in manifest.identity["section"].items()}
    found: list[Entry] = []
    for documents in by_kind.get("documents", []):
        sources = _sources(documents.identity["section"], pinned)
        found += [*sources.values(), *_tools(documents.identity["section"])]
        found += [_tokenizer(tokens, list(sources.values())) for tokens in by_kind.get("tokens", [])]
        found += _mixtures(by_kind.get("checkpoint", []), sources)
    for conversations in by_kind.get("conversations", []):
        chats = [_source("conversations", row, pinned) for row in conversations.identity["section"]["sources"]]
        found += [
            *chats,
            Entry(
                "fine-tuning",
                conversations.name,
                INHERITS,
                digest=conversations.digest,
                artifact=_label(conversations),
                origins=tuple(chats),
            ),
        ]
    found += _parents([one.identity["section"].get("model", {}) for one in by_kind.get("checkpoint", [])])
    scores = [row["task"] for manifest in by_kind.get("scores", []) for row in manifest.details["benchmarks"]]
    return found + [_evaluation_set(name, by_kind.get("card", [])) for name in sorted({evaluation_set(task)[0] for task in scores})]


def reasons(bill: list[Entry]) -> list[str]:
    """Return a sentence for every part of the weights whose licence is unknown: none may be released."""
    return [
        f"{entry.role} {entry.name!r}: {entry.unknown}; say its `licence` in the recipe, or leave it out"
        for entry in bill
        if entry.unknown and entry.role != EVALUATION and not (entry.said.is_inherited and entry.origins)  # said of the origin already
    ]


def unknown_in(recipe: Recipe) -> list[str]:
    """Return the same sentences before anything is made: for every licence that a recipe leaves unknown."""
    section, load = recipe.curation.model_dump(mode="json"), recipe.tokenization.load
    found = [*_sources(section, {}).values(), *_tools(section), *_parents([recipe.model.model_dump(mode="json")])]
    found += [_source("conversations", row.model_dump(mode="json"), {}) for row in recipe.sft.sources]
    return reasons(found + ([Entry("tokenizer", "tokenizer", read_licence(load.licence), load.location)] if load else []))


INHERITS = Licence("as its origins", is_inherited=True)


def _label(manifest: Manifest) -> str:
    return f"{manifest.name}@{manifest.version[:8]}"


def _source(role: str, row: JSON, pinned: dict, origins: tuple[Entry, ...] = (), per_document: list[str] | None = None) -> Entry:
    """Return a source, by the digest of its pinned files, or of what it is made from and how.

    Where each document has a licence of its own, the recipe's list of those that are kept decides.
    """
    manifest, marks = pinned.get(row["name"], (None, None))
    kept = read_licence(" AND ".join(per_document)) if per_document else None
    said = Licence(row["licence"], kept.spdx, unknown=kept.unknown) if kept else read_licence(row["licence"])
    content = marks if marks is not None else {"made": row, "from": [one.digest for one in origins]}
    return Entry(
        role, row["name"], said, row["location"], row.get("revision") or "", digest_of(content), _label(manifest) if manifest else "", origins
    )  # fmt: skip


def _sources(section: JSON, pinned: dict) -> dict[str, Entry]:
    rows = {row["name"]: row for row in section["sources"]}
    found: dict[str, Entry] = {}

    def add(name: str) -> Entry:
        if name not in found:
            row = rows[name]
            made_from = [*((row.get("plants") or {}).get("of") or []), *((row.get("rewriting") or {}).get("of") or [])]
            code = (section["rules"].get(row["rules"]) or {}).get("code") or {}
            kept = code.get("licences") if (row.get("fields") or {}).get("licence") else None
            found[name] = _source(row.get("role", "corpus"), row, pinned, tuple(add(origin) for origin in made_from), kept)
        return found[name]

    return {name: add(name) for name in rows}


def _tools(section: JSON) -> list[Entry]:
    """Return the models that decided what is kept: they are not given on, and are recorded."""
    given = [section.get("language_model"), (section.get("quality") or {}).get("load")]
    return [
        Entry("filter", row["location"].rpartition("/")[2], read_licence(row["licence"]), row["location"], digest=row.get("sha256") or "")
        for row in given
        if row
    ]


def _tokenizer(tokens: Manifest, sources: list[Entry]) -> Entry:
    made = tokens.details["tokenizer"]
    given = tokens.identity["section"].get("load")
    if given:
        return Entry(
            "tokenizer", "tokenizer", read_licence(given["licence"]), given["location"], digest=made["sha256"], artifact=_label(tokens)
        )
    learned_from = tuple(entry for entry in sources if entry.role == "corpus")
    return Entry("tokenizer", "tokenizer", INHERITS, digest=made["sha256"], artifact=_label(tokens), origins=learned_from)


def _mixtures(checkpoints: list[Manifest], sources: dict[str, Entry]) -> list[Entry]:
    found = [
        Entry(
            "mixture",
            one.name,
            INHERITS,
            digest=one.digest,
            artifact=_label(one),
            origins=tuple(sources[n] for n in sorted(one.details["mixture"])),
        )
        for one in checkpoints
        if set(one.details["mixture"]) <= set(sources)  # fine-tuning draws from conversations
    ]
    return sorted(found, key=lambda entry: entry.name)


def _parents(models: list[JSON]) -> list[Entry]:
    """Return the model from whose weights the first stage began, if there is one."""
    rows = {row["location"]: row for model in models if (row := model.get("expand"))}
    return [
        Entry("initialization", row["location"], read_licence(row["licence"]), row["location"], row["revision"] or "", row["sha256"] or "")
        for row in rows.values()
    ]


def _evaluation_set(name: str, cards: list[Manifest]) -> Entry:
    digests = {card.details["data"][name] for card in cards if name in card.details["data"]}
    return Entry(EVALUATION, name, read_licence(evaluation_set(name)[1]), f"hf://datasets/{name}", digest=min(digests, default=""))
