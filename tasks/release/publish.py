"""A checkpoint and its scores to a release folder: exported, proved, judged, described. A folder that fails a check is never sealed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from recipes.errors import BadInput
from recipes.schema import Model, Recipe
from tasks.artifacts.handles import Checkpoint, Scores
from tasks.artifacts.manifest import JSON
from tasks.artifacts.store import Store
from tasks.model.template import TEMPLATES
from tasks.openness.folder import PROMISED, seal_folder, write_origin, write_report
from tasks.openness.folder import RECORDS as OPENNESS_RECORDS
from tasks.openness.markdown import badge, component_table, licence_table
from tasks.release.card import model_card
from tasks.release.contents import RECORDS, write_contents
from tasks.release.data_card import data_card
from tasks.release.evidence import assess_folder, evidence_of
from tasks.release.expected import NEW_TOKENS
from tasks.release.facts import Facts
from tasks.release.gate import Check, judge
from tasks.release.origins import Origins
from tasks.release.proof import prove
from tasks.runtime.code import ROOT
from tasks.runtime.production import Production, Reader, code_commit

SAMPLES_SHOWN = 3


class Refused(BadInput):
    """A release that failed checks; it carries all of them."""

    def __init__(self, what: str, checks: list[Check]) -> None:
        failed = [f"{check.name} ({check.reason})" for check in checks if not check.passed]
        super().__init__(f"{what} refused: {'; '.join(failed)}")
        self.checks = checks


def release_identity(recipe: Recipe, which: str) -> JSON:
    """Return what decides a release of the `base` or `chat` model besides its parents: its section, and the whole recipe, which lies in it."""
    rest = recipe.model_dump(mode="json", exclude={"release"})
    return recipe.release.model_dump(mode="json") | {"which": which, "recipe": rest}


def make_release(recipe: Recipe, which: str, scratch: Path, store: Store, checkpoint: Checkpoint, scores: Scores) -> tuple[Path, JSON]:
    """Export, judge and describe; return the folder and the artifact's details. Refused lists the checks that failed."""
    origins = Origins.of(store, checkpoint, scores)
    source = Reader(store, origins.checkpoint).place("", scratch / "checkpoint")
    is_chat = which == "chat"
    template = TEMPLATES[json.loads((source / "template.json").read_text())["template"]] if is_chat else None
    folder = scratch / "model"
    facts = prove(source, folder, template, origins.precision, origins.conversations() if is_chat else [])
    write_origin(folder, ROOT, code_commit())
    assessed = assess_folder(recipe, which, origins, folder, PROMISED)
    checks = judge(replace(facts, evidence=evidence_of(recipe, which, origins, assessed)))
    if not all(check.passed for check in checks):
        raise Refused(f"release of {which}", checks)
    assert facts.loaded is not None
    card = card_facts(recipe, which, origins, facts, checks)
    write_contents(folder, recipe, origins, facts.loaded)
    write_report(folder, assessed, origins.every)
    shown = {"badge": badge(assessed.openness_class), "openness": component_table(assessed)}
    (folder / "README.md").write_text(model_card(card | shown), encoding="utf-8")
    (folder / "DATA_CARD.md").write_text(data_card(recipe, card["name"], origins, licence_table(assessed.bill)), encoding="utf-8")
    final = assess_folder(recipe, which, origins, folder)
    assert final.openness_class == assessed.openness_class, "the folder does not hold what was promised while it was judged"
    seal_folder(folder, final, RECORDS)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    details = {"checks": [check.row() for check in checks], "files": files, "logit_difference": facts.loaded.trainer_difference}
    return folder, details | {"lineage": card["lineage"], "openness": final.rows()}


