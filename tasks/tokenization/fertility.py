"""Two SentencePiece models and documents to how many tokens each needs for a word and for a byte of the same text."""

from collections.abc import Iterable

import sentencepiece

from tasks.artifacts.manifest import JSON

SAMPLE_CHARACTERS = 1_000_000  # of each source


def compare(texts: Iterable[str], models: dict[str, bytes], characters: int = SAMPLE_CHARACTERS) -> JSON:
    """Return documents, words, bytes, and each model's tokens per word (its fertility) and per byte, over the first texts."""
    processors = {name: sentencepiece.SentencePieceProcessor(model_proto=data) for name, data in models.items()}
    found: JSON = {"documents": 0, "words": 0, "bytes": 0}
    tokens, left = dict.fromkeys(models, 0), characters
    for text in texts:
        if left <= 0:
            break
        piece = text[:left]
        left -= len(piece)
        found = {
            "documents": found["documents"] + 1,
            "words": found["words"] + len(piece.split()),
            "bytes": found["bytes"] + len(piece.encode()),
        }
        for name, processor in processors.items():
            tokens[name] += len(processor.encode(piece))
    words, size = max(found["words"], 1), max(found["bytes"], 1)
    return found | {name: {"tokens": count, "per_word": count / words, "per_byte": count / size} for name, count in tokens.items()}
