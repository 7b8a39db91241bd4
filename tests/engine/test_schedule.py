"""Learning rates at the boundaries, in closed form."""

import math

import pytest

from recipes.schema import Schedule
from tasks.engine.schedule import Horizon, learning_rate


def wsd(form: str, temperature: float | None = None, final: float = 0.0) -> Schedule:
    return Schedule(
        form="wsd", warmup_steps=10, final_fraction=final, decay_form=form, decay_from_stage="s3", decay_temperature_steps=temperature
    )


HORIZON = Horizon(total_steps=101, decay_from_step=50)


def test_warm_up_is_linear_and_reaches_the_peak_at_its_last_step():
    rates = [learning_rate(wsd("half_life", 16.0), 2.0, HORIZON, step) for step in range(12)]
    assert rates[:10] == pytest.approx([0.2 * n for n in range(1, 11)])
    assert rates[10] == rates[11] == 2.0


def test_wsd_is_constant_until_its_decay_and_halves_every_temperature_steps():
    schedule = wsd("half_life", 16.0)
    assert learning_rate(schedule, 1.0, HORIZON, 50) == 1.0
    assert [learning_rate(schedule, 1.0, HORIZON, 50 + 16 * n) for n in (1, 2, 3)] == pytest.approx([0.5, 0.25, 0.125])


def test_fox1s_half_life_leaves_a_tenth_of_the_peak_after_53151_steps():
    far = Horizon(total_steps=200_000, decay_from_step=0)
    schedule = wsd("half_life", 16_000.0).model_copy(update={"warmup_steps": 0})
    assert learning_rate(schedule, 1.0, far, 53_151) == pytest.approx(0.1, rel=1e-4)


def test_an_e_fold_leaves_one_over_e():
    assert learning_rate(wsd("e_fold", 20.0), 1.0, HORIZON, 70) == pytest.approx(1 / math.e)


@pytest.mark.parametrize(("form", "half_way"), [("linear", 0.5), ("cosine", 0.5), ("one_minus_sqrt", 1 - math.sqrt(0.5))])
def test_the_other_decays_end_at_the_final_fraction_with_the_last_step(form, half_way):
    schedule = wsd(form, final=0.1)
    assert learning_rate(schedule, 1.0, HORIZON, 75) == pytest.approx(0.1 + 0.9 * half_way)
    assert learning_rate(schedule, 1.0, HORIZON, 100) == pytest.approx(0.1)


def test_cosine_falls_to_a_tenth_over_all_steps():
    schedule = Schedule(form="cosine", warmup_steps=0, final_fraction=0.1)
    assert [learning_rate(schedule, 1.0, Horizon(101), step) for step in (0, 50, 100)] == pytest.approx([1.0, 0.55, 0.1])


def test_a_warm_up_fraction_is_of_all_steps():
    schedule = Schedule(form="linear", warmup_fraction=0.1, final_fraction=0.0)
    assert learning_rate(schedule, 1.0, Horizon(100), 9) == 1.0
    assert learning_rate(schedule, 1.0, Horizon(100), 99) == pytest.approx(0.0)
