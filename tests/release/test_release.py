"""A finished run to release folders: complete, equal in two clones, refused with a verdict, delivered when a person approved."""

import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from recipes.errors import BadInput
from recipes.load import load_recipe
from recipes.schema import Recipe
from tasks.artifacts.handles import Released
from tasks.artifacts.manifest import Manifest, content_digest
from tasks.artifacts.store import open_store
from tasks.release import expected, proof
from tasks.release.approval import settle_approval
from tasks.release.card import hub_licence
from tasks.release.facts import Loaded
from tasks.release.publish import lay_down, release_identity
from tasks.release.task import release_model
from tasks.release.verify_export import look
from tasks.runtime.production import Production, Reader, load_manifest
from tests.release.small_run import SmallRun, small_recipe

LAID_DOWN = [
    "DATA_CARD.md", "README.md", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
    "reynard/cards/arc_challenge-0-shot.json", "reynard/cards/arc_easy-0-shot.json", "reynard/cards/hellaswag-0-shot.json",
    "reynard/cards/piqa-0-shot.json", "reynard/cards/winogrande-0-shot.json", "reynard/fidelity.md", "reynard/lineage.json", "reynard/loss.csv",
    "reynard/loss.png", "reynard/recipe.yaml", "reynard/recorded.json", "reynard/samples.json", "reynard/MOF.yml", "reynard/licences.json",
    "reynard/openness.svg", "reynard/sbom.cdx.json", "reynard/source.tar.gz", "reynard/technical_report.md", "SHA256SUMS",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def in_this_process():
    """Look at folders in this process; test_proof.py shows that a clean one finds the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proof, "clean_process", lambda folder, wanted: Loaded(**look(str(folder), str(wanted))))
        patch.setattr(expected, "NEW_TOKENS", 8)
        yield


def release(made: SmallRun, recipe: Recipe, which: str = "chat") -> Released:
    """Run the release's task body."""
    return release_model.task_function(made.run, recipe, which, made.checkpoints[which], made.scores[which])


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SmallRun:
    return SmallRun(tmp_path_factory.mktemp("run"), small_recipe())


@pytest.fixture(scope="module")
def folder(made) -> Path:
    handle = release(made, made.recipe)
    lay_down(Reader.of(made.run, handle), made.root / handle.folder)
    return made.root / handle.folder


def text(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


def test_a_folder_holds_all_that_a_reader_needs(folder):
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(LAID_DOWN) <= there and {"tokenizer.json", "tokenizer.model"} <= there
    assert not [name for name in there if name.startswith(".") or name.endswith((".bin", ".pt"))]


def test_two_clones_release_the_same_digest_and_files_that_differ_are_records(made, folder, tmp_path):
    first = load_manifest(made.run, release(made, made.recipe))
    other = SmallRun(tmp_path / "elsewhere", small_recipe())
    second = load_manifest(other.run, release(other, other.recipe))
    assert [[one.path, one.sha256] for one in first.files] == [[one.path, one.sha256] for one in second.files]
    assert first.digest == second.digest and first.version == second.version
    assert {one.path for one in first.records} == {f"model/reynard/{name}" for name in ("recorded.json", "sbom.cdx.json", "source.tar.gz")}
    for entry in first.files:
        data = Reader(open_store(made.run.store), first).path(entry.path).read_bytes()
        assert str(made.root).encode() not in data, entry.path


def test_the_recipe_in_the_folder_is_the_one_that_ran(made, folder):
    assert load_recipe(folder / "reynard" / "recipe.yaml") == made.recipe


def test_the_lineage_leads_to_the_raw_files_and_every_manifest_in_it_can_be_checked(made, folder):
    told = json.loads(text(folder, "reynard/lineage.json"))
    manifests = {f"{one['kind']}/{one['version']}": Manifest.model_validate(one) for one in told["manifests"]}
    assert told["root"] == {
        "checkpoint": f"checkpoint/{made.checkpoints['chat'].version}",
        "scores": f"scores/{made.scores['chat'].version}",
    }
    assert [one.kind for one in manifests.values()].count("checkpoint") == 4 and "raw" in {one.kind for one in manifests.values()}
    for one in manifests.values():
        assert one.digest == content_digest(one.kind, one.files, one.counts) and (one.recorded, one.records) == ({}, [])
        for role, parent in one.identity.get("parent_artifacts", {}).items():
            assert manifests["/".join(parent["uri"].split("/")[:2])].digest == one.identity["parents"][role]
    assert "quoted" not in text(folder, "reynard/lineage.json")
    assert json.loads(text(folder, "reynard/recorded.json"))[told["root"]["checkpoint"]].keys() >= {"commit", "finished", "seconds"}


def test_the_card_is_one_that_the_hub_reads(folder):
    card = ModelCard.load(folder / "README.md")
    assert (card.data.license, card.data.language, card.data.base_model) == ("apache-2.0", ["en"], "Reynard-tiny")
    results = [(one.dataset_type, one.metric_type, one.metric_value) for one in card.data.eval_results]
    assert len(results) == 5 and results[:2] == [("arc_easy", "acc_norm", 40.0), ("arc_challenge", "acc_norm", 40.0)]
    assert card.data.model_name == "Reynard-tiny-chat" and card.data.to_dict()["model-index"][0]["name"] == "Reynard-tiny-chat"
    assert "| arc_easy | 0 | acc_norm | 40.0 | 6.9 | 50 | 25 |" in card.text and "2.500 bits per byte" in card.text
    assert "- logits equal the trainer's: largest difference" in card.text and "{{" not in card.text and " at 0x" not in card.text
    links = [part.split(")")[0] for part in card.text.split("](")[1:]]
    own = [link for link in links if not link.startswith("https://")]
    assert "reynard/loss.png" in own and [link for link in own if not (folder / link).exists()] == []


def test_the_data_card_counts_every_source_and_what_became_of_it(made, folder):
    said = text(folder, "DATA_CARD.md")
    assert "| shakespeare | plays | public domain (Project Gutenberg; package MIT) | shakespeare 0.6 | 3 | 2 | 20 | 9 | 1 |" in said
    assert "| python_help | PSF-2.0 | 3 | 90 | 30 | 1 empty turn |" in said and "| stage1 | 400 |" in said
    assert all(source.name in said for source in made.recipe.curation.sources) and "{{" not in said


def test_samples_and_losses_are_there_in_numbers(folder):
    samples = json.loads(text(folder, "reynard/samples.json"))["samples"]
    assert len(samples) == 5 and all(one["agreed_tokens"] == len(one["leads"]) <= len(one["output_ids"]) for one in samples)
    rows = text(folder, "reynard/loss.csv").splitlines()
    assert rows[:2] == ["stage,step,loss,learning_rate", "stage1,1,6.0000,0.001"] and len(rows) == 1 + 4 * 4
    assert (folder / "reynard" / "loss.png").read_bytes()[:4] == b"\x89PNG"


def test_a_base_model_is_released_without_what_only_a_chat_model_has(made):
    manifest = load_manifest(made.run, release(made, made.recipe, "base"))
    paths = {one.path for one in manifest.files}
    assert "model/chat_template.jinja" not in paths and "model/reynard/samples.json" in paths
    card = yaml.safe_load(Reader.of(made.run, release(made, made.recipe, "base")).path("model/README.md").read_text().split("---")[1])
    assert "base_model" not in card and card["tags"] == ["reynard", "base"]
    assert all(row["passed"] for row in manifest.details["checks"])


def test_a_refused_release_seals_nothing_and_leaves_a_verdict_to_read(made):
    strict = small_recipe(thresholds={"zero_shot/arc_easy": 41.0}, openness_class="I")
    with pytest.raises(
        BadInput, match=r"release of chat refused: scores reach.*arc_easy 40.0 is below 41.*; openness as claimed \(claimed I"
    ):
        release(made, strict)
    verdict = made.root / "release" / "chat.refused.md"
    assert "zero_shot/arc_easy 40.0 is below 41" in verdict.read_text() and verdict.read_text().count("- what to do:") == 2
    store = open_store(made.run.store)
    assert [store.read(key) for key in store.list("refused")] == [verdict.read_bytes()]
    release(made, made.recipe)
    assert not verdict.exists()


def test_scores_of_other_weights_do_not_count(made):
    with pytest.raises(BadInput, match=r"release of chat refused: evaluated \(scored was"):
        release_model.task_function(made.run, made.recipe, "chat", made.checkpoints["chat"], made.scores["base"])


def test_a_release_that_a_person_must_approve_waits_and_is_approved_once(made, monkeypatch):
    section, store = small_recipe(approval=True).release, open_store(made.run.store)
    manifest = load_manifest(made.run, release(made, made.recipe))
    monkeypatch.delenv("REYNARD_APPROVE", raising=False)
    with pytest.raises(
        BadInput, match=r"waits for a person, as release.approval asks: read card.md, then run the same command again with --approve"
    ):
        settle_approval(section, store, manifest, False, "card.md")
    monkeypatch.setenv("REYNARD_APPROVE", "yes")
    assert settle_approval(section, store, manifest, False, "card.md") != ""
    monkeypatch.delenv("REYNARD_APPROVE")
    assert settle_approval(section, store, manifest, False, "card.md") == ""  # it was approved: nobody is asked again
    assert settle_approval(section, store, manifest.model_copy(update={"digest": "0", "version": "0"}), True, "card.md") == "gate node"
    assert settle_approval(made.recipe.release, store, manifest, False, "card.md") == ""


def test_what_decides_a_release_is_its_section_and_the_recipe_that_lies_in_it(made):
    version = Production(made.run, "release", "x", release_identity(made.recipe, "base"), {}, "tasks.release").version
    other = small_recipe(version="0.2.0")
    assert Production(made.run, "release", "x", release_identity(other, "base"), {}, "tasks.release").version != version


def test_the_hubs_names_of_licences_are_used_where_it_has_one():
    assert hub_licence("CC-BY-4.0") == {"license": "cc-by-4.0"}
    assert hub_licence("PSF-2.0") == {"license": "other", "license_name": "psf-2.0"}
