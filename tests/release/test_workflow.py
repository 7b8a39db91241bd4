"""The release's wiring: a person is asked by a gate node where a cluster runs a recipe that wants it, and never on one machine."""

from datetime import timedelta

import pytest
from flytekit import workflow
from flytekit.core.gate import Gate

from recipes.schema import Recipe
from tasks.artifacts.handles import Checkpoint, CheckpointRef, Released, ReleasedRef, Run, RunRef, Scores, ScoresRef
from tasks.release import task as stage
from tests.release.small_run import small_recipe
from workflows import release as wiring

RUN = Run(name="r", folder="f", store="s", profile="local", tracking_uri="", tracking_run="", started=0.0)
HANDLE = {"name": "n", "version": "v" * 16, "uri": "s/kind/v/manifest.json", "digest": "d"}
RELEASED = Released(**HANDLE, repository="R", folder="release/base")
CHECKPOINT = Checkpoint(**HANDLE, stage="stage3", steps=1, tokens=1, parameters=1, loss=1.0)
SCORES = Scores(**HANDLE, checkpoint="base", scores={"a/b": 1.0}, bits_per_byte=1.0)


@workflow
def release_base(run: RunRef, recipe: Recipe, checkpoint: CheckpointRef, scores: ScoresRef) -> ReleasedRef:
    """Release a base model."""
    return wiring.release_one(run, recipe, "base", checkpoint, scores)


@pytest.fixture
def delivered(monkeypatch) -> list[bool]:
    """How releases were delivered: by a gate node, or not. The tasks' bodies are stand-ins; what lies between them is Flyte's."""
    how: list[bool] = []

    def deliver(run, section, release, by_gate):
        how.append(by_gate)
        return release

    monkeypatch.setattr(stage.release_model, "_task_function", lambda run, recipe, which, checkpoint, scores: RELEASED)
    monkeypatch.setattr(stage.present_release, "_task_function", lambda run, release: release)
    monkeypatch.setattr(stage.deliver_release, "_task_function", deliver)
    return how


@pytest.mark.parametrize("waits", [False, True])
def test_a_gate_node_is_passed_only_where_a_person_is_to_be_asked(delivered, monkeypatch, waits):
    asked = []

    def ask(gate: Gate, ctx, **values):
        asked.append(gate.name)
        (value,) = values.values()
        return value

    monkeypatch.setattr(Gate, "local_execute", ask)
    monkeypatch.setattr(stage.waits_for_approval, "_task_function", lambda run, section, release: waits)
    assert release_base(run=RUN, recipe=small_recipe(approval=True), checkpoint=CHECKPOINT, scores=SCORES) == RELEASED
    assert (asked, delivered) == ((["approve-release"], [True]) if waits else ([], [False]))


def test_on_one_machine_no_gate_waits(monkeypatch):
    monkeypatch.delenv("FLYTE_INTERNAL_EXECUTION_ID", raising=False)
    assert stage.waits_for_approval.task_function(RUN, small_recipe(approval=True).release, RELEASED) is False


def test_the_gate_waits_a_week():
    gates = [node.flyte_entity for node in wiring.deliver_approved.nodes if isinstance(node.flyte_entity, Gate)]
    assert [(gate.name, gate._timeout) for gate in gates] == [("approve-release", timedelta(days=7))]