def card_facts(recipe: Recipe, which: str, origins: Origins, facts: Facts, checks: list[Check]) -> JSON:
    """Collect what the model card prints, from the manifests that led here."""
    section, made, loaded = recipe.release, origins.scores.details, facts.loaded
    documents, model = origins.one("documents"), Model.model_validate(origins.checkpoint.identity["section"]["model"])
    assert documents is not None and loaded is not None
    name = section.repository("base" if which == "base" else "chat")
    stages = [
        {"stage": one.counts["stage"], "steps": one.details["stage_steps"], "tokens": one.details["stage_tokens"],
         "batch_tokens": one.details["batch_tokens"], "loss": one.counts["loss"]}
        for one in origins.trained
    ]  # fmt: skip
    shown = [
        {"prompt": one["messages"][0]["content"] if "messages" in one else one["text"], "output": one["output"]} for one in loaded.prompts
    ]
    return {
        "name": name, "address": section.address(name), "base_address": section.address(section.base_name), "version": section.version,
        "summary": section.summary, "licence": section.licence, "languages": section.languages, "recipe": recipe.name,
        "is_chat": which == "chat", "parameters": model.parameter_count(), "tokens": sum(row["tokens"] for row in stages),
        "context": model.context_tokens, "fidelity": ledger_counts(recipe), "benchmarks": made["benchmarks"], "harness": made["harness"],
        "measured_on": made["items"], "declared": declared_uses(recipe, which), "held_out": made["held_out"],
        "bits_per_byte": origins.scores.counts["bits_per_byte"], "new_tokens": NEW_TOKENS, "samples": shown[:SAMPLES_SHOWN], "stages": stages,
        "sources": documents.details["sources"], "documents_in": documents.counts["documents_in"],
        "documents_kept": documents.counts["documents_kept"], "datasets": hub_datasets(recipe, which),
        "lineage": [[f"{one.name}@{one.version[:8]}", one.digest] for one in origins.every], "checks": [check.row() for check in checks],
    }  # fmt: skip


def ledger_counts(recipe: Recipe) -> str:
    """Count the ledger's entries in words."""
    words = {"reproduced": "reproduced", "deviates": "deviate", "unspecified": "left open"}
    counts = [(sum(entry.status == status for entry in recipe.fidelity), said) for status, said in words.items()]
    return ", ".join(f"{number} {said}" for number, said in counts if number)


def declared_uses(recipe: Recipe, which: str) -> dict[str, str]:
    """Return the benchmarks whose training sets the model was trained on by design, with the stages that did."""
    found: dict[str, list[str]] = {}
    for use in recipe.contamination.declared:
        if use.where != "sft" or which == "chat":
            found.setdefault(use.task, []).append(use.where)
    return {task: ", ".join(dict.fromkeys(stages)) for task, stages in found.items()}


def hub_datasets(recipe: Recipe, which: str) -> list[str]:
    """Return the Hub's data sets among the sources, as `organization/name`, and that of the release where its account is known."""
    sources = [*recipe.curation.sources, *(recipe.sft.sources if which == "chat" else [])]
    parts = [
        part.removeprefix("hf://").removeprefix("datasets/") for one in sources for part in one.location.split() if part.startswith("hf://")
    ]
    found = ["/".join(part.split("@")[0].split("/")[:2]) for part in parts]
    own = [recipe.release.address(recipe.release.dataset_name)] if recipe.release.organization else []
    return list(dict.fromkeys([*own, *found]))


def seal_release(made: Production, name: str, which: str, folder: Path, details: JSON) -> None:
    """Seal a folder as a release artifact; what may differ between equal releases goes beside the digest."""
    for name_in_folder in details["files"]:
        path = f"model/{name_in_folder}"
        if name_in_folder in (*RECORDS, *OPENNESS_RECORDS):
            made.add_record(folder / name_in_folder, path)
        else:
            made.add_file(folder / name_in_folder, path)
    made.seal({"repository": name, "folder": f"release/{which}"}, details)


def lay_down(reader: Reader, folder: Path) -> None:
    """Place a released model in a local folder, whole: an older one is replaced only when the new one is complete."""
    fresh = folder.with_name(f".{folder.name}-new")
    shutil.rmtree(fresh, ignore_errors=True)
    reader.place("model/", fresh)
    put_in_place(fresh, folder)


def put_in_place(fresh: Path, folder: Path) -> None:
    """Let a folder take the place of an older one."""
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
