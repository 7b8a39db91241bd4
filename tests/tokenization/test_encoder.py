"""The fast encoder: the ids of SentencePiece on every text, a liar found out, models that it must not touch."""

import io
import random
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.schema import Tokenization
from tasks.tokenization import encoder as module
from tasks.tokenization.bpe_kernels import JOIN
from tasks.tokenization.encoder import Encoder, EncodersDiffer, faster_encoder, hostile_texts, is_checked
from tasks.tokenization.sentencepiece_model import train

SYLLABLES = (
    "ba",
    "bre",
    "ci",
    "dro",
    "el",
    "fu",
    "gan",
    "hi",
    "ion",
    "ka",
    "lu",
    "mer",
    "nit",
    "os",
    "pra",
    "qui",
    "ras",
    "ste",
    "tion",
    "um",
    "ver",
)
WORDS = ["".join(random.Random(n).choices(SYLLABLES, k=1 + n % 4)) for n in range(300)]
LINES = [
    f"def f{n}(x): return  x + {n}   # café {'=' * (n % 30)} the words of <b>it</b> a{' ' * (n % 9)}b\t\t中文{n % 7} "
    + " ".join(WORDS[n % 250 :][:9])
    for n in range(400)
]
HOSTILE = [
    "", " ", "  ", "▁", "▁▁ ▁", " a", "a ", "\0", "a\0b", "<s>", "a</s>b", "<unk><pad>", "<0x41>", "\ue000", "\U0010ffff", "�", "⁇", " ⁇ ", "e\u0301",
    "ﬁ", "　a　", "\r\n", "\n\n\n", "\u00a0x", "\ufeffx", "<b>x</b><b", "\t\t\t\t\t", "==" * 300, " " * 777, "a" * 5000, "中" * 999, "=" * 40, "=" * 41,
    "x" * 22, "x" * 23, "x" * 24, "é" * 11 + "x", "é" * 12, "😀" * 5 + "aaa", "the words\u2581of it", "abab ab ba b",
]  # fmt: skip
ALPHABET = "ab <>s/▁\n\t=0é中\u0301😀Theworđ."


def made(**options: object) -> bytes:
    """Train a tiny model on LINES with SentencePiece's own defaults where the options do not say otherwise."""
    model = io.BytesIO()
    rule = {"model_type": "bpe", "vocab_size": 420, "byte_fallback": True, "minloglevel": 2, "num_threads": 1} | options
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(LINES), model_writer=model, **rule)
    return model.getvalue()


def ours(kind: str) -> bytes:
    """Train a tiny model as the tokenization stage does."""
    rule = {"type": kind, "sample_characters": 50_000, "max_piece_characters": 8}
    return train(Tokenization(vocabulary_size=400, train=rule, bos_per_document=False, held_out_fraction=0.1), LINES)


@pytest.fixture(scope="session")
def models() -> dict[str, bytes]:
    plain = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "allow_whitespace_only_pieces": True}
    return {
        "ours": ours("bpe"),
        "ours, unigram": ours("unigram"),
        "dummy prefix": made(**plain, add_dummy_prefix=True),
        "user-defined": made(**plain, add_dummy_prefix=False, user_defined_symbols=["<b>", "</b>", "\t\t", "▁▁▁", "\n", "ab", "abab", "é"]),
        "normalized": made(normalization_rule_name="nmt_nfkc", user_defined_symbols=["ﬁ", "▁▁"]),
        "over words": made(**plain, split_by_whitespace=False, split_by_unicode_script=False, max_sentencepiece_length=24),
        "suffix": made(**plain, treat_whitespace_as_suffix=True),
        "no byte fallback": made(**plain, byte_fallback=False),
    }


FAST = ["ours", "dummy prefix", "user-defined", "normalized", "over words", "suffix"]
SLOW = ["ours, unigram", "no byte fallback"]


@pytest.fixture(scope="session")
def encoders(models: dict[str, bytes]) -> dict[str, Encoder]:
    return {name: Encoder(data) for name, data in models.items()}


