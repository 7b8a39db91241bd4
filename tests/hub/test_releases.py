"""What a run's artifacts become on the Hub: models, checkpoints as branches, data as far as licences allow."""

import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard

from recipes.errors import BadInput
from tasks.artifacts.manifest import FileEntry, content_digest, sealed
from tasks.hub.contents import Item, Revision
from tasks.hub.releases import checkpoint_revisions, folder_revision, release_section, released_manifests, revision_name, run_revisions
from tests.hub.small_run import SECRET_TEXT, SmallRun


@pytest.fixture
def small(tmp_path: Path) -> SmallRun:
    return SmallRun(tmp_path)


def revisions(small: SmallRun) -> tuple[dict[str, Revision], list[str]]:
    said: list[str] = []
    releases = {"base": small.manifest("base"), "chat": small.manifest("chat")}
    return {one.label: one for one in run_revisions(small.store, releases, Path(small.run.folder) / "release", said.append)}, said


def text(revision: Revision, path: str) -> str:
    (item,) = [item for item in revision.items if item.path == path]
    return content(item).decode()


def content(item: Item) -> bytes:
    data = item.fetch()
    return data if isinstance(data, bytes) else data.read_bytes()


def paths(revision: Revision) -> set[str]:
    return {item.path for item in revision.items}


def test_a_run_becomes_a_data_set_branches_and_two_models(small):
    found, said = revisions(small)
    assert list(found) == [
        "Reynard-tiny-data@v0.1.0", "Reynard-tiny@stage1-step2-tokens500", "Reynard-tiny@stage1-step6-tokens1K", "Reynard-tiny@v0.1.0",
        "Reynard-tiny-chat@v0.1.0",
    ]  # fmt: skip
    assert said == [
        "! left out, not exported yet: stage1-step4-tokens1K; `reynard run RECIPE --workflow checkpoints` exports and proves them"
    ]
    assert paths(found["Reynard-tiny@v0.1.0"]) == {
        "README.md", "model.safetensors", "config.json", "reynard/recipe.yaml", "SHA256SUMS", "reynard/sbom.cdx.json",
    }  # fmt: skip
    assert [item.path for item in found["Reynard-tiny@v0.1.0"].items if item.is_record] == ["reynard/sbom.cdx.json"]
    for one in found.values():
        assert all(len(content(item)) == item.bytes for item in one.items)


def test_checkpoints_stay_at_home_where_the_recipe_says_so(small, tmp_path):
    found, said = revisions(SmallRun(tmp_path, publish_checkpoints=False))
    assert list(found) == [name for name in revisions(small)[0] if "stage" not in name] and said == []


def test_a_promised_end_of_a_stage_without_an_export_is_refused(tmp_path):
    small = SmallRun(tmp_path)
    (export,) = [one for one in sealed(small.store, "export") if one.name == "export-stage1"]
    small.store.delete(f"export/{export.version}")
    with pytest.raises(BadInput, match=r"Reynard-tiny promises its checkpoints stage1-step6-tokens1K, which are not exported yet"):
        revisions(small)


def test_a_release_that_lacks_a_field_is_to_be_made_again(small):
    section = {name: value for name, value in small.manifest("base").identity["section"].items() if name != "publish_checkpoints"}
    with pytest.raises(BadInput, match="does not say publish_checkpoints, since another version of this project made it"):
        release_section(section)


def test_a_signature_that_was_added_to_the_folder_comes_along_as_a_record(small):
    folder = Path(small.run.folder) / "release" / "base"
    (folder / "SHA256SUMS.sig").write_bytes(b"signed")
    item = next(item for item in revisions(small)[0]["Reynard-tiny@v0.1.0"].items if item.path == "SHA256SUMS.sig")
    assert item.is_record and content(item) == b"signed"
    (folder / "config.json").write_bytes(b"[]")
    with pytest.raises(BadInput, match=r"is not what was released: config\.json differs"):
        revisions(small)


def test_a_folder_alone_says_what_it_is_called(small):
    for which, name in (("base", "Reynard-tiny"), ("chat", "Reynard-tiny-chat")):
        revision, section = folder_revision(Path(small.run.folder) / "release" / which)
        assert revision.label == f"{name}@v0.1.0" and section.organization == ""
        assert {(item.path, item.sha256, item.is_record) for item in revision.items} == {
            (item.path, item.sha256, item.is_record) for item in revisions(small)[0][f"{name}@v0.1.0"].items
        }


