"""Compressed bytes to plain ones, in pieces no larger than asked for, and a word where they end too early.

Python's own `gzip` reads in pieces of 8 KB (a third of the speed), and other readers of zstd take a torn file for a whole one.
"""

import io
import zlib
from collections.abc import Callable
from typing import Any

from backports import zstd

CHUNK_BYTES = 1 << 17
BUFFER_BYTES = 1 << 20


class DamagedFile(EOFError):
    """Compressed bytes end in the middle, or cannot be decompressed. All that came before was given out."""


class _Gunzip:
    """zlib's decompressor of one gzip member, with the interface of the newer ones."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data.lstrip(b"\0")  # zeros pad members to a block's size

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail or data, max_length)


class _Decompressed(io.RawIOBase):
    """The plain bytes of a stream of gzip members or zstd frames, one after the other."""

    def __init__(self, source: io.BufferedIOBase, new: Callable[[], Any]) -> None:
        self._source = source
        self._new = new
        self._part = new()
        self._pending = b""
        self._begun = False  # the present member has had bytes: it may not end before it says so

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._source.close()
        super().close()

    def readinto(self, target: Any) -> int:
        while True:
            if self._part.eof:
                self._pending, self._part, self._begun = self._part.unused_data, self._new(), False
            data = b""
            if self._part.needs_input:
                data, self._pending = self._pending or self._source.read(CHUNK_BYTES), b""
                if not self._begun:
                    data = data.lstrip(b"\0")
            try:
                plain = self._part.decompress(data, len(target))
            except (zlib.error, zstd.ZstdError) as error:
                raise DamagedFile(str(error)) from None
            self._begun = self._begun or bool(data)
            if plain:
                target[: len(plain)] = plain
                return len(plain)
            if not data and not self._part.eof and self._part.needs_input:
                if self._begun:
                    raise DamagedFile("the compressed bytes end before their end")
                return 0


def decompressed(source: io.BufferedIOBase, suffix: str) -> io.BufferedReader:
    """Return the plain bytes of a stream compressed as its name's suffix says (`.gz` or `.zst`); reading may raise DamagedFile."""
    new = _Gunzip if suffix == ".gz" else zstd.ZstdDecompressor
    return io.BufferedReader(_Decompressed(source, new), BUFFER_BYTES)
