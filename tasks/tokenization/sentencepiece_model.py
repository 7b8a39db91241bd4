"""Curated documents, or a given file, to a SentencePiece model, and that model to the tokenizer that `transformers` loads.

Text is tokenized by SentencePiece itself. The released `tokenizer.json` is a conversion, and `check_conversion` refuses one that
gives other ids: a model must be used with the tokens that it was trained on.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from recipes.errors import BadInput
from recipes.schema import LoadTokenizer, Tokenization
from tasks.sources.files import find_files, open_raw

UNK, BOS, EOS, PAD = "<unk>", "<s>", "</s>", "<pad>"
PIECE_CHARACTERS = 2_000
USER_DEFINED = 4  # SentencePiece's type of piece that is taken whole wherever it stands


def train(section: Tokenization, texts: Iterable[str]) -> bytes:
    """Train a model with byte fallback on the first `sample_characters` of the texts; equal texts give equal bytes."""
    assert section.train is not None
    model, sample = io.BytesIO(), list(_sample(texts, section.train.sample_characters))  # an error in reading is none of the trainer's
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sample), model_writer=model, model_type=section.train.type,
            vocab_size=section.vocabulary_size, max_sentencepiece_length=section.train.max_piece_characters, character_coverage=0.9999,
            byte_fallback=True, split_digits=True, allow_whitespace_only_pieces=True, normalization_rule_name="identity",
            remove_extra_whitespaces=False, add_dummy_prefix=False, unk_id=0, bos_id=1, eos_id=2, pad_id=3, unk_piece=UNK, bos_piece=BOS,
            eos_piece=EOS, pad_piece=PAD, num_threads=2, minloglevel=2,
        )  # fmt: skip
    except RuntimeError as error:
        raise BadInput(f"tokenization.vocabulary_size {section.vocabulary_size} does not fit the documents: {str(error)[-160:]}") from None
    return model.getvalue()


def _sample(texts: Iterable[str], characters: int) -> Iterator[str]:
    """Cut texts into pieces below SentencePiece's sentence limit until enough characters were given."""
    left = characters
    for text in texts:
        for start in range(0, len(text), PIECE_CHARACTERS):
            if left <= 0:
                return
            piece = text[start : start + PIECE_CHARACTERS]
            left -= len(piece)
            yield piece


def load_given(rule: LoadTokenizer) -> bytes:
    """Read a given `tokenizer.model`; BadInput if it is missing or has another sha256 than the recipe says."""
    files = find_files(rule.location, "tokenization.load")
    with open_raw(files[0].path) as file:
        data = file.read()
    found = hashlib.sha256(data).hexdigest()
    if rule.sha256 is not None and found != rule.sha256:
        raise BadInput(f"tokenizer.model at {rule.location!r} has sha256 {found}, the recipe says {rule.sha256}: it is another tokenizer")
    return data


def open_model(data: bytes, vocabulary_size: int) -> sentencepiece.SentencePieceProcessor:
    """Open a model; BadInput if it has no EOS or another number of pieces than the recipe (and so the embedding) has rows."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    if processor.vocab_size() != vocabulary_size:
        raise BadInput(
            f"tokenizer has {processor.vocab_size()} pieces, the recipe's vocabulary_size is {vocabulary_size} and the embedding has as many rows: "
            "set tokenization.vocabulary_size and model.vocabulary_size to the tokenizer's size"
        )
    if processor.eos_id() < 0 or processor.bos_id() < 0:
        raise BadInput("tokenizer has no EOS or no BOS piece: documents could not be separated")
    return processor


def to_transformers(data: bytes, bos_per_document: bool, folder: Path) -> None:
    """Write `tokenizer.model`, `tokenizer.json` and `tokenizer_config.json` for `transformers`' AutoTokenizer."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    fast = convert(processor, data)
    special = {
        "bos_token": processor.bos_id(),
        "eos_token": processor.eos_id(),
        "unk_token": processor.unk_id(),
        "pad_token": processor.pad_id(),
    }
    names = {role: processor.id_to_piece(number) for role, number in special.items() if number >= 0}
    names.setdefault("pad_token", names["eos_token"])
    fast.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in dict.fromkeys(names.values())])
    if bos_per_document:
        bos = names["bos_token"]
        fast.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, processor.bos_id())]
        )
    folder.mkdir(parents=True, exist_ok=True)
    fast.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer.model").write_bytes(data)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, "add_bos_token": bos_per_document,
        "add_eos_token": False, "model_input_names": ["input_ids", "attention_mask"], **names,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def convert(processor: sentencepiece.SentencePieceProcessor, data: bytes) -> Tokenizer:
    """Convert a SentencePiece model to a `tokenizers` pipeline without special tokens.

    A dummy prefix stands before the text alone, not before what follows a special token inside it: the line break behind a turn's EOS is
    one token, as it is where a model is trained on it. `Metaspace` leaves the prefix out before a leading space, which is doubled for that.
    """
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto.FromString(data)
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    prefixed = proto.normalizer_spec.add_dummy_prefix
    steps: list = [normalizers.Replace(Regex(r"\A "), "▁▁")] if prefixed else []
    if proto.trainer_spec.model_type == 1:
        fast = Tokenizer(models.Unigram(pieces, unk_id=processor.unk_id(), byte_fallback=proto.trainer_spec.byte_fallback))
    else:
        ids = {piece: number for number, (piece, _) in enumerate(pieces)}
        fast = Tokenizer(
            models.BPE(ids, _merges(pieces, ids), unk_token=processor.id_to_piece(processor.unk_id()), fuse_unk=True, byte_fallback=True)
        )
    fast.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    if prefixed:
        fast.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    user_defined = [piece.piece for piece in proto.pieces if piece.type == USER_DEFINED]
    fast.add_tokens([AddedToken(piece, normalized=True, special=False) for piece in user_defined])
    tail = [decoders.Strip(" ", 1, 0)] if prefixed else []
    fast.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *tail])
    return fast


def _merges(pieces: list[tuple[str, float]], ids: dict[str, int]) -> list[tuple[str, str]]:
    """Recover BPE merges: every split of a piece into two pieces, best-scored piece first, of equals that with the longest left part.

    SentencePiece merges the leftmost of equals. It matters where merges of one score overlap, as in a run of spaces (all pieces of spaces
    have one score in Mistral's model): there what lies further left was merged before, and is longer.
    """
    found = []
    for piece, score in pieces:
        splits = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece)) if piece[:cut] in ids and piece[cut:] in ids]
        found += [(-score, -len(left), ids[left], ids[right], left, right) for left, right in splits]
    return [(left, right) for *_, left, right in sorted(found)]


def check_conversion(processor: sentencepiece.SentencePieceProcessor, folder: Path, texts: Iterable[str]) -> int:
    """Compare the converted tokenizer with SentencePiece on texts; return how many were compared, ValueError at the first difference.

    Texts that spell out a control token (`<s>`) are left out: SentencePiece reads them as letters, `transformers` as tokens.
    """
    fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
    control = [
        processor.id_to_piece(number)
        for number in (processor.bos_id(), processor.eos_id(), processor.pad_id(), processor.unk_id())
        if number >= 0
    ]
    compared = 0
    for text in texts:
        if any(piece in text for piece in control):
            continue
        ours, theirs = processor.encode(text), fast.encode(text, add_special_tokens=False).ids
        if ours != theirs:
            at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
            raise ValueError(
                f"the converted tokenizer gives other ids than SentencePiece from token {at} on, near {processor.decode(ours[max(at - 5, 0) : at + 5])!r}: "
                "a release would not read text as the model was trained to"
            )
        compared += 1
    return compared
