"""Raw documents and chats to a chat checkpoint: pre-training, then supervised fine-tuning.

pyflyte run workflows/sft.py sft --recipe recipes/tiny.yaml
"""

from recipes.schema import Recipe
from tasks.artifacts.handles import CheckpointRef
from tasks.preflight.task import start_run
from tasks.runtime.flyte import workflow
from tasks.runtime.interface import RunName, StoreRoot
from tasks.sft.task import finetune
from workflows.data import curate_and_tokenize
from workflows.pretrain import train_curriculum


def finetune_base(run, recipe, raw_chats, base):
    """Wire fine-tuning; return the chat checkpoint."""
    return finetune(run=run, seed=recipe.seed, model=recipe.model, section=recipe.sft, raw=raw_chats, base=base)


@workflow
def sft(recipe: Recipe, name: RunName = "", store: StoreRoot = "") -> CheckpointRef:
    """Fine-tune the base model of a recipe; what is finished already is taken from the store."""
    run, raw, raw_chats = start_run(recipe=recipe, name=name, store=store)
    _, tokens = curate_and_tokenize(run, recipe, raw)
    return finetune_base(run, recipe, raw_chats, train_curriculum(run, recipe, tokens)[2])
