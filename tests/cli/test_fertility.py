"""Two tokenizers on the same documents: figures that a reader can check by hand."""

from pathlib import Path

import orjson
from typer.testing import CliRunner

from recipes.schema import Tokenization
from reynard.main import app
from tasks.artifacts.documents import write_lines
from tasks.artifacts.manifest import FileEntry, Manifest, write_manifest
from tasks.artifacts.store import Store, sha256_file
from tasks.tokenization.sentencepiece_model import train

WORDS = "the quick brown fox jumps over the lazy dog and runs away from it"


def model(pieces: int) -> bytes:
    rule = {"type": "bpe", "sample_characters": 10_000, "max_piece_characters": 8}
    return train(Tokenization(vocabulary_size=pieces, train=rule, bos_per_document=True, held_out_fraction=0.1), [WORDS] * 50)


def seal(store: Store, kind: str, files: dict[str, bytes], parents: dict) -> None:
    for path, data in files.items():
        store.write(f"{kind}/1/{path}", data)
    entries = [FileEntry(path=path, bytes=1, sha256=sha256_file(store.uri(f"{kind}/1/{path}"))) for path in files]
    write_manifest(store, f"{kind}/1", Manifest(
        kind=kind, name=kind, version="1", digest="0" * 64, identity={"parent_artifacts": parents}, files=entries, counts={}, details={}, recorded={},
        records=[],
    ))  # fmt: skip


def test_a_larger_vocabulary_needs_fewer_tokens_and_a_missing_file_is_one_sentence(tmp_path: Path):
    store, small, large = Store(str(tmp_path / "store")), model(290), model(310)
    write_lines(tmp_path / "shard", [{"id": "0" * 32, "text": WORDS, "raw": "r", "quality": None}])
    seal(store, "documents", {"documents/fox/00000.jsonl.zst": (tmp_path / "shard").read_bytes()}, {})
    seal(store, "tokens", {"tokenizer/tokenizer.model": small}, {"documents": {"uri": "/x/documents/1/manifest.json"}})
    (tmp_path / "other.model").write_bytes(large)
    ended = CliRunner().invoke(app, ["fertility", "--store", store.root, "--against", str(tmp_path / "other.model"), "--json"])
    assert ended.exit_code == 0, ended.output
    row = orjson.loads(ended.output)["fox"]
    assert (row["documents"], row["words"], row["bytes"]) == (1, 14, len(WORDS))
    assert row["own"]["tokens"] > row["other"]["tokens"] >= 14
    assert row["own"]["per_word"] == row["own"]["tokens"] / 14 and row["own"]["per_byte"] == row["own"]["tokens"] / len(WORDS)
    shown = CliRunner().invoke(app, ["fertility", "--store", store.root, "--against", str(tmp_path / "other.model")])
    assert "fox" in shown.output and f"{row['own']['per_word']:.3f}" in shown.output
    missing = CliRunner().invoke(app, ["fertility", "--store", store.root, "--against", str(tmp_path / "none")])
    assert missing.exit_code == 2 and "is not a file: give a SentencePiece" in missing.output
