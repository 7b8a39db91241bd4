"""The Model Openness Framework: the official tool's cases come out as their names say, and every component that is missing costs its class."""

import re
from pathlib import Path

import pytest
import yaml

from tasks.openness.framework import (
    BY_NAME,
    CLASSES,
    COMPONENTS,
    MADE_FOR,
    PAPER,
    REPORT,
    declared,
    is_more,
    openness_class,
    progress,
    standing,
)

OFFICIAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "mof"
CASES = sorted((OFFICIAL / "cases").glob("*.yml"))
needs_official = pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the official tool's files are not here")
FIT = {"code": "Apache-2.0", "data": "CDLA-Permissive-2.0", "document": "CC-BY-4.0"}
EVERYTHING: dict[str, str | None] = {one.name: FIT[one.kind] for one in COMPONENTS}
NEEDED = [one for one in COMPONENTS if one.required]


def percents(name: str) -> list[int]:
    """Return what a case's file name says: progress in class I, II and III."""
    found = re.search(r"_C1_(\d+)%-C2_(\d+)%-C3_(\d+)%", name)
    assert found
    return [int(number) for number in found.groups()]


def as_the_tool_reads_them(one: int, two: int, three: int) -> list[int]:
    """Return what the official test (scripts/test-model-files.php) expects of a name: nothing of a class above one that is not whole."""
    return [one if three == two == 100 else 0, two if three == 100 else 0, three]


@needs_official
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_every_official_case_progresses_as_its_file_name_says(path):
    release = yaml.safe_load(path.read_text())["release"]
    found = progress(declared(release))
    assert [round(found[name]) for name in ("I", "II", "III")] == as_the_tool_reads_them(*percents(path.name))


@needs_official
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_numbers_that_the_tool_hides_come_out_as_well(path):
    """Behind a class that is not whole, names still say how far the others are by the framework's first list, which needed 15 components
    (supporting libraries and sample outputs, no technical report in class I) and 11 in class II."""
    found = declared(yaml.safe_load(path.read_text())["release"])
    met = {name for name, licence in found.items() if standing(licence, BY_NAME[name].kind) in ("fit", "conditional")}
    report = REPORT if REPORT in met else PAPER
    third = {one.name for one in NEEDED if one.number == 3} - {REPORT}
    second = third | {one.name for one in COMPONENTS if one.number == 2}
    first = second | {one.name for one in NEEDED if one.number == 1} | {"Sample model outputs"}
    shares = [100 * len(first & met) / 15, 100 * len((second | {report}) & met) / 11, 100 * len((third | {report}) & met) / 6]
    said, shown = percents(path.name), as_the_tool_reads_them(*percents(path.name))
    assert len(first) == 15 and len(second | {report}) == 11
    assert [round(mine) for mine, their, seen in zip(shares, said, shown, strict=True) if not seen] == [
        their for their, seen in zip(said, shown, strict=True) if not seen
    ]


@needs_official
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_as_many_licences_count_in_every_official_case_as_its_file_name_says(path):
    found = declared(yaml.safe_load(path.read_text())["release"])
    standings = [standing(licence, BY_NAME[name].kind) for name, licence in found.items()]
    number = {letter: int(digits) for digits, letter in re.findall(r"_(\d+)([CVI])(?=_)", path.stem)}
    counted = {"C": len(standings), "V": len([s for s in standings if s in ("fit", "conditional")]), "I": standings.count("closed")}
    assert counted == number


@needs_official
def test_components_and_licences_are_the_official_ones():
    settings = yaml.safe_load((OFFICIAL / "settings.yml").read_text())["components"]
    assert {(c["name"], c["description"], c["content_type"], c["class"], c["required"]) for c in settings} == {
        (c.name, c.description, c.kind, c.number, c.required) for c in COMPONENTS
    }
    listed = yaml.safe_load((OFFICIAL / "valid-mof-licenses.yml").read_text())
    assert len(listed) == 23
    for name, row in listed.items():
        assert name in MADE_FOR[row["ContentType"]] and standing(name, row["ContentType"]) == "fit", name


def test_everything_under_fitting_licences_is_class_one():
    assert len(COMPONENTS) == 17 and len(NEEDED) == 14
    assert progress(EVERYTHING) == {"III": 100, "II": 100, "I": 100} and openness_class(EVERYTHING) == "I"


@pytest.mark.parametrize("gone", [one for one in NEEDED if one.name != REPORT], ids=lambda one: one.name)
def test_taking_away_a_component_lowers_the_class_below_the_one_that_needs_it(gone):
    without = {name: licence for name, licence in EVERYTHING.items() if name != gone.name}
    below = {3: "none", 2: "III", 1: "II"}[gone.number]
    assert openness_class(without) == below
    assert openness_class(without | {gone.name: None}) == openness_class(without | {gone.name: "LicenseRef-Ours"}) == below
    assert is_more(CLASSES[gone.number], below)


@pytest.mark.parametrize("gone", [one for one in COMPONENTS if not one.required], ids=lambda one: one.name)
def test_what_is_optional_costs_nothing(gone):
    assert openness_class({name: licence for name, licence in EVERYTHING.items() if name != gone.name}) == "I"


def test_a_paper_stands_in_for_the_report_and_not_the_other_way_round():
    assert openness_class(EVERYTHING | {REPORT: None}) == "I"
    assert openness_class(EVERYTHING | {PAPER: None}) == "II"
    assert openness_class(EVERYTHING | {REPORT: None, PAPER: None}) == "none"


def test_apache_on_weights_passes_conditionally():
    assert standing("Apache-2.0", "data") == "conditional" and standing("Apache-2.0", "code") == "fit"
    assert openness_class(EVERYTHING | {"Model parameters (Final)": "Apache-2.0"}) == "I"
    assert standing("CC-BY-NC-4.0", "data") == "closed" and standing(None, "data") == "unlicensed"
    assert openness_class(EVERYTHING | {"Model parameters (Final)": "CC-BY-NC-4.0"}) == "none"


@pytest.mark.parametrize(
    ("claimed", "computed", "more"),
    [("I", "II", True), ("III", "none", True), ("II", "II", False), ("none", "none", False), ("III", "I", False)],
)
def test_a_claim_is_too_much_only_above_what_was_computed(claimed, computed, more):
    assert is_more(claimed, computed) is more
