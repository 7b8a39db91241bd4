"""Documents to token shards: the Flyte task of the tokenization stage."""

from recipes.schema import Tokenization
from tasks.artifacts.handles import DocumentsRef, RunRef, Tokens, TokensRef
from tasks.panels.tokens import tokens
from tasks.runtime.flyte import show, stage_task
from tasks.runtime.production import Production, Reader


@stage_task("tasks.tokenization")
def tokenize_documents(run: RunRef, section: Tokenization, documents: DocumentsRef) -> TokensRef:
    """Train or load the tokenizer, hold out validation documents by content hash, and write all others as token streams."""
    from tasks.tokenization.tokenize import tokenize

    with Production(run, "tokens", "tokens", section, {"documents": documents}, "tasks.tokenization") as made:
        if made.needed:
            reader = Reader(run, documents)
            shards: dict[str, list] = {}
            for entry in reader.manifest.matching("documents/"):
                shards.setdefault(entry.path.split("/")[1], []).append(reader.path(entry.path))
            made.seal(*tokenize(section, shards, made.scratch, made.add_file))
        assert made.manifest is not None
        show("tokens", tokens(made.manifest))
        return made.handle(Tokens)
