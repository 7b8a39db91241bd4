"""Evidence of openness: with all of it a release is class I; whatever is taken away lowers the class, and a claim above it is too much."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
import yaml

from tasks.artifacts.manifest import Manifest
from tasks.openness.assess import Assessment, assess
from tasks.openness.evidence import FINDERS
from tasks.openness.framework import COMPONENTS, declared, openness_class
from tasks.openness.markdown import badge_svg, component_table, licence_table
from tasks.openness.official import official_yaml
from tests.openness.small_release import CODE, SECTION, SOURCES, lay_out, lineage, source

SCHEMA = Path(__file__).resolve().parents[3] / "shared" / "data" / "mof" / "mof_schema.json"
Files = Callable[[Path], None]


def assessed(
    tmp_path: Path, remove: str = "", source_lacks: str = "", without: str = "", publish: bool = True, checkpoints: bool = True, **changes
) -> Assessment:
    """Assess the small release, without a file, a part of its sources, or artifacts of a kind."""
    folder = lay_out(tmp_path, [name for name in SOURCES if not source_lacks or not name.startswith(source_lacks)])
    for path in list(folder.glob(remove)) if remove else []:
        path.unlink()
    manifests = [one for one in lineage(**changes) if not without or one.kind != without]
    return assess(SECTION.model_copy(update={"publish_data": publish, "publish_checkpoints": checkpoints}), "chat", manifests, folder, CODE)


def test_with_all_evidence_a_release_is_class_one(tmp_path):
    found = assessed(tmp_path)
    assert (
        found.openness_class == "I"
        and not found.claims_too_much
        and found.unknown == []
        and set(FINDERS) == {one.name for one in COMPONENTS}
    )
    shown = {part.component.name: part.shown for part in found.parts}
    assert shown["Datasets"].location == "datasets/fox/Small-data" and shown["Datasets"].artifact.startswith("documents@")
    assert shown["Model parameters (Intermediate)"].artifact.count("stage") == 2
    standings = {part.component.name: part.standing for part in found.parts}
    assert standings["Model parameters (Final)"] == "conditional" and standings["Training code"] == "fit"


TAKEN = {  # what is taken away, and the class that is left
    "Model architecture": ({"source_lacks": "tasks/model/"}, "none"),
    "Model parameters (Final)": ({"remove": "*.safetensors"}, "none"),
    "Evaluation results": ({"remove": "reynard/cards/*"}, "none"),
    "Model card": ({"remove": "README.md"}, "none"),
    "Data card": ({"remove": "DATA_CARD.md"}, "none"),
    "Technical report": ({"remove": "reynard/technical_report.md"}, "none"),
    "Training code": ({"source_lacks": "tasks/engine/"}, "III"),
    "Inference code": ({"source_lacks": "reynard/chat.py"}, "III"),
    "Evaluation code": ({"source_lacks": "tasks/evaluation/"}, "III"),
    "Evaluation data": ({"without": "card"}, "III"),
    "Data preprocessing code": ({"source_lacks": "tasks/tokenization/"}, "II"),
    "Model parameters (Intermediate)": ({"without": "stages"}, "II"),
    "Datasets": ({"publish": False}, "II"),
    "Research paper": ({"remove": "reynard/technical_report.md"}, "none"),  # the report stands in for it
}


def test_every_required_component_is_taken_away_below():
    assert set(TAKEN) == {one.name for one in COMPONENTS if one.required}


@pytest.mark.parametrize("name", TAKEN)
def test_without_a_component_the_class_falls_and_the_claim_is_too_much(tmp_path, name):
    taken, left = TAKEN[name]
    if taken == {"without": "stages"}:
        manifests = lineage()
        manifests = [one for one in manifests if one.kind != "checkpoint" or one is manifests[0]]
        found = assess(SECTION, "chat", manifests, lay_out(tmp_path), CODE)
    else:
        found = assessed(tmp_path, **taken)
    assert found.openness_class == left
    assert found.claims_too_much and any(line.startswith(f"{name}: ") for line in found.facts()["lacking"])


@pytest.mark.parametrize("name", ["reynard/samples.json", "config.json"])
def test_without_an_optional_component_the_class_stands(tmp_path, name):
    assert assessed(tmp_path, remove=name).openness_class == "I"


def test_checkpoints_that_are_not_published_show_nothing(tmp_path):
    found = assessed(tmp_path, checkpoints=False)
    assert found.openness_class == "II"
    assert found.facts()["lacking"] == [
        "Model parameters (Intermediate): the recipe publishes no checkpoints (release.publish_checkpoints)"
    ]


def test_an_empty_file_shows_nothing(tmp_path):
    folder = lay_out(tmp_path)
    (folder / "DATA_CARD.md").write_text("")
    assert assess(SECTION, "chat", lineage(), folder, CODE).lacking("III") == ["Data card: the folder has no DATA_CARD.md"]


def test_other_code_than_that_which_ran_shows_nothing(tmp_path):
    found = assess(SECTION, "chat", lineage(), lay_out(tmp_path), CODE | {"tasks.training": "edited since"})
    assert found.openness_class == "III"
    [reason] = found.facts()["lacking"]
    assert reason.startswith("Training code: tasks.training of reynard/source.tar.gz (edited since) is not the code that made stage")


@pytest.mark.parametrize("licence", ["CC-BY-NC-4.0", "LicenseRef-Terms-Of-Use"])
def test_documents_that_may_not_be_given_on_are_no_open_data_set(tmp_path, licence):
    found = assessed(tmp_path, sources=[source("books", licence)])
    assert found.openness_class == "II" and found.unknown == []
    assert found.facts()["lacking"] == [f"Datasets: 'books' may not be given on: {licence} does not allow it"]


def test_files_to_come_count_without_a_digest(tmp_path):
    folder = lay_out(tmp_path)
    (folder / "README.md").unlink()
    found = assess(SECTION, "chat", lineage(), folder, CODE, to_come=["README.md"])
    assert found.openness_class == "I" and "| Model card | III | ✓ | README.md | in SHA256SUMS |" in component_table(found)


def test_weights_under_a_closed_licence_are_no_open_model(tmp_path):
    section = SECTION.model_copy(update={"licence": "CC-BY-NC-4.0"})
    found = assess(section, "chat", lineage(), lay_out(tmp_path), CODE)
    assert found.openness_class == "none" and "its licence CC-BY-NC-4.0 is not open" in found.lacking("III")[0]


def test_our_yaml_says_the_same_class_to_the_official_reading(tmp_path):
    for taken, left in TAKEN.values():
        if taken != {"without": "stages"}:
            found = assessed(tmp_path / left / str(len(str(taken))), **taken)
            assert openness_class(declared(yaml.safe_load(official_yaml(found))["release"])) == found.openness_class == left


@pytest.mark.skipif(not SCHEMA.is_file(), reason="the official tool's schema is not here")
@pytest.mark.parametrize("which", ["base", "chat"])
def test_our_yaml_validates_against_the_official_schema(tmp_path, which):
    found = replace(assessed(tmp_path), which=which)
    values = yaml.safe_load(official_yaml(found))
    jsonschema.validate(values, json.loads(SCHEMA.read_text()))
    assert values["release"]["name"] == {"base": "Small", "chat": "Small-chat"}[which] and len(values["release"]["components"]) == 16
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values | {"framework": {"name": "Another"}}, json.loads(SCHEMA.read_text()))


def test_the_table_has_a_row_for_every_component_and_says_why_one_does_not_count(tmp_path):
    table = component_table(assessed(tmp_path, remove="DATA_CARD.md"))
    assert len([line for line in table.splitlines() if line.startswith("| ")]) == 1 + len(COMPONENTS)
    assert "| Data card | III | ✗ | the folder has no DATA_CARD.md |" in table and "**Unclassified** (class III 83 %" in table


def test_the_licence_table_names_what_is_unknown(tmp_path):
    table = licence_table(assessed(tmp_path, sources=[source("books", "unknown")]).bill)
    assert (
        "| corpus | books | **unknown**: the recipe says that it is unknown |" in table
        and "| mixture | stage1 | **unknown**: made from 'books'" in table
    )


@pytest.mark.parametrize("name", ["I", "II", "III", "none"])
def test_a_badge_is_a_picture_of_its_own_that_says_the_class(name):
    root = ElementTree.fromstring(badge_svg(name))
    assert root.attrib["aria-label"].startswith("Model Openness Framework: ") and "http" not in badge_svg(name).replace(
        "http://www.w3.org/2000/svg", ""
    )
    assert float(root.attrib["width"]) > 200


def test_equal_releases_give_equal_documents(tmp_path):
    first, second = assessed(tmp_path / "a"), assessed(tmp_path / "b")
    assert official_yaml(first) == official_yaml(second) and component_table(first) == component_table(second)
    assert isinstance(lineage()[0], Manifest)
