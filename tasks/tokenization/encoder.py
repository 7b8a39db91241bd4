"""Texts to the ids that SentencePiece gives them, several times as fast: BPE with a cache of words, checked against SentencePiece.

SentencePiece merges the best-scored pair of neighbouring symbols, the leftmost of equals, until no pair is a piece. Where no piece
has a text's two neighbouring characters side by side, nothing is ever merged over them: there the text is cut into words, and the
ids of a word depend on the word alone. That is exact, not a heuristic, for all models that `_Bpe` accepts; the others (unigram, no
byte fallback, unused pieces) are encoded by SentencePiece itself. Control pieces are never looked for: a document that spells out
`</s>` gets its letters, as from SentencePiece. Texts are normalized by SentencePiece unless its rule changes nothing but spaces.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
import sentencepiece
import xxhash

from tasks.tokenization.bpe_kernels import CACHED_WORDS, CUT, JOIN, JOIN_UNLESS_USER_DEFINED, NONE, SLACK, Tables, encode, fill

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # SentencePiece's types of pieces
BPE = 2  # SentencePiece's type of model
SPACE = "▁"
LONGEST_USER_DEFINED = 64  # characters: SentencePiece's own search holds as many matches
CHECKED_ONE_IN = 512  # documents, chosen by their content, that SentencePiece encodes too
BATCH_BYTES = 1 << 22


class EncodersDiffer(ValueError):
    """The fast encoder gave a document other ids than SentencePiece: what it encoded before cannot be trusted either."""


class Unsupported(ValueError):
    """A model that only SentencePiece itself encodes exactly."""


@dataclass(frozen=True)
class Choice:
    """Which encoder is used, its version, why, and how many texts were compared with SentencePiece before."""

    encoder: str
    version: str
    why: str
    texts_compared: int = 0


class Encoder:
    """What SentencePiece's `encode` gives for every text, without BOS and EOS."""

    def __init__(self, data: bytes) -> None:
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=data)
        self._fast: _Bpe | None = None
        try:
            self._fast = _Bpe(data, self.processor)
            self.choice = Choice("word-cached BPE", f"numba {numba.__version__}", "exact for this model, and faster")
        except Unsupported as error:
            self.fall_back(str(error))

    def fall_back(self, why: str) -> None:
        """Use SentencePiece itself from now on."""
        self._fast = None
        self.choice = Choice("SentencePiece", sentencepiece.__version__, why)

    def encode(self, texts: list[str]) -> list[np.ndarray]:
        """Return each text's ids (uint32); on one thread.

        Raise EncodersDiffer where SentencePiece, asked about one of 512 documents, disagrees: ids that were returned before may be
        wrong, so the work must begin anew. This encoder is SentencePiece itself from then on.
        """
        if self._fast is None:
            return self.encode_slowly(texts)
        found = [ids for batch in _batches(texts) for ids in self._fast.encode(batch)]
        places = [place for place, text in enumerate(texts) if is_checked(text)]
        if different := self.first_difference([texts[place] for place in places], [found[place] for place in places]):
            self.fall_back(different)
            raise EncodersDiffer(f"{different}: documents that were encoded before must be encoded again, now by SentencePiece itself")
        return found

    def encode_slowly(self, texts: list[str]) -> list[np.ndarray]:
        """Return each text's ids (uint32) from SentencePiece itself."""
        return [np.array(ids, dtype=np.uint32) for ids in self.processor.encode(texts, num_threads=1)]

    def first_difference(self, texts: list[str], found: list[np.ndarray]) -> str:
        """Describe the first of the texts whose ids are not SentencePiece's; empty if there is none."""
        for text, ours, theirs in zip(texts, found, self.encode_slowly(texts), strict=True):
            if not np.array_equal(ours, theirs):
                at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
                near = self.processor.decode(theirs[max(at - 5, 0) : at + 5].tolist())
                return f"the fast encoder differs from SentencePiece at token {at} of a text of {len(text):,} characters, near {near!r}"
        return ""


