"""Documents to token shards: the Flyte task of the tokenization stage."""

from recipes.schema import Tokenization
from tasks.artifacts.handles import DocumentsRef, RunRef, Tokens, TokensRef
from tasks.panels.tokens import tokens
from tasks.runtime.cluster import find_profile
from tasks.runtime.flyte import show, stage_task
from tasks.runtime.production import Production, Reader
from tasks.runtime.steps import Steps


@stage_task("tasks.tokenization")
def tokenize_documents(run: RunRef, section: Tokenization, documents: DocumentsRef) -> TokensRef:
    """Train or load the tokenizer, hold out validation documents by content hash, and write all others as token streams."""
    from tasks.tokenization.tokenize import Shard, tokenize

    with Production(run, "tokens", "tokens", section, {"documents": documents}, "tasks.tokenization") as made:
        if made.needed:
            reader = Reader.of(run, documents)
            steps = Steps(made.store, "working/tokenization", find_profile(run.profile).cpu_workers)
            shards = []
            for entry in reader.manifest.matching("documents/"):
                _, source, file = entry.path.split("/")
                shards.append(Shard(source, int(file.split(".")[0]), f"{reader.folder}/{entry.path}", entry.bytes, entry.sha256))
            shards.sort(key=lambda shard: (shard.source, shard.number))

            def publish(done, name: str, path: str) -> None:
                made.adopt_file(done.key(name), path, **done.files[name])

            counts, details = tokenize(section, shards, steps, publish, made.add_file, made.scratch)
            made.seal(counts, details, {"step_seconds": steps.seconds, "items_made": steps.made})
            steps.forget(keep=())
        assert made.manifest is not None
        show("tokens", tokens(made.manifest))
        return made.handle(Tokens)
