"""The one way this project declares Flyte tasks: cached by the stage's code and its inputs' digests, described, named shortly, decks lean."""

import os
from collections.abc import Callable
from typing import Any

import flytekit
from flytekit import Cache, task

from tasks.panels.page import below, deck
from tasks.runtime.code import code_digest
from tasks.runtime.interface import explained
from tasks.runtime.placement import task_options

# On one machine the artifact store is the cache: it is keyed by the same identities, and unlike a key-value file in the home
# folder it cannot promise an artifact that is no longer there.
os.environ.setdefault("FLYTE_LOCAL_CACHE_ENABLED", "false")

LINKS = "links"  # the deck that stands behind those that say something

Declare = Callable[[Callable[..., Any]], Any]


def stage_task(package: str) -> Declare:
    """Declare a task of the stage in `package`, cached on a cluster until its code or inputs change."""
    return _declared(cache=Cache(version=code_digest(package)), **task_options(package.split(".")[1]))


def control_task(package: str, **options: Any) -> Declare:
    """Declare a task of the stage in `package` that looks at the world outside (raw files, clocks) and is therefore never cached."""
    return _declared(cache=False, **task_options(package.split(".")[1], light=True), **options)


def _declared(**options: Any) -> Declare:
    return lambda function: task(explained(function), enable_deck=True, deck_fields=(), **options)


def workflow(function: Callable[..., Any]) -> Any:
    """Declare a workflow whose inputs and outputs are described."""
    return flytekit.workflow(explained(function))


def show(name: str, fragment: str) -> None:
    """Show a panel as a deck of the running task, below what that deck shows already."""
    shown = next((one for one in flytekit.current_context().decks if one.name == name), None)
    if shown is None:
        flytekit.Deck(name, deck([fragment]))
    else:
        shown.append(below(fragment))
    flytekit.current_context().decks.sort(key=lambda one: one.name == LINKS)


def show_links(line: str) -> None:
    """Add a line to the deck of links, which is the last of the running task's."""
    show(LINKS, line)
