"""Token streams: exact round trips, equal ids in SentencePiece and the released tokenizer, held-out documents that never move."""

from pathlib import Path

import numpy as np
import pytest

from recipes.errors import BadInput
from recipes.schema import LoadTokenizer, Tokenization
from tasks.artifacts.documents import document_id, read_lines, write_lines
from tasks.tokenization.sentencepiece_model import check_conversion, load_given, open_model, to_transformers, train
from tasks.tokenization.tokenize import is_held_out, tokenize

TEXTS = [f"def f{n}(x):\n    return  x + {n}   # café {'=' * (n % 30)}\n" * 4 + "the words of it " * (n % 7) for n in range(120)]
RULE = Tokenization(
    vocabulary_size=320,
    train={"type": "bpe", "sample_characters": 50_000, "max_piece_characters": 8},
    bos_per_document=True,
    held_out_fraction=0.2,
)


def shard(tmp_path: Path, texts: list[str]) -> dict[str, list[Path]]:
    rows = sorted(
        ({"id": document_id(text), "text": text, "raw": f"r#{n}", "quality": 1.0} for n, text in enumerate(texts)),
        key=lambda row: row["id"],
    )
    path = tmp_path / "shard.jsonl.zst"
    write_lines(path, rows)
    return {"src": [path]}


def run(tmp_path: Path, texts: list[str]) -> tuple[dict, dict, Path]:
    out = tmp_path / "out"
    (tmp_path / "scratch").mkdir(parents=True)

    def add(local: Path, path: str) -> None:
        target = out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        local.rename(target)

    return *tokenize(RULE, shard(tmp_path, texts), tmp_path / "scratch", add), out


def test_streams_hold_every_document_between_bos_and_eos_and_decode_to_its_text(tmp_path: Path):
    counts, details, out = run(tmp_path, TEXTS)
    processor = open_model((out / "tokenizer/tokenizer.model").read_bytes(), 320)
    seen = []
    for split in ("train", "held_out"):
        stream = np.fromfile(out / f"tokens/src/{split}.bin", dtype=np.uint16)
        for row in read_lines(out / f"tokens/src/{split}.index.jsonl.zst"):
            ids = stream[row["start"] : row["start"] + row["tokens"]].tolist()
            assert (ids[0], ids[-1]) == (1, 2) and 2 not in ids[1:-1]
            text = processor.decode(ids[1:-1])
            assert document_id(text) == row["id"] and len(text.encode()) == row["bytes"]
            seen.append(text)
    assert sorted(seen) == sorted(TEXTS)
    assert counts["documents"] + details["sources"]["src"]["held_out_documents"] == 120


def test_the_same_documents_give_the_same_bytes(tmp_path: Path):
    first, second = run(tmp_path / "one", TEXTS)[2], run(tmp_path / "two", TEXTS[::-1])[2]
    for path in sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file() and "index" not in p.name):
        assert (first / path).read_bytes() == (second / path).read_bytes(), path


def test_held_out_documents_do_not_change_when_others_are_added():
    ids = [document_id(f"text {n}") for n in range(2000)]
    held = {number for number in ids if is_held_out(number, 0.1)}
    assert 150 < len(held) < 250
    assert {number for number in ids[:500] if is_held_out(number, 0.1)} == held & set(ids[:500])
    assert held <= {number for number in ids if is_held_out(number, 0.2)}


def test_the_released_tokenizer_gives_sentencepieces_ids(tmp_path: Path):
    from transformers import AutoTokenizer

    data = train(RULE, TEXTS)
    to_transformers(data, True, tmp_path)
    processor = open_model(data, 320)
    strange = ["", " ", "   x", "a\n\n\tb", "日本 naïve \U0001f98a", "=" * 77, "x" * 300, "\x01\x02"]
    assert check_conversion(processor, tmp_path, [*TEXTS, *strange]) == len(TEXTS) + len(strange)
    fast = AutoTokenizer.from_pretrained(tmp_path)
    assert fast("def f(x)")["input_ids"] == [processor.bos_id(), *processor.encode("def f(x)")]
    assert (fast.bos_token_id, fast.eos_token_id, fast.pad_token_id) == (1, 2, 3)


def test_a_conversion_that_differs_is_refused(tmp_path: Path):
    data = train(RULE, TEXTS)
    to_transformers(data, True, tmp_path)
    other = open_model(train(RULE, TEXTS[:60]), 320)
    with pytest.raises(ValueError, match="gives other ids than SentencePiece"):
        check_conversion(other, tmp_path, TEXTS)


def test_control_tokens_spelt_in_a_document_stay_letters():
    processor = open_model(train(RULE, TEXTS), 320)
    assert not {1, 2} & set(processor.encode("a </s> b <s>"))


def test_a_tokenizer_of_another_size_is_refused_naming_recipe_tokenizer_and_embedding():
    with pytest.raises(BadInput, match=r"tokenizer has 320 pieces, the recipe's vocabulary_size is 321 and the embedding has as many rows"):
        open_model(train(RULE, TEXTS), 321)


def test_a_given_tokenizer_with_another_checksum_is_refused(tmp_path: Path):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(train(RULE, TEXTS))
    assert load_given(LoadTokenizer(location=str(path), licence="CC0", sha256=None)) == path.read_bytes()
    with pytest.raises(BadInput, match="it is another tokenizer"):
        load_given(LoadTokenizer(location=str(path), licence="CC0", sha256="0" * 64))