def differences(encoder: Encoder, texts: list[str]) -> list[str]:
    """Return the texts whose ids differ from SentencePiece's."""
    expected = encoder.processor.encode(texts)
    return [text for text, ids, right in zip(texts, encoder.encode(texts), expected, strict=True) if ids.tolist() != right]


@pytest.mark.parametrize("name", FAST + SLOW)
def test_hostile_texts_have_the_ids_of_sentencepiece(encoders: dict[str, Encoder], name: str) -> None:
    encoder = encoders[name]
    assert (encoder.choice.encoder == "word-cached BPE") == (name in FAST)
    assert differences(encoder, HOSTILE + LINES) == []
    assert differences(encoder, list(hostile_texts(encoder.processor))) == []
    assert {ids.dtype for ids in encoder.encode(HOSTILE)} == {np.dtype(np.uint32)}


@pytest.mark.parametrize("name", FAST)
def test_any_characters_and_any_parts_of_pieces_have_the_ids_of_sentencepiece(encoders: dict[str, Encoder], name: str) -> None:
    encoder = encoders[name]
    numbers = random.Random(0)
    pieces = [encoder.processor.id_to_piece(number).replace("▁", " ") for number in range(encoder.processor.vocab_size())]
    ends = [piece[numbers.randrange(2) :] for piece in pieces]
    texts = ["".join(numbers.choices(pieces + ends, k=12)) for _ in range(3000)]
    assert differences(encoder, texts) == []

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.one_of(st.text(ALPHABET, max_size=60), st.text(max_size=30), st.sampled_from(pieces)), max_size=8))
    def check(parts: list[str]) -> None:
        assert differences(encoder, ["".join(parts), *parts]) == []

    check()


def test_every_character_of_unicode_has_the_ids_of_sentencepiece(encoders: dict[str, Encoder]) -> None:
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    assert differences(encoders["ours"], ["".join(characters[start : start + 997]) for start in range(0, len(characters), 997)]) == []


def test_ids_do_not_depend_on_what_was_encoded_before_or_beside_a_text(models: dict[str, bytes], encoders: dict[str, Encoder]) -> None:
    alone = [Encoder(models["ours"])._fast.encode([text])[0].tolist() for text in LINES[:5]]
    together = encoders["ours"].encode([*HOSTILE, *LINES[:5], *HOSTILE])[len(HOSTILE) : len(HOSTILE) + 5]
    assert [ids.tolist() for ids in together] == alone
    assert encoders["ours"].encode([]) == []


def test_words_that_meet_in_a_line_of_the_cache_stay_apart(models: dict[str, bytes]) -> None:
    encoder = Encoder(models["ours"])
    assert encoder._fast is not None
    encoder._fast.cache = np.zeros((1, 8), dtype=np.uint64)
    assert differences(encoder, HOSTILE + LINES) == []
    assert encoder._fast.cache.any()
    encoder._fast.tables.joins[:] = JOIN  # each text is one word: cutting less is slower, never wrong
    words = ["the words of the words of the"[:length] for length in range(1, 28)]
    altered = [word[:at] + "e" + word[at + 1 :] for word in words for at in range(len(word))]
    assert differences(encoder, [text for word in altered for text in (words[len(word) - 1], word)]) == []


@pytest.mark.parametrize("name", FAST + SLOW)
def test_a_document_that_spells_out_a_control_piece_gets_its_letters(encoders: dict[str, Encoder], name: str) -> None:
    encoder = encoders[name]
    control = {number for number in range(encoder.processor.vocab_size()) if encoder.processor.is_control(number)}
    assert {encoder.processor.bos_id(), encoder.processor.eos_id()} <= control
    found = encoder.encode(["<s>", "</s>", "a<s></s>b", "<pad> </s>\n</s>"])
    assert all(len(ids) and not control & set(ids.tolist()) for ids in found)


