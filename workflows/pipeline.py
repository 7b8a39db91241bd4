"""The whole chain on one screen: raw documents in, a released chat model out.

pyflyte run workflows/pipeline.py pipeline --recipe recipes/tiny.yaml
"""

from recipes.schema import Recipe
from tasks.artifacts.handles import SummaryRef
from tasks.preflight.task import start_run
from tasks.reporting.task import summarize
from tasks.runtime.flyte import workflow
from tasks.runtime.interface import RunName, StoreRoot
from workflows.data import curate_and_tokenize
from workflows.evaluate import evaluate_both, score_without_overlap
from workflows.pretrain import train_curriculum
from workflows.release import release_both
from workflows.sft import finetune_base


@workflow
def pipeline(recipe: Recipe, name: RunName = "", store: StoreRoot = "") -> SummaryRef:
    """Curate, tokenize, pre-train in three stages, fine-tune, evaluate, release, and report."""
    run, raw, raw_chats = start_run(recipe=recipe, name=name, store=store)
    documents, tokens = curate_and_tokenize(run, recipe, raw)
    first, second, base = train_curriculum(run, recipe, tokens)
    chat = finetune_base(run, recipe, raw_chats, base)
    base_scores, chat_scores = evaluate_both(run, recipe, tokens, base, chat)
    clean_scores = score_without_overlap(run, recipe, chat, base_scores, chat_scores)
    base_release, chat_release = release_both(run, recipe, base, chat, base_scores, chat_scores)
    return summarize(
        run=run, recipe=recipe, documents=documents, tokens=tokens, stages=[first, second, base], chat=chat,
        base_scores=base_scores, chat_scores=chat_scores, clean_scores=clean_scores, base_release=base_release, chat_release=chat_release,
    )  # fmt: skip
