"""Bytes of UTF-8 to token ids: the compiled kernels beneath `tasks/tokenization/encoder.py`.

Kernels use only what this file defines: numba's cache looks at one file's date, and would keep stale code of another's.
"""

import heapq
from typing import NamedTuple

import numpy as np
from numba import njit

CACHED_WORDS = 1 << 18  # lines of 64 bytes
CUT, JOIN, JOIN_UNLESS_USER_DEFINED = np.uint8(0), np.uint8(1), np.uint8(2)
NONE = np.uint64(0xFFFFFFFFFFFFFFFF)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_SPREAD_2 = np.uint64(0xD1342543DE82EF95)
_SPREAD_3 = np.uint64(0xA0761D6478BD642F)
_SHORT = 40  # characters: longer words are merged with a heap
_WORDS_AT_ONCE = 256
_CACHED_BYTES, _CACHED_IDS = 23, 9  # of a word
SLACK = _CACHED_IDS + 1  # places after the last id: whole cache lines are copied

_inner = njit(cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # called by kernels alone: quicker to compile


class Tables(NamedTuple):
    """A model as arrays. Bytes are those of UTF-8, with a plain space in place of `▁`."""

    joins: np.ndarray  # (256, 256): by the last byte of a character and the first of the next: CUT, JOIN...
    user_starts: np.ndarray  # (256, 256): whether a user-defined piece may begin with these two bytes
    user_nodes: np.ndarray  # (nodes, 256): the prefix tree of user-defined pieces, 0: none
    user_ids: np.ndarray  # (nodes,): the piece that ends there, -1: none
    character_ids: np.ndarray  # by code point, -1: no piece
    byte_ids: np.ndarray  # (256,)
    pairs: np.ndarray  # (power of 2, 2): hash table of left id << 32 | right id to rank << 32 | merged id


@njit(cache=True)
def fill(keys, values, pairs):
    """Put all pairs into the empty hash table `pairs`, with linear probing; it must have room to spare."""
    mask = np.uint64(len(pairs) - 1)
    for i in range(len(keys)):
        slot = ((keys[i] * _SPREAD) >> _32) & mask
        while pairs[slot, 0] != NONE:
            slot = (slot + np.uint64(1)) & mask
        pairs[slot, 0], pairs[slot, 1] = keys[i], values[i]


@_inner
def _merged(left, right, pairs):
    """Return rank << 32 | id of the piece that two neighbouring symbols make, NONE if they make none."""
    if left < 0 or right < 0:
        return NONE
    key = (np.uint64(left) << _32) | np.uint64(right)
    mask = np.uint64(len(pairs) - 1)
    slot = ((key * _SPREAD) >> _32) & mask
    while pairs[slot, 0] != key and pairs[slot, 0] != NONE:
        slot = (slot + np.uint64(1)) & mask
    return pairs[slot, 1]  # NONE in a free slot


@_inner
def _merge_short(n, pairs, ids, ends, found):
    """Merge symbols, moving the rest up each time; return how many are left."""
    for k in range(n - 1):
        found[k] = _merged(ids[k], ids[k + 1], pairs)
    while True:
        best, at = _LOW, 0
        for k in range(n - 1):
            rank = found[k] >> _32
            if rank < best:
                best, at = rank, k
        if best == _LOW:
            return n
        ids[at], ends[at] = np.int64(found[at] & _LOW), ends[at + 1]
        n -= 1
        for k in range(at + 1, n):
            ids[k], ends[k], found[k] = ids[k + 1], ends[k + 1], found[k + 1]
        if at + 1 < n:
            found[at] = _merged(ids[at], ids[at + 1], pairs)
        if at > 0:
            found[at - 1] = _merged(ids[at - 1], ids[at], pairs)


@_inner
def _merge_long(n, pairs, ids, ends, found, after, before):
    """Merge symbols with a heap of rank << 32 | left symbol; return how many are left."""
    heap = [NONE for _ in range(0)]
    for k in range(n):
        after[k], before[k] = k + 1, k - 1
        found[k] = _merged(ids[k], ids[k + 1], pairs) if k + 1 < n else NONE
        if found[k] != NONE:
            heap.append((found[k] & ~_LOW) | np.uint64(k))
    heapq.heapify(heap)
    while len(heap):
        top = heapq.heappop(heap)
        left = np.int64(top & _LOW)
        if found[left] == NONE or (found[left] ^ top) >> _32:
            continue  # one of the two symbols is gone, or another
        right = after[left]
        ids[left], ends[left], found[right] = np.int64(found[left] & _LOW), ends[right], NONE
        after[left], found[left] = after[right], NONE
        if after[left] < n:
            before[after[left]] = left
            found[left] = _merged(ids[left], ids[after[left]], pairs)
            if found[left] != NONE:
                heapq.heappush(heap, (found[left] & ~_LOW) | np.uint64(left))
        if before[left] >= 0:
            k = before[left]
            found[k] = _merged(ids[k], ids[left], pairs)
            if found[k] != NONE:
                heapq.heappush(heap, (found[k] & ~_LOW) | np.uint64(k))
    left = kept = 0
    while left < n:
        ids[kept], ends[kept] = ids[left], ends[left]
        kept, left = kept + 1, after[left]
    return kept


@_inner
def _encode_word(content, start, end, character_ids, byte_ids, pairs, scratch, out, count):
    """Write a word's ids to `out` from `count` on; return the new count."""
    ids, ends = scratch[0], scratch[1]
    n, i = 0, start
    while i < end:
        byte = np.int64(content[i])
        length = 1 + (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
        code = byte if byte < 0x80 else byte & (0x7F >> length)
        for k in range(1, length):
            code = (code << 6) | np.int64(content[i + k] & 0x3F)
        i += length
        ids[n], ends[n] = character_ids[code], i
        n += 1
    found = scratch[2].view(np.uint64)
    if n <= _SHORT:
        n = _merge_short(n, pairs, ids, ends, found)
    else:
        n = _merge_long(n, pairs, ids, ends, found, scratch[3], scratch[4])
    for k in range(n):
        if ids[k] >= 0:
            out[count] = ids[k]
            count += 1
        else:  # a character that is no piece
            for i in range(start if k == 0 else ends[k - 1], ends[k]):
                out[count] = byte_ids[content[i]]
                count += 1
    return count


@_inner
def _user_defined_at(content, i, end, user_nodes, user_ids):
    """Return the longest user-defined piece that begins here, and where it ends; -1 if there is none."""
    node, piece, after = np.int64(0), np.int64(-1), i
    while i < end:
        node = user_nodes[node, content[i]]
        if node == 0:
            break
        i += 1
        if user_ids[node] >= 0:
            piece, after = user_ids[node], i
    return piece, after


@_inner
def _cut(content, i, end, joins, user_starts, user_nodes, user_ids, words):
    """Cut a text from `i` on into words; return how many were cut and where the last one ends.

    A row of `words`: the first 23 bytes and, in the highest byte, the length (at most 255, 0: a user-defined piece), as three
    numbers, and where the word ends. The first number of a user-defined piece is its id.
    """
    count = 0
    while i < end and count < len(words):
        start, last = i, content[i]
        if user_starts[last, content[i + 1]]:
            piece, after = _user_defined_at(content, i, end, user_nodes, user_ids)
            if piece >= 0:
                words[count, 0], words[count, 2], words[count, 3] = piece, 0, after
                count, i = count + 1, after
                continue
        first, second, third = np.uint64(last), np.uint64(0), np.uint64(0)
        i += 1
        while i < end:
            byte = content[i]
            join = joins[last, byte]
            if join == CUT:
                break
            may_be_user_defined = join == JOIN_UNLESS_USER_DEFINED and user_starts[byte, content[i + 1]]
            if may_be_user_defined and _user_defined_at(content, i, end, user_nodes, user_ids)[0] >= 0:
                break
            at = i - start
            if at < 8:
                first |= np.uint64(byte) << np.uint64(8 * at)
            elif at < 16:
                second |= np.uint64(byte) << np.uint64(8 * at - 64)
            elif at < _CACHED_BYTES:
                third |= np.uint64(byte) << np.uint64(8 * at - 128)
            last = byte
            i += 1
        words[count, 0], words[count, 1], words[count, 3] = first, second, i
        words[count, 2] = third | (np.uint64(min(i - start, 255)) << np.uint64(56))
        count += 1
    return count, i


@_inner
def _copy(words, n, start, content, character_ids, byte_ids, pairs, cache, scratch, out, count):
    """Write the ids of `n` words, of which the first begins at `start`, to `out` from `count` on; return the new count.

    A line of the cache: three numbers that name a word, then count << 32 | first id, then the other ids two by two.
    """
    for k in range(n):
        first, second, third, end = words[k, 0], words[k, 1], words[k, 2], np.int64(words[k, 3])
        length = third >> np.uint64(56)
        if length <= 1 and (length == 0 or character_ids[first] >= 0):
            out[count] = first if length == 0 else character_ids[first]
            count, start = count + 1, end
            continue
        mixed = (first * _SPREAD) ^ (second * _SPREAD_2) ^ (third * _SPREAD_3)
        line = (((mixed ^ (mixed >> np.uint64(29))) * _SPREAD) >> _32) & np.uint64(len(cache) - 1)
        if cache[line, 0] == first and cache[line, 1] == second and cache[line, 2] == third:
            more = np.int64(cache[line, 3] >> _32) - 1
            out[count] = cache[line, 3] & _LOW
            for j in range((more + 1) // 2):
                out[count + 1 + 2 * j], out[count + 2 + 2 * j] = cache[line, 4 + j] & _LOW, cache[line, 4 + j] >> _32
            count, start = count + 1 + more, end
            continue
        before = count
        count = _encode_word(content, start, end, character_ids, byte_ids, pairs, scratch, out, count)
        if length <= _CACHED_BYTES and count - before <= _CACHED_IDS:
            cache[line, 0], cache[line, 1], cache[line, 2] = first, second, third
            cache[line, 3] = (np.uint64(count - before) << _32) | np.uint64(out[before])
            for j in range((count - before) // 2):
                cache[line, 4 + j] = np.uint64(out[before + 1 + 2 * j]) | (np.uint64(out[before + 2 + 2 * j]) << _32)
        start = end
    return count


@njit(cache=True)
def encode(content, starts, tables, cache, scratch, out, text_ends):
    """Write the ids of all texts to `out`, and where each text's ids end to `text_ends`."""
    joins, user_starts, user_nodes, user_ids, character_ids, byte_ids, pairs = tables
    words = np.empty((_WORDS_AT_ONCE, 4), dtype=np.uint64)
    count = 0
    for text in range(len(starts) - 1):
        i = starts[text]
        while i < starts[text + 1]:
            start = i
            n, i = _cut(content, start, starts[text + 1], joins, user_starts, user_nodes, user_ids, words)
            count = _copy(words, n, start, content, character_ids, byte_ids, pairs, cache, scratch, out, count)
        text_ends[text + 1] = count
