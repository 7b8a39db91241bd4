"""Raw documents to a base checkpoint: data, then the three curriculum stages.

pyflyte run workflows/pretrain.py pretrain --recipe recipes/tiny.yaml
"""

from recipes.schema import Recipe
from tasks.artifacts.handles import CheckpointRef
from tasks.preflight.task import start_run
from tasks.runtime.flyte import workflow
from tasks.runtime.interface import RunName, StoreRoot
from tasks.training.task import train_stage
from workflows.data import curate_and_tokenize


def train_curriculum(run, recipe, tokens):
    """Wire the three stages, each from the one before; return their checkpoints.

    (Sections are read from the recipe anew for each task: Flyte resolves such a reference once, in place.)
    """
    trained = []
    for number in (1, 2, 3):
        parent = {"parent": trained[-1]} if trained else {}
        stage = train_stage(
            run=run, seed=recipe.seed, model=recipe.model, pretraining=recipe.pretraining, number=number, tokens=tokens, **parent
        )
        trained.append(stage.with_overrides(node_name=f"train-stage-{number}"))
    return tuple(trained)


@workflow
def pretrain(recipe: Recipe, name: RunName = "", store: StoreRoot = "") -> CheckpointRef:
    """Train the base model of a recipe; what is finished already is taken from the store."""
    run, raw, _ = start_run(recipe=recipe, name=name, store=store)
    _, tokens = curate_and_tokenize(run, recipe, raw)
    return train_curriculum(run, recipe, tokens)[2]
