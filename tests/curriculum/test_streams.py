"""Token streams: shards read as one array, every block checked, documents found by id."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from tasks.artifacts.token_streams import BLOCK_TOKENS, HELD_BLOCKS, shard_of_id, token_type
from tests.curriculum.streams import counting, lay_down


def test_ids_take_the_narrowest_type():
    assert [token_type(size).itemsize for size in (32_000, 65_536, 65_537, 256_000)] == [2, 2, 4, 4]


def test_a_range_may_begin_in_one_shard_and_end_in_another(tmp_path: Path):
    stream = lay_down(tmp_path, {"a": [[[0, 1, 2]], [], [[3], [4, 5]], [[6, 7]]]})["a"]
    assert stream.tokens == 8
    ranges = [(start, end) for start in range(9) for end in range(start, 9)]
    assert [found.tolist() for found in stream.read(ranges)] == [list(range(*one)) for one in ranges]
    assert stream.pieces(2, 7) == [(0, 2, 3), (2, 0, 3), (3, 0, 1)]


def test_ranges_cross_blocks_and_more_blocks_than_are_held_are_read_again(tmp_path: Path):
    size = BLOCK_TOKENS * (HELD_BLOCKS + 3)
    stream = lay_down(tmp_path, {"a": [[(np.arange(size) % 50_021).tolist()]]})["a"]
    for start in (0, BLOCK_TOKENS - 5, size - 10, 3 * BLOCK_TOKENS - 1, 0):
        assert stream.read([(start, start + 10)])[0].tolist() == [(start + i) % 50_021 for i in range(10)]
    everything = stream.read([(0, size)])[0]
    assert np.array_equal(everything, np.arange(size) % 50_021)


def test_an_altered_block_is_an_error_and_the_others_are_still_read(tmp_path: Path):
    stream = lay_down(tmp_path, {"a": [[list(range(10))], [list(range(10, 20))]]})["a"]
    path = tmp_path / "tokens/1/tokens/a/00001.bin"
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(bytes(data))
    assert stream.read([(0, 10)])[0].tolist() == list(range(10))
    with pytest.raises(OSError, match=r"00001\.bin holds other tokens in block 0 than were sealed"):
        stream.read([(9, 11)])


def test_a_torn_shard_and_altered_hashes_are_errors(tmp_path: Path):
    stream = lay_down(tmp_path, {"a": [[list(range(10))]], "b": [[list(range(10))]]})
    (tmp_path / "tokens/1/tokens/a/00000.bin").write_bytes(b"\0\0")
    with pytest.raises(OSError, match="other tokens in block 0"):
        stream["a"].read([(0, 3)])
    (tmp_path / "tokens/1/tokens/b/00000.blocks").write_bytes(bytes(8))
    with pytest.raises(OSError, match=r"00000\.blocks was changed or damaged since it was sealed"):
        stream["b"].read([(0, 3)])


def test_a_stream_that_is_sent_away_reads_the_same_there(tmp_path: Path):
    stream = lay_down(tmp_path, {"a": counting(0, 20, 50, shards=3)})["a"]
    stream.read([(0, 5)])
    away = pickle.loads(pickle.dumps(stream))
    assert "_blocks" not in away.__dict__
    assert away.read([(400, 420)])[0].tolist() == list(range(400, 420))


def test_the_shard_of_an_id_is_the_last_that_begins_before_it(tmp_path: Path):
    stream = lay_down(tmp_path, {"a": [[], *counting(0, 8, 3, shards=4), []]})["a"]  # two documents in each of the shards 1 to 4
    begins = [n * 2**128 // 8 for n in range(8)]
    for number, begin in enumerate(begins):
        assert shard_of_id(stream, f"{begin + 2**120:032x}") == 1 + number // 2
    assert shard_of_id(stream, "0" * 32) == 1
    assert shard_of_id(lay_down(tmp_path / "empty", {"a": [[]]})["a"], "0" * 32) == 0