def test_models_that_are_not_plain_bpe_are_left_to_sentencepiece_with_a_reason(encoders: dict[str, Encoder]) -> None:
    assert encoders["ours, unigram"].choice.encoder == encoders["no byte fallback"].choice.encoder == "SentencePiece"
    assert "no BPE model" in encoders["ours, unigram"].choice.why
    assert "no byte fallback" in encoders["no byte fallback"].choice.why
    for options, reason in (
        ({"control_symbols": ["b"]}, "control piece of one character"),
        ({"user_defined_symbols": ["a" * 65]}, "very long"),
    ):
        encoder = Encoder(made(**options))
        assert encoder.choice.encoder == "SentencePiece" and reason in encoder.choice.why
        assert differences(encoder, HOSTILE) == []


@pytest.mark.parametrize("change, reason", [("type", "unused"), ("space", "space"), ("letter", "no piece")])
def test_altered_models_that_would_be_encoded_wrongly_are_left_to_sentencepiece(models: dict[str, bytes], change: str, reason: str) -> None:
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto.FromString(models["ours"])
    at = {"type": "def", "space": "▁", "letter": "d"}[change]
    (piece,) = [piece for piece in proto.pieces if piece.piece == at] or [proto.pieces[-1]]
    if change == "type":
        piece.type = module.UNUSED
    else:
        piece.piece = "Ω"
    encoder = Encoder(proto.SerializeToString())
    assert encoder.choice.encoder == "SentencePiece" and reason in encoder.choice.why
    assert differences(encoder, HOSTILE + LINES) == []


class Liar:
    """An encoder that gives one kind of text another id."""

    def __init__(self, honest: module._Bpe, lies_about: str) -> None:
        self.honest, self.lies_about = honest, lies_about

    def encode(self, texts: list[str]) -> list[np.ndarray]:
        found = self.honest.encode(texts)
        return [ids + 1 if self.lies_about in text else ids for text, ids in zip(texts, found, strict=True)]


def test_a_fast_encoder_that_lies_is_found_out_before_the_work_and_replaced(
    models: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = faster_encoder(models["ours"], LINES)
    assert honest.choice.encoder == "word-cached BPE" and honest.choice.texts_compared > len(LINES)
    real = module._Bpe
    monkeypatch.setattr(module, "_Bpe", lambda data, processor: Liar(real(data, processor), "f399"))
    replaced = faster_encoder(models["ours"], LINES)
    assert replaced.choice.encoder == "SentencePiece" and "token 0" in replaced.choice.why
    assert 0 < replaced.choice.texts_compared <= honest.choice.texts_compared
    assert differences(replaced, LINES) == []


def test_a_fast_encoder_that_lies_during_the_work_stops_it_and_is_not_used_again(models: dict[str, bytes]) -> None:
    text = next(text for text in (f"the words of {n}" for n in range(100_000)) if is_checked(text))
    encoder = Encoder(models["ours"])
    assert encoder._fast is not None
    encoder._fast = Liar(encoder._fast, text)
    encoder.encode(["other texts"])
    with pytest.raises(EncodersDiffer, match="encoded again"):
        encoder.encode(["other texts", text])
    assert encoder.choice.encoder == "SentencePiece"
    assert differences(encoder, [text, *LINES]) == []


def test_a_constant_share_of_documents_is_checked() -> None:
    checked = sum(is_checked(f"document {n}") for n in range(100_000))
    assert 100 < checked < 300  # 195 expected


def test_a_lone_surrogate_is_refused(encoders: dict[str, Encoder]) -> None:
    with pytest.raises(UnicodeEncodeError):
        encoders["ours"].encode(["\ud800"])


@pytest.mark.skipif(find_spec("mistral_common") is None, reason="mistral-common brings the model")
def test_mistrals_model_is_encoded_as_by_sentencepiece() -> None:
    spec = find_spec("mistral_common")
    assert spec is not None and spec.origin is not None
    encoder = faster_encoder((Path(spec.origin).parent / "data" / "tokenizer.model.v1").read_bytes(), LINES)
    assert encoder.choice.encoder == "word-cached BPE"
    assert differences(encoder, HOSTILE + LINES) == []
