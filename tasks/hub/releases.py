"""Released models, their checkpoints and their data, in a store or a folder, to the revisions of the Hub that they become."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import yaml

from recipes.errors import BadInput
from recipes.release import Release
from tasks.artifacts.lineage import ancestors
from tasks.artifacts.manifest import Manifest, sealed
from tasks.artifacts.store import Store
from tasks.hub.contents import Item, Revision, folder_items, manifest_items, text_item
from tasks.hub.dataset import dataset_items

RECIPE, TEMPLATE = "reynard/recipe.yaml", "chat_template.jinja"
Which = Literal["base", "chat"]


def folder_revision(folder: Path) -> tuple[Revision, Release]:
    """Return what a released folder becomes, and the release section of its recipe; BadInput if it is no such folder."""
    items = folder_items(folder)
    try:
        section = release_section(yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8"))["release"])
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise BadInput(
            f"{folder}/{RECIPE} does not say what the release is called ({type(error).__name__}): release the model again"
        ) from None
    return model_revision(section, "chat" if (folder / TEMPLATE).is_file() else "base", items), section


def released_revision(store: Store, manifest: Manifest, folder: Path | None) -> Revision:
    """Return what a `release` artifact becomes. A record that was added to its folder since, such as a signature, comes along."""
    section = manifest.identity["section"]
    items = manifest_items(store, manifest, "model/")
    known = {item.path for item in items}
    if folder and folder.is_dir():
        items += [item for item in folder_items(folder) if item.is_record and item.path not in known]
    return model_revision(release_section(section), section["which"], items)


def release_section(section: dict[str, Any]) -> Release:
    """Return the fields of a recipe's release among others; BadInput if a release of another version of this project lacks some."""
    if lacking := [name for name in Release.model_fields if name not in section]:
        raise BadInput(
            f"the release does not say {', '.join(lacking)}, since another version of this project made it: release the model again"
        )
    return Release.model_validate({name: section[name] for name in Release.model_fields})


def model_revision(section: Release, which: Which, items: list[Item]) -> Revision:
    """Name a released model."""
    name, tag = section.repository(which), f"v{section.version}"
    return Revision(name, "model", "main", tag, f"{name} {tag}", items)


def dataset_revision(store: Store, manifests: list[Manifest]) -> Revision:
    """Return what the data of released models becomes: manifests, statistics, and the documents that may be given on."""
    section = release_section(manifests[0].identity["section"])
    lineage = {f"{one.kind}/{one.version}": one for manifest in manifests for one in ancestors(store, manifest)}
    name, tag = section.dataset_name, f"v{section.version}"
    return Revision(name, "dataset", "main", tag, f"{name} {tag}", dataset_items(store, section, list(lineage.values())))


# --- checkpoints -------------------------------------------------------------------------------------------------------------


def checkpoint_revisions(store: Store, base: Manifest) -> tuple[list[Revision], list[str]]:
    """Return the branches that the checkpoints of a base model's training become, in order of training; and those without a proved export.

    BadInput if the end of a stage is among the latter: the model's card counts it as published.
    """
    section = release_section(base.identity["section"])
    stages = [one for one in ancestors(store, base) if one.kind == "checkpoint"]
    last, *earlier = stages  # nearest first
    wanted = [one for one in sealed(store, "published") if any(is_inside(one, stage) for stage in stages)] + earlier
    exports = {one.identity["parents"]["checkpoint"]: one for one in sealed(store, "export")}
    wanted = sorted((one for one in wanted if one.digest != last.digest), key=lambda one: (one.counts["steps"], one.kind))
    revisions = [
        checkpoint_revision(store, section, one, export) for one in wanted if (export := exports.get(one.digest))
    ]  # fmt: skip
    owed = [one for one in wanted if one.digest not in exports]
    if promised := [revision_name(one) for one in owed if one.kind == "checkpoint"]:
        raise BadInput(
            f"{section.base_name} promises its checkpoints {', '.join(promised)}, which are not exported yet: `reynard run RECIPE --workflow "
            "checkpoints` exports and proves them; or say `release.publish_checkpoints: false` and release the model again"
        )
    return revisions, [revision_name(one) for one in owed]


