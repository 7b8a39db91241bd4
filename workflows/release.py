"""A recipe's evaluated checkpoints to published models.

pyflyte run workflows/release.py release --recipe recipes/tiny.yaml
"""

from datetime import timedelta
from typing import NamedTuple

from flytekit import approve, conditional

from recipes.release import Release
from recipes.schema import Recipe
from tasks.artifacts.handles import ReleasedRef, RunRef
from tasks.preflight.task import start_run
from tasks.release.task import deliver_release, present_release, release_model, waits_for_approval
from tasks.runtime.flyte import workflow
from tasks.runtime.interface import RunName, StoreRoot
from workflows.data import curate_and_tokenize
from workflows.evaluate import evaluate_both
from workflows.pretrain import train_curriculum
from workflows.sft import finetune_base

PATIENCE = timedelta(days=7)  # that a gate node waits for a person


class Releases(NamedTuple):
    """What the workflow makes."""

    base: ReleasedRef
    chat: ReleasedRef


@workflow
def deliver_approved(run: RunRef, section: Release, release: ReleasedRef) -> ReleasedRef:
    """Show a release to a person and wait for the approval, then deliver it."""
    shown = present_release(run=run, release=release)
    return deliver_release(run=run, section=section, release=approve(shown, "approve-release", PATIENCE), by_gate=True)


def release_one(run, recipe, which, checkpoint, scores):
    """Wire the release of one model: proved and judged, approved by a person where the recipe asks for it, delivered."""
    release = release_model(run=run, recipe=recipe, which=which, checkpoint=checkpoint, scores=scores)
    release.with_overrides(node_name=f"release-{which}")
    waits = waits_for_approval(run=run, section=recipe.release, release=release).with_overrides(node_name=f"ask-{which}")
    return (
        conditional(f"approval-{which}")
        .if_(waits.is_true())
        .then(deliver_approved(run=run, section=recipe.release, release=release))
        .else_()
        .then(deliver_release(run=run, section=recipe.release, release=release, by_gate=False))
    )


def release_both(run, recipe, base, chat, base_scores, chat_scores):
    """Wire the release of both models; return them."""
    return release_one(run, recipe, "base", base, base_scores), release_one(run, recipe, "chat", chat, chat_scores)


@workflow
def release(recipe: Recipe, name: RunName = "", store: StoreRoot = "") -> Releases:
    """Release a recipe's models; what is finished already is taken from the store."""
    run, raw, raw_chats = start_run(recipe=recipe, name=name, store=store)
    _, tokens = curate_and_tokenize(run, recipe, raw)
    base = train_curriculum(run, recipe, tokens)[2]
    chat = finetune_base(run, recipe, raw_chats, base)
    return release_both(run, recipe, base, chat, *evaluate_both(run, recipe, tokens, base, chat))
