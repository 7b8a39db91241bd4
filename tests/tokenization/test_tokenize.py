"""Token streams: exact round trips, equal ids in SentencePiece and the released tokenizer, held-out documents that never move."""

import io
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer

from recipes.errors import BadInput
from recipes.schema import LoadTokenizer, Tokenization
from tasks.artifacts.documents import document_id, write_lines
from tasks.artifacts.store import Store, sha256_file
from tasks.artifacts.token_streams import STREAMS, documents_file, open_streams, read_documents, token_type
from tasks.runtime.steps import Steps
from tasks.tokenization import encoder
from tasks.tokenization import tokenize as tokenize_module
from tasks.tokenization.encoder import Encoder
from tasks.tokenization.sentencepiece_model import check_conversion, load_given, open_model, to_transformers, train
from tasks.tokenization.tokenize import Shard, is_held_out, tokenize

TEXTS = [f"def f{n}(x):\n    return  x + {n}   # café {'=' * (n % 30)}\n" * 4 + "the words of it " * (n % 7) for n in range(120)]
RULE = Tokenization(
    vocabulary_size=320,
    train={"type": "bpe", "sample_characters": 50_000, "max_piece_characters": 8},
    bos_per_document=True,
    held_out_fraction=0.2,
)


def laid_down(root: Path, texts: list[str], shards: int = 3, source: str = "src") -> list[Shard]:
    """Write texts as curation does: documents in order of id, in shards of equal ranges of ids."""
    store = Store(str(root / "store"))
    root.mkdir(exist_ok=True)
    rows = [{"id": document_id(text), "text": text, "raw": f"r#{n}", "quality": 1.0} for n, text in enumerate(texts)]
    rows.sort(key=lambda row: row["id"])
    found = []
    for number in range(shards):
        path = root / "shard"
        write_lines(path, [row for row in rows if int(row["id"][:8], 16) * shards >> 32 == number])
        key, size, digest = f"documents/1/documents/{source}/{number:05d}.jsonl.zst", path.stat().st_size, sha256_file(path)
        store.put(path, key)
        found.append(Shard(source, number, key, size, digest))
    return found


def run(root: Path, shards: list[Shard], rule: Tokenization = RULE, workers: int = 0) -> tuple[dict, dict, Path, Steps]:
    """Tokenize shards in the store below `root`; return counts, details, the artifact's folder and the steps."""
    store, scratch, out = Store(str(root / "store")), root / "scratch", root / "out"
    scratch.mkdir(parents=True, exist_ok=True)
    steps = Steps(store, "working", workers)

    def publish(done, name: str, path: str) -> None:
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(done.path(store, name).read_bytes())

    return *tokenize(rule, shards, steps, publish, lambda local, path: local.rename(out / path), scratch), out, steps


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_streams_hold_every_document_between_bos_and_eos_and_decode_to_its_text(tmp_path: Path):
    counts, details, out, _ = run(tmp_path, laid_down(tmp_path, TEXTS))
    processor = open_model((out / "tokenizer/tokenizer.model").read_bytes(), 320)
    seen = []
    parts = [(f"tokens/src/{number:05d}", out / f"tokens/src/{number:05d}.bin") for number in range(3)]
    for name, flat in [*parts, ("held_out/src", out / "held_out/src.bin")]:
        stream = np.fromfile(flat, dtype=np.uint16)
        rows = read_documents(out / f"{name}.documents.jsonl.zst")
        assert sum(row["tokens"] for row in rows) == len(stream)
        for row in rows:
            ids = stream[row["start"] : row["start"] + row["tokens"]].tolist()
            assert (ids[0], ids[-1]) == (1, 2) and 2 not in ids[1:-1]
            text = processor.decode(ids[1:-1])
            assert document_id(text) == row["id"] and len(text.encode()) == row["bytes"]
            assert is_held_out(row["id"], 0.2) == (name == "held_out/src")
            seen.append(text)
    assert sorted(seen) == sorted(TEXTS)
    row = details["sources"]["src"]
    assert counts["documents"] + row["held_out_documents"] == 120
    assert sum(row["length_histogram"]["counts"]) == 120
    sizes = [len(processor.encode(text)) + 2 for text in TEXTS]
    assert row["longer_than"]["64"] == sum(size > 64 for size in sizes) and row["longer_than"]["65536"] == 0


def test_the_streams_are_read_as_one_array_in_order_of_document_ids(tmp_path: Path):
    counts, _, out, _ = run(tmp_path, laid_down(tmp_path, TEXTS, shards=5))
    stream = open_streams(str(tmp_path), "out", out / STREAMS, token_type(320))["src"]
    assert stream.tokens == counts["tokens"]
    everything = stream.read([(0, stream.tokens)])[0]
    assert np.array_equal(everything, np.concatenate([np.fromfile(out / f"tokens/src/{n:05d}.bin", np.uint16) for n in range(5)]))
    rows = [row for number in range(5) for row in read_documents(out / documents_file("src", number))]
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)


def test_the_same_documents_give_the_same_bytes_whatever_files_they_came_from(tmp_path: Path):
    first, second = (run(tmp_path / str(n), laid_down(tmp_path / str(n), texts))[2] for n, texts in enumerate((TEXTS, TEXTS[::-1])))
    one, two = files(first), files(second)
    assert one.keys() == two.keys()
    lists = {name for name in one if name.endswith(".documents.jsonl.zst")}  # they say which raw record each document is from
    assert {name for name in one if one[name] != two[name]} == lists


