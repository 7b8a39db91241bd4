"""The one way this project declares Flyte tasks: cached by the stage's code and its inputs' digests, named shortly, decks lean."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import flytekit
from flytekit import Cache, task

from tasks.panels.page import deck
from tasks.runtime.code import code_digest
from tasks.runtime.placement import task_options

# On one machine the artifact store is the cache: it is keyed by the same identities, and unlike a key-value file in the home
# folder it cannot promise an artifact that is no longer there.
os.environ.setdefault("FLYTE_LOCAL_CACHE_ENABLED", "false")


def stage_task(package: str) -> Callable[[Callable[..., Any]], Any]:
    """Declare a task of the stage in `package`, cached on a cluster until its code or inputs change."""
    return partial(task, cache=Cache(version=code_digest(package)), enable_deck=True, deck_fields=(), **task_options(package.split(".")[1]))


def control_task(package: str) -> Callable[[Callable[..., Any]], Any]:
    """Declare a task of the stage in `package` that looks at the world outside (raw files, clocks) and is therefore never cached."""
    return partial(task, cache=False, enable_deck=True, deck_fields=(), **task_options(package.split(".")[1], light=True))


def show(name: str, fragment: str) -> None:
    """Show a panel as a deck of the running task."""
    flytekit.Deck(name, deck([fragment]))
