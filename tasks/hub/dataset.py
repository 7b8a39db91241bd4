"""The manifests of what a model learned from to the repository of its data: manifests, statistics, a card, and what may be given on.

Documents go there only if the recipe says so (`publish_data`) and the licence of their source, with all that it inherits, allows it. What
curation removed is never among them, and neither are the examples of it that reports show: nobody checked that those may be given on.
"""

import json

import yaml

from recipes.release import Release
from tasks.artifacts.manifest import JSON, Manifest
from tasks.artifacts.store import Store
from tasks.hub.contents import Item, manifest_items, text_item
from tasks.openness.bill import Entry, bill_of
from tasks.panels.formats import count

KINDS = ("raw", "documents", "tokens", "conversations")


def dataset_items(store: Store, section: Release, lineage: list[Manifest]) -> list[Item]:
    """Return the files of the repository, the same for the same artifacts."""
    manifests = sorted((one for one in lineage if one.kind in KINDS), key=lambda one: (KINDS.index(one.kind), one.name))
    documents = next(one for one in manifests if one.kind == "documents")
    bill = bill_of(lineage)
    talks = [entry for entry in bill if entry.role == "conversations"]
    sources = [entry for entry in bill if entry.role in ("corpus", "classifier") and entry.name in documents.details["sources"]]
    given = [entry.name for entry in sources if section.publish_data and may_be_given(entry, documents)]
    texts = {f"manifests/{one.kind}/{one.name}-{one.version}.json": public(one) for one in manifests}
    texts["statistics/curation.json"] = without_examples(documents.details)
    texts |= {f"statistics/{one.name}.json": without_examples(one.details) for one in manifests if one.kind in ("tokens", "conversations")}
    items = [text_item("README.md", data_card(section, manifests, documents, sources, talks, given))]
    items += [text_item(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n") for path, value in texts.items()]
    for name in given:
        items += manifest_items(store, documents, f"documents/{name}/", f"data/{name}/")
        items += manifest_items(store, documents, f"verdicts/{name}/", f"verdicts/{name}/")
    if conversations_are_given(section, talks):
        for one in manifests:
            items += manifest_items(store, one, "", "conversations/") if one.kind == "conversations" else []
    return items


def may_be_given(source: Entry, documents: Manifest) -> bool:
    """Tell whether a source has documents that were kept, and its licence lets anybody give them on."""
    return source.is_free and documents.details["sources"][source.name]["documents_kept"] > 0


def conversations_are_given(section: Release, talks: list[Entry]) -> bool:
    """Tell whether all sources of conversations may be given on: what was rendered of them lies together."""
    return bool(talks) and section.publish_data and all(entry.is_free for entry in talks)


def public(manifest: Manifest) -> JSON:
    """Return a manifest without times, hosts, places of our own and text: its digest can be computed from it again."""
    parents = manifest.identity.get("parent_artifacts", {})
    named = {role: {"name": one["name"], "version": one["version"]} for role, one in parents.items()}
    kept = manifest.model_dump(exclude={"recorded", "records"})
    return kept | {"identity": manifest.identity | {"parent_artifacts": named}, "details": without_examples(manifest.details)}


def without_examples(details: JSON) -> JSON:
    """Leave out the documents and the conversation that reports quote."""
    return {key: value for key, value in details.items() if key not in ("example", "examples")}


def data_card(
    section: Release, manifests: list[Manifest], documents: Manifest, sources: list[Entry], talks: list[Entry], given: list[str]
) -> str:
    """Write the repository's card."""
    licence = {"license": section.component_licences.data.lower()}
    if given:
        licence = {"license": "other", "license_name": "of-each-source", "license_link": "README.md"}
    head: JSON = licence | {"language": section.languages, "pretty_name": section.dataset_name, "tags": ["reynard"]}
    if given:
        configs = [{"config_name": "all", "data_files": "data/*/*.jsonl.zst", "default": True}]
        head["configs"] = configs + [{"config_name": name, "data_files": f"data/{name}/*.jsonl.zst"} for name in given]
        head["task_categories"] = ["text-generation"]
    rows = [source_row(source, documents.details["sources"][source.name], source.name in given) for source in sources]
    return DATA_CARD.format(
        head=yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip(), name=section.dataset_name,
        models=" and ".join(f"`{section.address(name)}`" for name in (section.base_name, section.chat_name)),
        kept=count(documents.counts["documents_kept"]), read=count(documents.counts["documents_in"]),
        characters=count(documents.counts["characters_kept"]), data=(WITH_DATA if given else WITHOUT_DATA) + conversations_line(section, talks),
        licence=section.component_licences.data, rows="\n".join(rows),
        artifacts="\n".join(f"| {one.name}@{one.version[:8]} | `{one.digest}` |" for one in manifests),
    )  # fmt: skip


def conversations_line(section: Release, talks: list[Entry]) -> str:
    """Say where the conversations of fine-tuning are; nothing if there are none."""
    if not talks:
        return ""
    names = ", ".join(f"{entry.name} ({entry.said.said})" for entry in talks)
    return f"\n\n{WITH_CONVERSATIONS if conversations_are_given(section, talks) else WITHOUT_CONVERSATIONS} Their sources: {names}."


def source_row(source: Entry, counts: JSON, is_given: bool) -> str:
    """Write a source's line in the card's table."""
    removed = ", ".join(f"{name.replace('_', ' ')} {count(number)}" for name, number in counts["removed"].items()) or "–"
    cells = (
        source.name,
        source.said.said,
        count(counts["documents_in"]),
        count(counts["documents_kept"]),
        removed,
        "yes" if is_given else "no",
    )
    return "| " + " | ".join(cells) + " |"


WITH_DATA = """The documents of the sources marked *here* are in `data/`, one JSON object a line (`id`, `text`, `raw`: the address it was read
from, `quality`), each under the licence of its source; `verdicts/` says of every document of those sources what became of it, and why."""
WITH_CONVERSATIONS = """What fine-tuning trained on is in `conversations/`: each conversation as the tokens of its template (`tokens/`, `lengths.bin`),
which of them were targets (`targets.bin`), and the row it came from (`rows/`)."""
WITHOUT_CONVERSATIONS = "The conversations of fine-tuning are not here."
WITHOUT_DATA = "The documents themselves are not here: the addresses and sums of the raw files are in `manifests/raw`."

DATA_CARD = """---
{head}
---
# {name}

What {models} learned from: {kept} documents ({characters} characters) were kept of {read} that were read.
{data}

Manifests and statistics are under {licence}.

| source | licence | documents read | kept | removed | here |
|---|---|---|---|---|---|
{rows}

## Artifacts
Each has a manifest in `manifests/` with the sha256 of all its files, and what decided its content. A digest is computed from kind, files and
counts: equal digests mean equal bytes.

| artifact | digest |
|---|---|
{artifacts}
"""
