"""A tokens artifact to the batches of a stage, or one sentence on why it cannot supply them."""

from functools import partial

from recipes.errors import BadInput
from recipes.schema import Model, Pretraining, Stage
from tasks.artifacts.manifest import JSON
from tasks.artifacts.token_streams import STREAMS, Stream, documents_file, open_streams, read_documents, token_type
from tasks.curriculum.batches import StageBatches, check_supply, portion_range
from tasks.runtime.production import Reader


def check_all_stages(tokens: Reader, model: Model, pretraining: Pretraining) -> None:
    """Check before the first stage that every stage can be supplied, and the embedding has a row for every piece; BadInput if not."""
    pieces = tokens.manifest.counts["vocabulary_size"]
    if pieces != model.vocabulary_size:
        raise BadInput(
            f"the tokenizer of {tokens.manifest.name}@{tokens.manifest.version[:8]} has {pieces:,} pieces, as tokenization.vocabulary_size says, "
            f"but the embedding has model.vocabulary_size {model.vocabulary_size:,} rows: make both {pieces:,}"
        )
    for stage in pretraining.stages:
        check_supply(stage, _ranges(tokens, stage, _streams(tokens, stage)))


def _streams(tokens: Reader, stage: Stage) -> dict[str, Stream]:
    kind = token_type(tokens.manifest.counts["vocabulary_size"])
    return open_streams(tokens.store.root, tokens.folder, tokens.path(STREAMS), kind, [entry.source for entry in stage.mixture])


def _ranges(tokens: Reader, stage: Stage, streams: dict[str, Stream]) -> dict[str, tuple[int, int]]:
    def documents(source: str, shard: int) -> list[JSON]:
        return read_documents(tokens.path(documents_file(source, shard)))

    return {entry.source: portion_range(streams[entry.source], entry.portion, partial(documents, entry.source)) for entry in stage.mixture}


def open_batches(tokens: Reader, stage: Stage, seed: int, across_documents: bool) -> StageBatches:
    """Open a token artifact as the batches of a stage; BadInput if a source cannot give its share."""
    streams = _streams(tokens, stage)
    ranges = _ranges(tokens, stage, streams)
    check_supply(stage, ranges)
    return StageBatches(stage, seed, streams, ranges, None if across_documents else tokens.manifest.details["tokenizer"]["eos"])
