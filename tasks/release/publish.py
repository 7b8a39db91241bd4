"""A checkpoint's files to a release folder: exported, proved, described. A folder that fails a check is never laid down."""

import json
import shutil
from pathlib import Path

from recipes.errors import BadInput
from recipes.schema import Model, Release
from tasks.artifacts.handles import Checkpoint, Scores
from tasks.artifacts.lineage import ancestors
from tasks.artifacts.manifest import JSON
from tasks.artifacts.store import Store
from tasks.model.export import export
from tasks.model.template import TEMPLATES
from tasks.release.card import model_card
from tasks.release.gate import clean_process_facts, judge
from tasks.runtime.production import Reader


def release_identity(section: Release, recipe_name: str, which: str) -> JSON:
    """Return what decides a release of the `base` or `chat` model besides its parents."""
    return section.model_dump(mode="json") | {"recipe": recipe_name, "which": which}


def prove(what: str, source: Path, folder: Path, template: str | None, scored: bool | None = None) -> tuple[JSON, list[JSON]]:
    """Export a checkpoint's files and load them in a clean process; return its facts and the checks. BadInput lists those that failed."""
    export(source, folder, template)
    model = Model.model_validate_json((source / "model.json").read_bytes())
    facts = clean_process_facts(folder, source / "probe.safetensors")
    names = [path.name for path in folder.rglob("*") if path.is_file()]
    checks = judge(facts, model.parameter_count(), template is not None, names, scored)
    if failed := [f"{row['name']} ({row['detail']})" for row in checks if not row["passed"]]:
        raise BadInput(f"{what} refused: {'; '.join(failed)}")
    return facts, checks


def make_release(
    section: Release, recipe_name: str, which: str, source: Path, folder: Path, store: Store, checkpoint: Checkpoint, scores: Scores
) -> JSON:
    """Export, check and describe; return the artifact's details. BadInput lists the checks that failed."""
    is_chat = which == "chat"
    template = TEMPLATES[json.loads((source / "template.json").read_text())["template"]] if is_chat else None
    made_from = [*ancestors(store, checkpoint), *(m for m in ancestors(store, scores) if m.kind == "scores")]
    own = next(m for m in made_from if m.kind == "scores")
    scored = own.identity["parents"].get("checkpoint") == checkpoint.digest
    facts, checks = prove(f"release of {which}", source, folder, template, scored)
    names = [path.name for path in folder.rglob("*") if path.is_file()]
    model = Model.model_validate_json((source / "model.json").read_bytes())
    lineage = [[f"{m.name}@{m.version[:8]}", m.digest] for m in made_from]
    card = card_facts(section, recipe_name, which, model, checkpoint, made_from, own.details, checks, lineage)
    (folder / "README.md").write_text(model_card(card))
    return {"checks": checks, "files": sorted(names), "logit_difference": facts["logit_difference"], "lineage": lineage}


def card_facts(
    section: Release,
    recipe_name: str,
    which: str,
    model: Model,
    checkpoint: Checkpoint,
    made_from: list,
    scores: JSON,
    checks: list[JSON],
    lineage: list,
) -> JSON:
    """Collect what the card prints, from the manifests that led here."""
    documents = next(m for m in made_from if m.kind == "documents")
    sources = [{"name": name} | row for name, row in documents.details["sources"].items()]
    total_bits = next(m for m in made_from if m.kind == "scores").counts["bits_per_byte"]
    return {
        "name": section.base_name if which == "base" else section.chat_name, "summary": section.summary, "licence": section.licence,
        "languages": section.languages, "recipe": recipe_name, "is_chat": which == "chat", "parameters": model.parameter_count(),
        "tokens": sum(m.details["stage_tokens"] for m in made_from if m.kind == "checkpoint"), "context": model.context_tokens,
        "benchmarks": scores["benchmarks"], "held_out": scores["held_out"], "bits_per_byte": total_bits, "sources": sources,
        "lineage": lineage, "checks": checks,
    }  # fmt: skip


def lay_down(reader: Reader, folder: Path) -> None:
    """Place a released model in a local folder, whole: an older one is replaced only when the new one is complete."""
    fresh = folder.with_name(f".{folder.name}-new")
    shutil.rmtree(fresh, ignore_errors=True)
    reader.place("model/", fresh)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
