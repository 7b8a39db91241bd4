"""Rules on one document, with cases whose answer is known by hand."""

from hypothesis import given
from hypothesis import strategies as st

from tasks.curation.plants import JUNK, make_junk
from tasks.curation.rules import is_too_short, normalize, prose_quality

PROSE = (
    "It was the best of times, it was the worst of times, and the men of the town which lay by the river said that this was not for them.\n"
    "They went to the hills, as they had done in other years, with their goods on their backs and their children by the hand.\n"
)


def test_the_floor_counts_characters_without_punctuation_and_white_space():
    # "a, b!" has two characters that count
    assert is_too_short("a, b!", 3)
    assert not is_too_short("a, b!", 2)
    assert is_too_short("." * 10_000 + "x" * 199, 200)
    assert not is_too_short("." * 10_000 + "x" * 200, 200)


@given(st.text(), st.integers(0, 40))
def test_the_early_exit_never_changes_the_floors_decision(text, floor):
    import string

    counted = sum(c not in string.punctuation + string.whitespace for c in text)
    assert is_too_short(text, floor) == (counted < floor)


def test_normalization_composes_and_drops_nul():
    assert normalize("e\u0301\x00!") == "\u00e9!"


def test_prose_scores_high_and_every_kind_of_junk_low():
    assert prose_quality(PROSE) > 0.9
    assert prose_quality("") == 0.0
    for kind in JUNK:
        if kind != "short":
            assert prose_quality(make_junk(kind, 7)) < 0.1


def test_a_line_repeated_sixty_times_scores_one_sixtieth():
    assert abs(prose_quality("\n".join(["the men of the town went to the river"] * 60)) - 1 / 60) < 1e-3
