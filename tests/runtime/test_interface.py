"""What Flyte's console is told: every task and workflow, its inputs and outputs are described, and decks are lean and in order."""

import importlib
from pathlib import Path
from typing import Annotated, NamedTuple

import flytekit
import pytest
from flytekit.core.base_task import PythonTask
from flytekit.core.workflow import PythonFunctionWorkflow
from flytekit.deck.deck import _get_deck

from tasks.artifacts.handles import DocumentsRef, RunRef, Tokens, TokensRef
from tasks.runtime.flyte import LINKS, show, show_links
from tasks.runtime.interface import explained

ROOT = Path(__file__).resolve().parents[2]
MODULES = [f"tasks.{path.parent.name}.task" for path in sorted((ROOT / "tasks").glob("*/task.py"))]
MODULES += [f"workflows.{path.stem}" for path in sorted((ROOT / "workflows").glob("[a-z]*.py"))]


class Made(NamedTuple):
    """Two things."""

    documents: DocumentsRef
    tokens: TokensRef


def test_an_input_is_described_by_its_annotation_or_else_by_its_type():
    def make(run: RunRef, number: Annotated[int, "How many."], tokens: list[Tokens], last: TokensRef | None = None) -> Made:
        """Make things.

        And more of them.
        """

    docstring = flytekit.core.docstring.Docstring(callable_=explained(make))
    assert (docstring.short_description, docstring.long_description) == ("Make things.", "And more of them.")
    streams = "Token streams per source, with the tokenizer that made them."
    run = "Where a run keeps its things, carried through all of its tasks."
    assert docstring.input_descriptions == {"run": run, "number": "How many.", "tokens": streams, "last": streams}
    assert docstring.output_descriptions == {"documents": "Curated documents.", "tokens": streams}


def test_a_plain_value_that_nobody_describes_is_refused():
    def make(number: int) -> DocumentsRef:
        """Make documents."""

    with pytest.raises(TypeError, match=r'make\(number\) is described nowhere: annotate it as Annotated\[int, "what it is"\]'):
        explained(make)


@pytest.mark.parametrize("module", MODULES)
def test_everything_that_is_registered_is_described_and_tasks_have_decks_of_their_own_alone(module):
    declared = [one for one in vars(importlib.import_module(module)).values() if isinstance(one, PythonTask | PythonFunctionWorkflow)]
    assert declared
    for one in declared:
        interface = one.interface.to_flyte_idl()
        for kind in (interface.inputs, interface.outputs):
            for name, variable in kind.variables.items():
                assert variable.description.endswith("."), f"{one.name}: {name}"  # Flyte's own default is the name
        assert one.docs.short_description.endswith(".") and len(one.name) <= 63
        if isinstance(one, PythonTask):
            assert one.enable_deck and one.deck_fields == []


def test_decks_of_one_name_are_one_tab_and_links_come_last():
    context = flytekit.FlyteContextManager.current_context()
    own = flytekit.core.context_manager.ExecutionParameters.Builder(context.user_space_params)
    own.decks = []
    state = context.new_execution_state().with_params(user_space_params=own.build())
    with flytekit.FlyteContextManager.with_context(context.with_execution_state(state)) as inside:
        show_links("<p>first</p>")
        show("loss", "<p>curve</p>")
        show_links("<p>second</p>")
        assert [one.name for one in inside.user_space_params.decks] == ["loss", LINKS]
        written = _get_deck(inside.user_space_params, ignore_jupyter=True)
    assert written.index("curve") < written.index("first") < written.index("second")
    assert written.count("<style>") == 1 + 2, "Flyte's, and one of each deck"
