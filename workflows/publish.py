"""A recipe's released models to repositories of the Hugging Face Hub, with their checkpoints and data.

HF_TOKEN=... pyflyte run workflows/publish.py publish --recipe recipes/tiny.yaml
"""

from recipes.schema import Recipe
from tasks.preflight.task import start_run
from tasks.publication.task import settle_checkpoints
from tasks.publishing.task import publish_models
from tasks.runtime.flyte import workflow
from tasks.runtime.interface import Private, RunName, StoreRoot, Told
from workflows.data import curate_and_tokenize
from workflows.evaluate import evaluate_both
from workflows.pretrain import train_curriculum
from workflows.release import release_both
from workflows.sft import finetune_base


@workflow
def publish(recipe: Recipe, name: RunName = "", store: StoreRoot = "", private: Private = False) -> Told:
    """Release a recipe's models, export the checkpoints on the way to them, and publish all; what is finished, or published, already is left as it is."""
    run, raw, raw_chats = start_run(recipe=recipe, name=name, store=store)
    _, tokens = curate_and_tokenize(run, recipe, raw)
    base = train_curriculum(run, recipe, tokens)[2]
    chat = finetune_base(run, recipe, raw_chats, base)
    base_release, chat_release = release_both(run, recipe, base, chat, *evaluate_both(run, recipe, tokens, base, chat))
    settled = settle_checkpoints(run=run, recipe=recipe)  # looks into the store: what the base model went through has to be there
    published = publish_models(run=run, base=base_release, chat=chat_release, private=private)
    base >> settled
    settled >> published
    return published