def test_a_checkpoints_card_says_what_it_is_and_the_hub_can_read_it(small):
    (first, second), owed = checkpoint_revisions(small.store, small.manifest("base"))
    assert (first.branch, first.tag, owed) == ("stage1-step2-tokens500", "", ["stage1-step4-tokens1K"])
    card = ModelCard(text(first, "README.md"))
    assert (card.data.license, card.data.language, card.data.library_name) == ("apache-2.0", ["en"], "transformers")
    assert "at the end of step 2 in stage1, after 500 tokens" in card.text and 'revision="stage1-step2-tokens500"' in card.text
    assert text(second, "model.safetensors") == "weights of stage1"


@pytest.mark.slow  # training's code imports torch
@pytest.mark.parametrize("tokens, name", [(999, "tokens999"), (1500, "tokens1K"), (4_999_999_999, "tokens4B"), (1_234_567, "tokens1M")])
def test_the_end_of_a_stage_is_named_like_a_checkpoint_inside_it(small, tokens, name):
    from tasks.training.published import revision

    checkpoint = small.manifest("base").model_copy(
        update={"kind": "checkpoint", "counts": {"stage": "stage1", "steps": 6, "tokens": tokens}}
    )
    assert revision_name(checkpoint) == revision("stage1", 6, tokens) == f"stage1-step6-{name}"


def test_only_documents_whose_licence_allows_it_are_published_and_no_quoted_text(small):
    dataset = revisions(small)[0]["Reynard-tiny-data@v0.1.0"]
    data = {path for path in paths(dataset) if path.startswith(("data/", "verdicts/"))}
    assert data == {
        "data/plays/00000.jsonl.zst", "data/library/00000.jsonl.zst", "verdicts/plays/00000.parquet", "verdicts/library/00000.parquet",
    }  # fmt: skip
    assert text(dataset, "data/plays/00000.jsonl.zst") == "documents of plays"
    assert {path for path in paths(dataset) if path.startswith("conversations/")} == {"conversations/content"}  # all their sources are MIT
    everything = b"".join(content(item) for item in dataset.items).decode()
    assert SECRET_TEXT not in everything and str(small.store.root) not in everything


def test_a_recipe_that_publishes_no_data_publishes_manifests_and_statistics(tmp_path):
    dataset = revisions(SmallRun(tmp_path, publish_data=False))[0]["Reynard-tiny-data@v0.1.0"]
    assert not any(path.startswith(("data/", "verdicts/", "conversations/")) for path in paths(dataset))
    card = DatasetCard(text(dataset, "README.md"))
    assert card.data.license == "cdla-permissive-2.0" and "are not here: the addresses and sums of the raw files" in card.text
    assert "The conversations of fine-tuning are not here. Their sources: chats (MIT)." in card.text


def test_the_data_card_lists_every_source_and_a_digest_can_be_computed_from_a_manifest_again(small):
    dataset = revisions(small)[0]["Reynard-tiny-data@v0.1.0"]
    card = DatasetCard(text(dataset, "README.md"))
    assert (card.data.license, card.data.pretty_name, card.data.language) == ("other", "Reynard-tiny-data", ["en"])
    assert [one["config_name"] for one in yaml.safe_load(card.content.split("---")[1])["configs"]] == ["all", "plays", "library"]
    assert "| plays | public domain (Project Gutenberg) | 5 | 2 | too short 3 | yes |" in card.text
    assert "| forum | unknown | 5 | 3 | too short 2 | no |" in card.text and "10 documents (1,000 characters) were kept of 25" in card.text
    manifests = {path: json.loads(text(dataset, path)) for path in paths(dataset) if path.startswith("manifests/")}
    assert sorted(path.split("/")[1] for path in manifests) == ["conversations", "documents", "raw", "raw", "tokens"]
    for one in manifests.values():
        assert content_digest(one["kind"], [FileEntry(**file) for file in one["files"]], one["counts"]) == one["digest"]
        assert "recorded" not in one and one["digest"] in card.text
    assert json.loads(text(dataset, "statistics/curation.json"))["sources"]["plays"]["removed"] == {"too_short": 3}


def test_equal_artifacts_in_another_store_become_equal_revisions(small, tmp_path):
    other = SmallRun(tmp_path / "elsewhere")
    sums = [{(item.path, item.sha256) for item in one.items if not item.is_record} for one in revisions(small)[0].values()]
    assert sums == [{(item.path, item.sha256) for item in one.items if not item.is_record} for one in revisions(other)[0].values()]


def test_the_releases_of_a_run_are_those_that_its_summary_names_else_its_newest(small):
    base = small.manifest("base")
    assert released_manifests(small.store, "small", {})["base"].version == base.version
    assert released_manifests(small.store, "", {"release-base": base.version})["base"].version == base.version
    with pytest.raises(BadInput, match="has no released base model of run other: run the recipe to its release first"):
        released_manifests(small.store, "other", {})
