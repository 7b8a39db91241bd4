"""What recipes say about licences: read as SPDX, with notes, or known to be unknown."""

from pathlib import Path

import pytest

from recipes.load import load_recipe
from tasks.openness.licences import all_of, is_open, read_licence

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


@pytest.mark.parametrize(
    ("said", "spdx", "free"),
    [
        ("apache-2.0", "Apache-2.0", True),
        ("public domain (package MIT)", "LicenseRef-public-domain", True),
        ("ODC-By-1.0, under Common Crawl's terms of use", "ODC-By-1.0", True),
        ("PSF-2.0", "PSF-2.0", True),
        ("MIT AND (CC-BY-4.0 OR PSF-2.0)", "MIT AND (CC-BY-4.0 OR PSF-2.0)", True),
        ("GPL-3.0-only WITH Classpath-exception-2.0", "GPL-3.0-only WITH Classpath-exception-2.0", True),
        ("CC-BY", "LicenseRef-CC-BY", True),
        ("CC-BY-NC-4.0", "CC-BY-NC-4.0", False),
        ("LicenseRef-Gemma", "LicenseRef-Gemma", False),
        ("MIT OR LicenseRef-Ours", "MIT OR LicenseRef-Ours", False),
    ],
)
def test_a_licence_is_read_as_spdx(said, spdx, free):
    licence = read_licence(said)
    assert (licence.spdx, licence.is_free, licence.unknown, licence.is_inherited) == (spdx, free, "", False)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("unknown: scraped web pages", "says that it is unknown"),
        ("", "does not say it"),
        ("each paper's own licence", "does not begin with an SPDX expression"),
        ("Apache", "does not begin with an SPDX expression"),
    ],
)
def test_what_cannot_be_read_is_unknown_with_the_reason(said, reason):
    licence = read_licence(said)
    assert reason in licence.unknown and not licence.spdx and not licence.is_free


def test_what_is_made_from_others_inherits():
    licence = read_licence("as its origins")
    assert licence.is_inherited and not licence.unknown


def test_exceptions_are_no_licences():
    assert read_licence("GPL-3.0-only WITH Classpath-exception-2.0 OR MIT").ids == ["GPL-3.0-only", "MIT"]


def test_open_means_approved_or_open_for_data():
    assert [is_open(name) for name in ("MIT", "SMLNJ", "ODbL-1.0", "Xfig", "CC-BY-NC-4.0", "Nonsense")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


def test_things_that_lie_together_are_under_all_their_licences_once():
    assert (
        all_of([read_licence(said) for said in ("MIT", "CC0-1.0 AND MIT", "PSF-2.0 OR MIT", "unknown")])
        == "(PSF-2.0 OR MIT) AND CC0-1.0 AND MIT"
    )


def test_every_licence_of_the_tiny_recipe_is_known_and_free():
    recipe = load_recipe(RECIPES / "tiny.yaml")
    said = [read_licence(source.licence) for source in [*recipe.curation.sources, *recipe.sft.sources]]
    assert [one.said for one in said if one.unknown or not (one.is_inherited or one.is_free)] == []
