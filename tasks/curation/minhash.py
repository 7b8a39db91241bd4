"""Texts to shingle hashes, MinHash signatures and LSH band keys, by kernels that numba compiles on first use and then caches.

The shingle hash is a pure function of the text and the rule, in integer arithmetic modulo 2^64, the same on every processor:

    symbol    a cleaned character: its code point + 1;  a word or token: mix(sum over its characters c_i of (c_i + 1) * B^(m-1-i))
    shingle   mix(sum over its n symbols s_i of s_i * B^(n-1-i))
    B         0xD1342543DE82EF95, a multiplier of full period that passes the spectral test (Steele and Vigna 2021)
    mix       MurmurHash3's 64-bit finalizer, a bijection

MinHash takes the upper 32 bits of it; signatures are bit for bit those of datasketch 2's default scheme, `affine32`. Everything
streams through buffers of a few thousand symbols, so `near_keys` needs no memory that grows with a document.

Kernels call only kernels of this file: numba's cache looks at one file's date, and would keep stale code of another's.
"""

import functools
import string
from collections.abc import Iterator

import numpy as np
from numba import njit

from recipes.curation import NearDuplicates

_inner = njit(cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # called by kernels alone: quicker to compile
_BASE = np.uint64(0xD1342543DE82EF95)
_SPACE = np.uint32(ord(" ") + 1)  # the symbol of a space; in the tables: every white space, and whatever else separates tokens
_CHUNK = 2048  # symbols a step: their hashes stay in the first-level cache while all permutations pass over them
_SLICE = 1 << 15  # characters that are turned into code points at once
_NOT_CASED_ALONE = "\u0130\u03a3"  # the two characters whose lower case is not one character, or depends on the neighbours
# what a document's slices hand on: was a space held back, is a token open, its hash so far, symbols carried over, shingles made
_HELD, _OPEN, _PARTIAL, _CARRIED, _MADE = range(5)


# --- tables: code point to symbol -------------------------------------------------------------------------------------------------


@functools.cache
def _table(unit: str) -> np.ndarray:
    """Make the table from code points to symbols: 0 is dropped, _SPACE separates, everything else is a character's code point + 1."""
    points = np.arange(0x110000, dtype=np.uint32)
    if unit == "code_token":
        allowed = np.zeros(len(points), dtype=bool)
        allowed[[ord(letter) for letter in string.ascii_letters + string.digits + "_"]] = True
        return np.where(allowed, points + 1, _SPACE).astype(np.uint32)
    points[[ord(letter) for letter in _NOT_CASED_ALONE]] = 0  # `_slices` has replaced them already
    everything = points.tobytes().decode("utf-32-le", "surrogatepass").lower()
    symbols = np.frombuffer(everything.encode("utf-32-le", "surrogatepass"), dtype=np.uint32) + np.uint32(1)
    symbols[[ord(letter) for letter in string.punctuation]] = 0
    symbols[[point for point, letter in enumerate(everything) if letter.isspace()]] = _SPACE
    return symbols


def _slices(text: str, unit: str) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield a text's code points, slice by slice, each with whether it is the last one.

    A text with one of the two odd characters is lower-cased here, by Python. It is cut behind spaces, beyond which a sigma's form
    does not depend; only in a word longer than a slice may it do so.
    """
    is_odd = unit != "code_token" and not text.isascii() and any(letter in text for letter in _NOT_CASED_ALONE)
    start, stop = 0, 0
    while stop < len(text) or start == stop:
        start, stop = stop, stop + _SLICE
        if is_odd and stop < len(text):
            stop = text.rfind(" ", start, stop) + 1 or stop
        piece = text[start:stop].lower() if is_odd else text[start:stop]
        encoding, unit_type = ("ascii", np.uint8) if piece.isascii() else ("utf-32-le", np.uint32)
        yield np.frombuffer(piece.encode(encoding, "surrogatepass"), dtype=unit_type).astype(np.uint32), stop >= len(text)


# --- kernels: code points to shingle hashes ---------------------------------------------------------------------------------------


@_inner
def _mix(value):
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@_inner
def _characters(codes, table, state, symbols, end):
    """Append the cleaned characters of `codes` to `symbols`; a space at the end waits for the character after it, if one comes."""
    last = _SPACE if end == 0 and state[_MADE] == 0 else np.uint32(0)  # at the beginning of a text white space is stripped
    if state[_HELD]:
        symbols[end] = np.uint64(_SPACE)
        end += 1
        last = _SPACE
    for code in codes:
        symbol = table[code]
        symbols[end] = np.uint64(symbol)
        end += np.int64((symbol != 0) & ((symbol != _SPACE) | (last != _SPACE)))
        last = symbol if symbol != 0 else last
    held = end > 0 and symbols[end - 1] == np.uint64(_SPACE)
    state[_HELD] = np.uint64(held)
    return end - np.int64(held)


@_inner
def _tokens(codes, table, state, symbols, end):
    """Append the hashes of the tokens that end within `codes` to `symbols`; the state keeps a token that is still open."""
    value, is_open = state[_PARTIAL], state[_OPEN] != 0
    for code in codes:
        symbol = table[code]
        if symbol == _SPACE:
            if is_open:
                symbols[end] = _mix(value)
                end += 1
            value, is_open = np.uint64(0), False
        elif symbol != 0:
            value = value * _BASE + np.uint64(symbol)
            is_open = True
    state[_PARTIAL], state[_OPEN] = value, np.uint64(is_open)
    return end


@_inner
def _roll(symbols, count, length, hashes, written):
    """Append the hash of every window of `length` symbols to `hashes`."""
    if count < length:
        return written
    value, power = np.uint64(0), np.uint64(1)
    for i in range(length):
        value = value * _BASE + symbols[i]
        power *= _BASE
    hashes[written] = _mix(value)
    for i in range(length, count):
        value = value * _BASE + (symbols[i] - power * symbols[i - length])
        hashes[written + i - length + 1] = _mix(value)
    return written + count - length + 1


@_inner
def _shingle(codes, is_end, table, is_tokens, length, state, symbols, hashes, written):
    """Append the hashes of the shingles that `codes` complete; at the end of a short text, that of the whole text."""
    count = np.int64(state[_CARRIED])
    count = _tokens(codes, table, state, symbols, count) if is_tokens else _characters(codes, table, state, symbols, count)
    if is_end and state[_OPEN] != 0:
        symbols[count] = _mix(state[_PARTIAL])
        count += 1
    before = written
    written = _roll(symbols, count, length, hashes, written)
    state[_MADE] += np.uint64(written - before)
    if is_end and state[_MADE] == 0 and count > 0:
        written = _roll(symbols, count, count, hashes, written)
    carried = min(count, length - 1)
    for i in range(carried):  # an assignment of slices would compile two seconds longer, for the sake of its error messages
        symbols[i] = symbols[count - carried + i]
    state[_CARRIED] = np.uint64(carried)
    return written


@njit(cache=True)
def _collect(codes, is_last, table, is_tokens, length, state, symbols, hashes, written):
    for start in range(0, max(codes.size, 1), _CHUNK):
        is_end = is_last and start + _CHUNK >= codes.size
        written = _shingle(codes[start : start + _CHUNK], is_end, table, is_tokens, length, state, symbols, hashes, written)
    return written


# --- kernels: shingle hashes to signatures and keys -------------------------------------------------------------------------------


@_inner
def _lower(hashes, count, mixed, a, b, minima):
    """Lower the minima of all permutations by `count` hashes: a * h + b modulo 2^32, where h is pre-mixed as datasketch does."""
    for i in range(count):
        value = np.uint32(hashes[i] >> np.uint64(32))
        value = np.uint32((value ^ (value >> np.uint32(16))) * np.uint32(0x85EBCA6B))
        value = np.uint32((value ^ (value >> np.uint32(13))) * np.uint32(0xC2B2AE35))
        mixed[i] = value ^ (value >> np.uint32(16))
    for p in range(a.size):  # permutations outside and hashes inside: LLVM keeps the minimum in vector registers
        factor, term, minimum = a[p], b[p], minima[p]
        for i in range(count):
            minimum = min(minimum, np.uint32(factor * mixed[i] + term))
        minima[p] = minimum


@njit(cache=True)
def _lower_all(hashes, mixed, a, b, minima):
    for start in range(0, hashes.size, _CHUNK):
        part = hashes[start : start + _CHUNK]
        _lower(part, part.size, mixed, a, b, minima)


@njit(cache=True)
def _band_keys(minima, keys):
    """Write a hash of each band's rows, salted by the band's number, and never 0."""
    rows = minima.size // keys.size
    for band in range(keys.size):
        value = _mix(np.uint64(band + 1))
        for row in range(rows):
            value = _mix(value ^ np.uint64(minima[band * rows + row]))
        keys[band] = max(value, np.uint64(1))


@njit(cache=True)
def _absorb(codes, is_last, table, is_tokens, length, state, symbols, hashes, mixed, a, b, minima, keys):
    """Take in one slice of a document; after the last one, write the keys of its bands, unless it has no shingle."""
    for start in range(0, max(codes.size, 1), _CHUNK):
        is_end = is_last and start + _CHUNK >= codes.size
        count = _shingle(codes[start : start + _CHUNK], is_end, table, is_tokens, length, state, symbols, hashes, np.int64(0))
        _lower(hashes, count, mixed, a, b, minima)
        if is_end and (state[_MADE] > 0 or count > 0):
            _band_keys(minima, keys)


@njit(cache=True)
def _shared(left, right):
    i, j, both = 0, 0, 0
    while i < left.size and j < right.size:
        one, other = left[i], right[j]
        both += one == other
        i += one <= other
        j += other <= one
    return both


# --- the functions others call ----------------------------------------------------------------------------------------------------


@functools.cache
def _datasketch_permutations(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from datasketch import MinHash

    a, b = MinHash(num_perm=count, seed=seed, scheme="affine32").permutations
    return np.asarray(a, dtype=np.uint32), np.asarray(b, dtype=np.uint32)


def permutations(count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return datasketch's factors and terms of `count` permutations a * h + b modulo 2^32, each as uint32."""
    a, b = _datasketch_permutations(count, seed)
    return a.copy(), b.copy()


def shingle_hashes(text: str, rule: NearDuplicates) -> np.ndarray:
    """Hash every shingle of a text, in order of occurrence, repeats included; uint64.

    Units `character` and `word`: the text is lower-cased, ASCII punctuation removed, white space collapsed and stripped, then cut
    into n-grams. Unit `code_token`: the text is split at everything but ASCII letters, digits and `_`, and nothing else is done.
    A text shorter than one shingle is one shingle, an empty one has none.
    """
    hashes = np.empty(len(text) + text.count("\u0130") + 1, dtype=np.uint64)  # in lower case that character is two
    symbols, state, written = np.empty(rule.shingle_length + _CHUNK + 2, dtype=np.uint64), np.zeros(5, dtype=np.uint64), 0
    for codes, is_last in _slices(text, rule.unit):
        written = _collect(
            codes, is_last, _table(_letters(rule)), rule.unit != "character", rule.shingle_length, state, symbols, hashes, written
        )
    hashes.resize(written, refcheck=False)
    return hashes


def shingle_set(text: str, rule: NearDuplicates) -> np.ndarray:
    """Return the sorted distinct hashes of a text's shingles; uint64."""
    hashes = shingle_hashes(text, rule)
    hashes.sort()
    return hashes[np.append(True, hashes[1:] != hashes[:-1])] if len(hashes) else hashes


def jaccard(left: np.ndarray, right: np.ndarray) -> float:
    """Compute the Jaccard similarity of two sorted arrays of distinct uint64 hashes; that of two empty ones is 1."""
    if not len(left) and not len(right):
        return 1.0
    both = _shared(left, right)
    return both / (len(left) + len(right) - both)


def datasketch_hash(hashes: np.ndarray) -> np.ndarray:
    """Return the 32-bit hashes that MinHash works on: the upper halves of the 64-bit ones; uint32."""
    return (hashes >> np.uint64(32)).astype(np.uint32)


def signature(hashes: np.ndarray, rule: NearDuplicates) -> np.ndarray:
    """Compute the MinHash signature of uint64 shingle hashes, bit for bit datasketch's; uint32[permutations]. No hashes: all 2^32-1."""
    a, b = _datasketch_permutations(rule.permutations, 1)
    minima = np.full(rule.permutations, 2**32 - 1, dtype=np.uint32)
    _lower_all(np.ascontiguousarray(hashes), np.empty(_CHUNK, dtype=np.uint32), a, b, minima)
    return minima


def band_keys(signature: np.ndarray, rule: NearDuplicates) -> np.ndarray:
    """Hash each band's rows of a signature, salted by the band's number; uint64[bands], never 0."""
    keys = np.empty(rule.bands, dtype=np.uint64)
    _band_keys(np.ascontiguousarray(signature[: rule.bands * rule.rows]), keys)
    return keys


def near_keys(texts: list[str], rule: NearDuplicates) -> np.ndarray:
    """Compute the band keys of a batch of texts; uint64[texts, bands]. The row of a text without a shingle is 0.

    Equals `band_keys(signature(shingle_hashes(text)))`, except that permutations beyond the last band are not computed.
    """
    used = rule.bands * rule.rows
    a, b = (part[:used] for part in _datasketch_permutations(rule.permutations, 1))
    table, is_tokens, length = _table(_letters(rule)), rule.unit != "character", rule.shingle_length
    symbols, hashes = np.empty(length + _CHUNK + 2, dtype=np.uint64), np.empty(_CHUNK + 2, dtype=np.uint64)
    mixed, minima, state = np.empty(_CHUNK + 2, dtype=np.uint32), np.empty(used, dtype=np.uint32), np.empty(5, dtype=np.uint64)
    keys = np.zeros((len(texts), rule.bands), dtype=np.uint64)
    for row, text in enumerate(texts):
        minima.fill(2**32 - 1)
        state.fill(0)
        for codes, is_last in _slices(text, rule.unit):
            _absorb(codes, is_last, table, is_tokens, length, state, symbols, hashes, mixed, a, b, minima, keys[row])
    return keys


def _letters(rule: NearDuplicates) -> str:
    return "code_token" if rule.unit == "code_token" else "prose"