def is_inside(published: Manifest, stage: Manifest) -> bool:
    """Tell whether a checkpoint was published inside a stage: what decided it is what decided the stage, and a step."""
    section = {key: value for key, value in published.identity["section"].items() if key != "step"}
    return section == stage.identity["section"] and published.identity["parents"] == stage.identity["parents"]


def revision_name(checkpoint: Manifest) -> str:
    """Return a checkpoint's name: `stage1-step1000-tokens4B`. Those inside a stage have it already, and the end of a stage gets its own."""
    if checkpoint.kind == "published":
        return checkpoint.name
    tokens = checkpoint.counts["tokens"]
    unit, suffix = next((one for one in ((10**9, "B"), (10**6, "M"), (10**3, "K")) if tokens >= one[0]), (1, ""))
    return f"{checkpoint.counts['stage']}-step{checkpoint.counts['steps']}-tokens{tokens // unit}{suffix}"


def checkpoint_revision(store: Store, section: Release, checkpoint: Manifest, export: Manifest) -> Revision:
    """Name a checkpoint, and give it a card of its own."""
    name = revision_name(checkpoint)
    counts = checkpoint.counts
    card = f"""---
license: {section.licence.lower()}
language: {json.dumps(section.languages)}
library_name: transformers
pipeline_tag: text-generation
tags: [reynard]
---
# {section.base_name} at {name}

A checkpoint inside the training of {section.base_name}, at the end of step {counts["steps"]:,} in {counts["stage"]}, after {counts["tokens"]:,} tokens
of all stages. It was trained no further than that: the finished model, its card and its lineage are on `main`.

```python
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained("{section.address(section.base_name)}", revision="{name}")
```

It was loaded by `transformers` alone, and gave the trainer's own logits: the largest difference was {export.details["logit_difference"]:.1e}.

| artifact | digest |
|---|---|
| {checkpoint.name}@{checkpoint.version[:8]} | `{checkpoint.digest}` |
| {export.name}@{export.version[:8]} | `{export.digest}` |
"""
    items = [text_item("README.md", card), *manifest_items(store, export, "model/")]
    return Revision(section.base_name, "model", name, "", f"{section.base_name} at {name}", items)


# --- all of a run ------------------------------------------------------------------------------------------------------------


def run_revisions(store: Store, releases: dict[Which, Manifest], folder: Path | None, say: Callable[[str], None]) -> list[Revision]:
    """Return everything that a run publishes: its data first, then checkpoints, then the models, which refer to both.

    `folder` is where its released folders lie, if they do. Says which checkpoints are left out, since nothing proved them yet; BadInput if
    the card counts on one of them.
    """
    wants = release_section(releases["base"].identity["section"]).publish_checkpoints
    inside, owed = checkpoint_revisions(store, releases["base"]) if wants else ([], [])
    if owed:
        say(f"! left out, not exported yet: {', '.join(owed)}; `reynard run RECIPE --workflow checkpoints` exports and proves them")
    models = [released_revision(store, manifest, folder / which if folder else None) for which, manifest in releases.items()]
    return [dataset_revision(store, list(releases.values())), *inside, *models]


def released_manifests(store: Store, run: str, versions: dict[str, str]) -> dict[Which, Manifest]:
    """Return the `release` artifacts of a run: those that its summary names, else the newest that it made; BadInput if one is missing."""
    found = sealed(store, "release")
    chosen: dict[Which, Manifest] = {}
    for which in ("base", "chat"):
        own = [one for one in found if one.name == f"release-{which}"]
        named = [one for one in own if one.version == versions.get(f"release-{which}", "").rpartition("@")[2]]
        made = [one for one in own if not run or one.recorded.get("run") == run]
        ordered = sorted(named or made, key=lambda one: str(one.recorded.get("finished", "")))
        if not ordered:
            raise BadInput(
                f"{store.root} has no released {which} model{f' of run {run}' if run else ''}: run the recipe to its release first"
            )
        chosen[which] = ordered[-1]
    return chosen