def test_a_rerun_makes_only_what_is_missing_and_the_same_bytes(tmp_path: Path):
    shards = laid_down(tmp_path, TEXTS)
    _, _, out, steps = run(tmp_path, shards)
    assert steps.made == {"vocabulary": 1, "encode": 3, "hold_out": 1}
    before = files(out)
    victim = next((tmp_path / "store/working/encode").iterdir())
    (victim / "done.json").unlink()
    _, _, _, again = run(tmp_path, shards)
    assert again.made == {"vocabulary": 0, "encode": 1, "hold_out": 0}
    assert files(out) == before


def test_another_document_changes_only_its_own_shard(tmp_path: Path):
    rule = RULE.model_copy(update={"train": None, "load": LoadTokenizer(location=str(tmp_path / "m"), licence="CC0", sha256=None)})
    (tmp_path / "m").write_bytes(train(RULE, TEXTS))
    run(tmp_path, laid_down(tmp_path, TEXTS), rule)
    _, _, _, steps = run(tmp_path, laid_down(tmp_path, [*TEXTS, "one more document " * 9]), rule)
    assert steps.made["encode"] == 1


def test_an_encoder_that_is_found_to_differ_is_replaced_for_all_shards(tmp_path: Path, monkeypatch):
    expected = run(tmp_path / "true", laid_down(tmp_path / "true", TEXTS))[2]
    monkeypatch.setattr(encoder, "CHECKED_ONE_IN", 1)
    honest = encoder._Bpe.encode

    def lies(self, texts):  # in one document
        return [ids[::-1] if text == TEXTS[77] else ids for text, ids in zip(texts, honest(self, texts), strict=True)]

    monkeypatch.setattr(encoder._Bpe, "encode", lies)
    monkeypatch.setattr(tokenize_module, "faster_encoder", lambda data, texts: Encoder(data))
    _, details, found, steps = run(tmp_path / "lie", laid_down(tmp_path / "lie", TEXTS))
    assert files(found) == files(expected)
    assert steps.made["encode"] == 6  # three shards, twice
    assert (
        details["tokenizer"]["encoder"]["encoder"] == "SentencePiece"
        and "differs from SentencePiece at token" in details["tokenizer"]["encoder"]["why"]
    )


def test_a_damaged_shard_of_documents_is_an_error_and_not_fewer_tokens(tmp_path: Path):
    shards = laid_down(tmp_path, TEXTS)
    path = tmp_path / "store" / shards[1].key
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(OSError, match="its manifest says"):
        run(tmp_path, shards)


def test_a_corpus_without_held_out_documents_is_refused(tmp_path: Path):
    rule = RULE.model_copy(update={"held_out_fraction": 1e-9})
    with pytest.raises(BadInput, match=r"held_out_fraction 1e-09 holds out none of 120 documents"):
        run(tmp_path, laid_down(tmp_path, TEXTS), rule)


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


@pytest.mark.parametrize("user_defined", [[], ["\t\t", "<b>"]])  # with a dummy prefix as Mistral's, and without as Gemma's
def test_runs_of_equal_characters_and_user_defined_pieces_are_converted_exactly(tmp_path: Path, user_defined: list[str]):
    """A piece of a run can be made in several ways that overlap: SentencePiece takes the leftmost."""
    texts = [" " * n + "=" * (n % 40) + "\n" * (n % 5) + "word" + "\t\t" * (n % 3) + "abab" * (n % 9) for n in range(400)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, model_type="bpe", vocab_size=330, byte_fallback=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, user_defined_symbols=user_defined,
        add_dummy_prefix=not user_defined, minloglevel=2, pad_id=3,
    )  # fmt: skip
    to_transformers(model.getvalue(), True, tmp_path)
    processor = open_model(model.getvalue(), 330)
    assert check_conversion(processor, tmp_path, [*texts, "x\t\t\ty<b>z", " <b>\t\t  <b"]) == 402


def test_a_dummy_prefix_stands_before_a_text_and_not_behind_a_special_token_inside_it(tmp_path: Path):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([f"word{n} other words\n" for n in range(300)]), model_writer=model, model_type="bpe", vocab_size=300,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True, minloglevel=2,
    )  # fmt: skip
    to_transformers(model.getvalue(), True, tmp_path)
    processor, fast = open_model(model.getvalue(), 300), Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert check_conversion(processor, tmp_path, ["word", " word", "  word", "\nword", " ", ""]) == 6
    pieces = fast.encode("word</s>\n word</s>word", add_special_tokens=False).tokens
    assert "".join(pieces) == "▁word</s>" + "<0x0A>" + "▁word</s>" + "word"


def test_runs_of_spaces_are_cut_as_by_sentencepiece_where_all_such_pieces_have_one_score_as_mistrals(tmp_path: Path):
    """16 and 1 spaces, say, and not 14 and 3 as by the order of ids."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(train(RULE, TEXTS))
    spaces = [number for number, piece in enumerate(proto.pieces) if piece.type == 1 and len(piece.piece) > 1][:14]
    for number, length in zip(spaces, (2, 4, 8, 5, 16, 6, 12, 13, 10, 14, 3, 9, 7, 11), strict=True):
        proto.pieces[number].piece, proto.pieces[number].score = "▁" * length, -1e9
    kept = [piece for place, piece in enumerate(proto.pieces) if place in spaces or set(piece.piece) != {"▁"} or len(piece.piece) == 1]
    del proto.pieces[:]
    proto.pieces.extend(kept)
    to_transformers(proto.SerializeToString(), True, tmp_path)
    processor = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    assert check_conversion(processor, tmp_path, [" " * n + after for n in range(200) for after in ("", "x", "return", "#")]) == 800


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
