"""Raw documents to token shards: curation, then tokenization.

pyflyte run workflows/data.py data --recipe recipes/tiny.yaml
"""

from typing import NamedTuple

from recipes.schema import Recipe
from tasks.artifacts.handles import DocumentsRef, TokensRef
from tasks.curation.task import curate_documents
from tasks.preflight.task import start_run
from tasks.runtime.flyte import workflow
from tasks.runtime.interface import RunName, StoreRoot
from tasks.tokenization.task import tokenize_documents


class Data(NamedTuple):
    """What the workflow makes."""

    documents: DocumentsRef
    tokens: TokensRef


def curate_and_tokenize(run, recipe, raw):
    """Wire curation to tokenization; return documents and tokens."""
    documents = curate_documents(run=run, section=recipe.curation, raw=raw)
    return documents, tokenize_documents(run=run, section=recipe.tokenization, documents=documents)


@workflow
def data(recipe: Recipe, name: RunName = "", store: StoreRoot = "") -> Data:
    """Curate and tokenize a recipe's sources."""
    run, raw, _ = start_run(recipe=recipe, name=name, store=store)
    return curate_and_tokenize(run, recipe, raw)
