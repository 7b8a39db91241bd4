"""What happened at a step, marked in the panel of training."""

from xml.etree import ElementTree as ET

from tasks.panels.training import MARKS_SHOWN, training
from tests.panels import made_up


def loss_chart(fragment: str) -> list[str]:
    """Return what the loss chart writes."""
    (chart,) = (one for one in ET.fromstring(fragment).iter("svg") if one.get("aria-label") == "Loss over steps")
    return ["".join(text.itertext()) for text in chart.iter("text")]


def test_steps_that_were_skipped_or_had_a_spike_are_marked_and_named():
    manifest, rows = made_up.stage("stage1", 0, 200, 5.0, 3.0, {"plays": 20_000})
    rows[49] |= {"skipped": True, "spike": False}
    rows[119] |= {"skipped": 0, "spike": 1.0}
    fragment = training([(manifest, rows)])
    assert [text for text in loss_chart(fragment) if text in ("skipped", "spike")] == ["skipped", "spike"]
    assert f"Steps skipped: {rows[49]['step']}." in fragment and f"Spikes of the loss at steps: {rows[119]['step']}." in fragment


def test_a_training_without_such_steps_says_nothing_of_them():
    fragment = training([made_up.stage("stage1", 0, 50, 5.0, 3.0, {"plays": 20_000})])
    assert "kipped" not in fragment and "pike" not in fragment


def test_of_very_many_skipped_steps_the_first_are_named_and_the_others_counted():
    manifest, rows = made_up.stage("stage1", 0, 100, 5.0, 3.0, {"plays": 20_000})
    fragment = training([(manifest, [row | {"skipped": True} for row in rows])])
    assert f" and {len(rows) - MARKS_SHOWN} more." in fragment


def test_size_stall_and_time_of_checkpoints_are_told():
    manifest, rows = made_up.stage("stage1", 0, 50, 5.0, 3.0, {"plays": 20_000})
    saved = {"checkpoint_stall_seconds": 0.125, "checkpoint_bytes": 412_000_000, "checkpoint_seconds": 2.5}
    rows = [row | ({"checkpoint_stall_seconds": 0.0} if row["step"] % 10 else saved) for row in rows]
    assert (
        "Checkpoints: 5, the largest 412.0 MB; training stood still for 0.125 s (median), and they were sealed within 2.5 s."
        in training([(manifest, rows)])
    )