def is_checked(text: str) -> bool:
    """Tell whether SentencePiece encodes a document too: a function of its content alone, the same in every run."""
    return xxhash.xxh3_64_intdigest(text.encode()) % CHECKED_ONE_IN == 0


def faster_encoder(data: bytes, sample_texts: Iterable[str]) -> Encoder:
    """Return an encoder that was compared with SentencePiece on these texts and on all pieces of the model.

    If a single id differs it is SentencePiece itself; `choice` tells which, why, and the number of texts compared.
    """
    encoder = Encoder(data)
    if encoder._fast is None:
        return encoder
    compared = 0
    for batch in _batches([*hostile_texts(encoder.processor), *sample_texts]):
        compared += len(batch)
        if different := encoder.first_difference(batch, encoder._fast.encode(batch)):
            encoder.fall_back(different)
            break
    encoder.choice = replace(encoder.choice, texts_compared=compared)
    return encoder


def hostile_texts(processor: sentencepiece.SentencePieceProcessor) -> Iterator[str]:
    """Give texts that spell out every piece, alone between spaces and joined, and characters of all Unicode planes."""
    pieces = [processor.id_to_piece(number).replace(SPACE, " ") for number in range(processor.vocab_size())]
    yield from ("", " ", "  ", SPACE, f" {SPACE} ", "\0", "a\0b", "\n" * 99, "\t" * 99, " " * 999, "a" * 999, "\r\n", "\u2047", "e\u0301")
    yield from (piece for number, piece in enumerate(pieces) if processor.is_control(number) or processor.is_unknown(number))
    for start in range(0, len(pieces), 64):
        yield "".join(pieces[start : start + 64])
        yield "x ".join(pieces[start : start + 64])
    characters = [chr(code) for code in range(0, 0x110000, 41) if not 0xD800 <= code < 0xE000]
    for start in range(0, len(characters), 64):
        yield "".join(characters[start : start + 64])


def _batches(texts: list[str]) -> Iterator[list[str]]:
    """Cut texts into batches of bounded size, so that memory does not grow with their number."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Bpe:
    """A SentencePiece BPE model as tables; Unsupported if cutting into words would not be exact."""

    def __init__(self, data: bytes, processor: sentencepiece.SentencePieceProcessor) -> None:
        from sentencepiece import sentencepiece_model_pb2

        proto = sentencepiece_model_pb2.ModelProto.FromString(data)
        rule, trainer = proto.normalizer_spec, proto.trainer_spec
        _refuse(proto)
        self.processor = processor
        self.normalizes = bool(rule.precompiled_charsmap) or rule.remove_extra_whitespaces or trainer.treat_whitespace_as_suffix
        self.prefix = " " if rule.add_dummy_prefix else ""
        self.tables = _tables(proto)
        self.cache = np.zeros((CACHED_WORDS, 8), dtype=np.uint64)

    def encode(self, texts: list[str]) -> list[np.ndarray]:
        """Return each text's ids."""
        if self.normalizes:
            texts = self.processor.normalize(texts)
        elif self.prefix:
            texts = [self.prefix + text if text else text for text in texts]
        parts = [text.replace(SPACE, " ").encode() for text in texts]
        starts = np.zeros(len(parts) + 1, dtype=np.int64)
        np.cumsum([len(part) for part in parts], out=starts[1:])
        content = np.frombuffer(b"".join(parts) + b"\0", dtype=np.uint8)  # a pair of bytes may be read at the last one
        scratch = np.empty((5, max(map(len, parts), default=0) + 1), dtype=np.int64)
        ids = np.empty(starts[-1] + SLACK, dtype=np.uint32)  # never more ids than bytes; whole cache lines are copied
        ends = np.zeros(len(starts), dtype=np.int64)
        encode(content, starts, self.tables, self.cache, scratch, ids, ends)
        ids = ids[: ends[-1]].copy()
        return [ids[start:end] for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]


