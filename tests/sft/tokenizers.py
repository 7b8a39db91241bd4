"""Tokenizers for tests of fine-tuning: a small one of our own, Mistral's where the package that brings it is installed."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from recipes.schema import Tokenization
from tasks.tokenization.sentencepiece_model import to_transformers, train


@cache
def small_model() -> bytes:
    """Train a tokenizer of 290 pieces."""
    words = [f"user assistant system speaks <|user|> word{n % 50} and\n" * 3 for n in range(300)]
    rule = Tokenization(
        vocabulary_size=290, train={"type": "bpe", "sample_characters": 100_000, "max_piece_characters": 8}, bos_per_document=True,
        held_out_fraction=0.1,
    )  # fmt: skip
    return train(rule, words)


def small_tokenizer(folder: Path) -> Path:
    """Write the small tokenizer for `transformers`."""
    to_transformers(small_model(), True, folder)
    return folder


def mistral_model() -> Path | None:
    """Return the file of Mistral's first SentencePiece model, None where `mistral-common` is not installed."""
    spec = find_spec("mistral_common")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "data" / "tokenizer.model.v1"
