"""A tokens artifact to the batches of a stage, or one sentence on why it cannot supply them."""

from dataclasses import dataclass
from functools import partial

from tokenizers import Tokenizer

from recipes.errors import BadInput
from recipes.schema import Model, Pretraining, Stage
from tasks.artifacts.manifest import JSON, Manifest
from tasks.artifacts.store import open_store
from tasks.artifacts.token_streams import STREAMS, Stream, documents_between, documents_file, open_streams, read_documents, token_type
from tasks.curriculum.batches import Sequence, StageBatches, check_supply, portion_range
from tasks.runtime.production import Reader

SAMPLE_TOKENS = 200  # of a chunk's text


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
    separator = None if across_documents else tokens.manifest.details["tokenizer"]["eos"]
    return StageBatches(stage, seed, streams, ranges, separator, Origins(tokens.store.root, tokens.manifest))


@dataclass(frozen=True)
class Origins:
    """What the chunks of a tokens artifact are made of. Picklable: files are opened where and when somebody asks."""

    store: str
    manifest: Manifest

    def __call__(self, stream: Stream, sequence: Sequence) -> JSON:
        """Return a chunk's documents and the beginning of its text."""
        tokens = Reader(open_store(self.store), self.manifest)
        end = sequence.start + sequence.tokens
        documents = documents_between(
            stream, sequence.start, end, lambda shard: read_documents(tokens.path(documents_file(sequence.source, shard)))
        )
        ids = stream.read([(sequence.start, min(end, sequence.start + SAMPLE_TOKENS))])[0]
        text = Tokenizer.from_file(str(tokens.path("tokenizer/tokenizer.json"))).decode(ids.tolist(), skip_special_tokens=False)
        return sequence._asdict() | {"documents": documents, "text": text}