def _refuse(proto: Any) -> None:
    """Raise Unsupported for models that are not plain BPE with byte fallback."""
    kinds = [piece.type for piece in proto.pieces]
    reserved = [piece.piece for piece in proto.pieces if piece.type in (UNKNOWN, CONTROL, BYTE)]
    user_defined = [piece.piece for piece in proto.pieces if piece.type == USER_DEFINED]
    checks = {
        "is no BPE model": proto.trainer_spec.model_type != BPE,
        "has no byte fallback": not proto.trainer_spec.byte_fallback or kinds.count(BYTE) != 256,
        "has unused pieces": UNUSED in kinds,
        "does not escape spaces": not proto.normalizer_spec.escape_whitespaces,
        "has a piece with a plain space": any(" " in piece.piece for piece in proto.pieces),
        "has a control piece of one character": any(len(piece) == 1 for piece in reserved),
        "has a very long user-defined piece": any(len(piece) > LONGEST_USER_DEFINED for piece in user_defined),
        "has no piece for a space": not any(piece.piece == SPACE and piece.type == NORMAL for piece in proto.pieces),
    }
    if reasons := [reason for reason, found in checks.items() if found]:
        raise Unsupported(f"the model {' and '.join(reasons)}")


def _tables(proto: Any) -> Tables:
    spelled = [piece.piece.replace(SPACE, " ") for piece in proto.pieces]
    normal = {text: number for number, text in enumerate(spelled) if proto.pieces[number].type == NORMAL}
    user_defined = {text: number for number, text in enumerate(spelled) if proto.pieces[number].type == USER_DEFINED}
    ranks = np.unique([-piece.score for piece in proto.pieces], return_inverse=True)[1].tolist()  # equal scores, equal ranks
    joins = np.full((256, 256), CUT)
    joins[:, 0x80:0xC0] = JOIN  # inside a character
    keys, values = [], []
    for text, number in normal.items():
        if missing := [character for character in text if character not in normal]:
            if any(character not in user_defined for character in missing):
                raise Unsupported(f"the model has a piece {text!r} with a character that is no piece")
            continue  # user-defined pieces are never merged, so nothing makes this piece
        for left, right in itertools.pairwise(text):
            joins[left.encode()[-1], right.encode()[0]] = JOIN
        for cut in range(1, len(text)):
            left, right = normal.get(text[:cut]), normal.get(text[cut:])
            if left is not None and right is not None:
                keys.append(left << 32 | right)
                values.append(ranks[number] << 32 | number)
    character_ids = np.full(0x110000, -1, dtype=np.int32)
    for text, number in normal.items():
        if len(text) == 1:
            character_ids[ord(text)] = number
    byte_ids = np.zeros(256, dtype=np.uint32)
    byte_ids[[int(piece.piece[3:5], 16) for piece in proto.pieces if piece.type == BYTE]] = [
        number for number, piece in enumerate(proto.pieces) if piece.type == BYTE
    ]
    pairs = np.full((1 << (2 * len(keys) + 1).bit_length(), 2), NONE)
    fill(np.array(keys, dtype=np.uint64), np.array(values, dtype=np.uint64), pairs)
    starts, nodes, ids = _user_defined(user_defined)
    joins[:, starts.any(1)] *= JOIN_UNLESS_USER_DEFINED
    return Tables(joins, starts, nodes, ids, character_ids, byte_ids, pairs)


def _user_defined(pieces: dict[str, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which two bytes may begin a piece, the prefix tree, and the piece that ends at each of its nodes."""
    starts = np.zeros((256, 256), dtype=np.bool_)
    tree: list[dict[int, int]] = [{}]
    ends = {}
    for text, number in pieces.items():
        content = text.encode()
        starts[content[0], content[1] if len(content) > 1 else slice(None)] = True
        node = 0
        for byte in content:
            if byte not in tree[node]:
                tree[node][byte] = len(tree)
                tree.append({})
            node = tree[node][byte]
        ends[node] = number
    nodes = np.zeros((len(tree), 256), dtype=np.int32)
    for node, children in enumerate(tree):
        nodes[node, list(children)] = list(children.values())
    return starts, nodes, np.array([ends.get(node, -1) for node in range(len(tree))], dtype=np.int32)
