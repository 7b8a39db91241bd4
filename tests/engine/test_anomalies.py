"""Judgements of losses: what is a spike, what is no number, and that a restart judges alike."""

import math
import random

import pytest

from recipes.schema import Anomalies
from tasks.engine.anomalies import Detector

RULE = Anomalies(policy="skip", window_steps=8, threshold=5.0, most_skipped_steps=1)
LOSSES = [3.0, 3.1, 2.9, 3.05, 2.95, 3.2, 2.8, 3.0]  # median 3.0, median deviation 0.075


def rows(losses: list[float]) -> list[dict]:
    return [{"step": number + 1, "loss": loss} for number, loss in enumerate(losses)]


def test_a_spike_is_told_by_its_robust_score():
    detector = Detector(RULE, rows(LOSSES))
    assert detector.judge(3.5, 1.0) is None  # (3.5 - 3.0) / (1.4826 * 0.075) = 4.497
    found = detector.judge(3.6, 1.0)
    assert found is not None and found.why == "spike" and found.median == 3.0
    assert found.score == pytest.approx(0.6 / (1.4826 * 0.075), abs=1e-3)
    assert detector.judge(1.0, 1.0) is None, "a loss that falls is no accident"


def test_nothing_is_a_spike_before_the_window_is_full():
    detector = Detector(RULE, rows(LOSSES[:7]))
    assert detector.judge(100.0, 1.0) is None
    detector.take(3.0)
    assert detector.judge(100.0, 1.0) is not None


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (3.0, math.nan), (3.0, math.inf), (3.0, -1.0)])
def test_what_is_no_number_is_told_at_once(loss: float, norm: float):
    found = Detector(RULE, []).judge(loss, norm)
    assert found is not None and found.why == "not finite" and found.score is None


def test_a_restart_judges_as_the_run_that_went_on():
    chance = random.Random(1)
    losses = [3.0 + chance.gauss(0, 0.1) + (2.0 if step in (20, 21, 50) else 0.0) for step in range(80)]

    def judged(detector: Detector, first: int) -> list[dict]:
        found = []
        for step in range(first, len(losses)):
            row = {"step": step + 1, "loss": losses[step]}
            if detector.judge(losses[step], 1.0):
                row["skipped"] = "spike"
            else:
                detector.take(losses[step])
            found.append(row)
        return found

    whole = judged(Detector(RULE, []), 0)
    assert {20, 21, 50} <= {row["step"] - 1 for row in whole if "skipped" in row}
    for at in (1, 19, 21, 22, 51):
        assert judged(Detector(RULE, whole[:at]), at) == whole[at:]
