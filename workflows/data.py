"""Raw documents to token shards: curation, then tokenization.

pyflyte run workflows/data.py data --recipe recipes/tiny.yaml
"""

from flytekit import workflow

from recipes.schema import Recipe
from tasks.artifacts.handles import DocumentsRef, TokensRef
from tasks.curation.task import curate_documents
from tasks.preflight.task import start_run
from tasks.tokenization.task import tokenize_documents


def curate_and_tokenize(run, recipe, raw):
    """Wire curation to tokenization; return documents and tokens."""
    documents = curate_documents(run=run, section=recipe.curation, raw=raw)
    return documents, tokenize_documents(run=run, section=recipe.tokenization, documents=documents)


@workflow
def data(recipe: Recipe, name: str = "", store: str = "") -> tuple[DocumentsRef, TokensRef]:
    """Curate and tokenize a recipe's sources."""
    run, raw, _ = start_run(recipe=recipe, name=name, store=store)
    return curate_and_tokenize(run, recipe, raw)
