"""Compressed streams, a piece at a time: gzip, zstd, bzip2, xz, lzma, lz4."""

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Protocol

import zstandard

from configs.errors import CorruptError, TooLargeError

SUFFIXES = {
    ".gz": "gzip",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".bz2": "bzip2",
    ".xz": "xz",
    ".lzma": "lzma",
    ".lz4": "lz4",
}
MAGIC = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
    # The first block's mark, or the end's: text may begin with the letters alone.
    "bzip2": re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "lz4": re.compile(rb"\x04\x22\x4d\x18"),
}
STARTS = {"gzip": b"\x1f\x8b\x08", "zstd": b"\x28\xb5\x2f", "bzip2": b"BZh", "xz": b"\xfd7z", "lz4": b"\x04\x22\x4d"}
HEAD_BYTES = 10
SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
"""A frame without content in zstd and lz4, such as pzstd puts first."""
LZMA_ALONE = re.compile(rb"[\x00-\xe0]\x00{2}..(?:\xff{5}|.{3})", re.DOTALL)
"""Not a mark but usual values of the header: it counts only with the suffix."""
EXPANSION_COUNTS_FROM_BYTES = 4 * 1024 * 1024
"""Less than what a reader reads of a document (`input.inline_bytes`), so that it finds a bomb before an actor does."""
MAX_WINDOW = 2**31
"""As `zstd --long=31` has. A frame takes as much memory as its window, which the reader's limit bounds."""
CHUNK_BYTES = 1024 * 1024
# One fed byte can come out as a thousand in gzip, as tens of thousands in zstd; what is fed counts as read.
FEED_BYTES = {"gzip": 8192, "zstd": 1024}
OTHER_FEED_BYTES = 1024


def by_name(name: str) -> str | None:
    """Compression by the suffix of a name."""
    return next((kind for suffix, kind in SUFFIXES.items() if name.lower().endswith(suffix)), None)


def kind_of(head: bytes, name: str) -> str | None:
    """Compression by the first HEAD_BYTES of a document; where these leave a choice, by its name."""
    named = by_name(name)
    if SKIPPABLE.match(head):
        return "lz4" if named == "lz4" else "zstd"
    if named == "lzma" and LZMA_ALONE.match(head):
        return named
    # What is cut short within its mark is damaged, not text.
    if named and 0 < len(head) < HEAD_BYTES and STARTS.get(named, b"]\0\0").startswith(head[:3]):
        return named
    return next((kind for kind, magic in MAGIC.items() if magic.match(head)), None)


def decompressed(raw: BinaryIO, kind: str, max_expansion: int) -> BinaryIO:
    """The content of a stream that is compressed in a way that `kind_of` tells. `max_expansion` is that of
    InputSettings.

    Reading raises CorruptError, TooLargeError, or OSError from the stream.
    """
    return io.BufferedReader(_Decompressed(raw, kind, max_expansion), CHUNK_BYTES)


class _DamagedError(Exception):
    """What libraries without an error of their own raise."""


class _Decompressed(io.RawIOBase):
    """The content of a compressed stream, with errors of the container translated."""

    def __init__(self, raw: BinaryIO, compression: str, max_expansion: int) -> None:
        self._raw = raw
        self._compression, self._max_expansion = compression, max_expansion
        self._chunks = CONTENTS[compression](raw)
        self._held = memoryview(b"")
        self._total = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._held:
            self._held = memoryview(self._next())
        size = min(len(buffer), len(self._held))
        buffer[:size], self._held = self._held[:size], self._held[size:]
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()

    def _next(self) -> bytes:
        try:
            chunk = next(self._chunks, b"")
        except EOFError as error:
            raise CorruptError(
                f"The {self._compression} data breaks off before its end, after {self._total} bytes of content: "
                "the file is cut short."
            ) from error
        except (gzip.BadGzipFile, zlib.error, zstandard.ZstdError, lzma.LZMAError, _DamagedError) as error:
            raise CorruptError(
                f"The {self._compression} data is damaged after {self._total} bytes of content ({error})."
            ) from error
        self._total += len(chunk)
        self._refuse_bomb()
        return chunk

    def _refuse_bomb(self) -> None:
        read = self._raw.tell()
        if self._total > max(EXPANSION_COUNTS_FROM_BYTES, self._max_expansion * read):
            raise TooLargeError(
                f"The {self._compression} data expands to more than {self._max_expansion} times its size, the limit "
                f"that input.max_expansion sets: its first {read} bytes to {self._total} bytes of content."
            )


class _Sips:
    """What GzipFile needs of a file, in small reads: by default it reads far ahead of what it returns."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw

    def read(self, size: int = -1) -> bytes:
        return self._raw.read(FEED_BYTES["gzip"] if size < 0 else min(size, FEED_BYTES["gzip"]))


def _gunzip(raw: BinaryIO) -> Iterator[bytes]:
    # Unlike the plain read, read1 hands out what came before a break.
    with gzip.GzipFile(fileobj=_Sips(raw)) as content:  # type: ignore[call-overload]  # reading asks for no more
        while chunk := content.read1(CHUNK_BYTES):
            yield chunk


def _unzstd(raw: BinaryIO) -> Iterator[bytes]:
    """The frames of a file. zstandard's own stream reader does not notice that a file is truncated."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
    frame, fed = decompressor.decompressobj(), b""
    unfinished = False
    while fed := fed or raw.read(FEED_BYTES["zstd"]):
        unfinished = True
        if chunk := frame.decompress(fed):
            yield chunk
        fed = b""
        if frame.eof:
            frame, fed, unfinished = decompressor.decompressobj(), frame.unused_data, False
    if unfinished:
        raise EOFError


class _Decompressor(Protocol):
    """Of one stream; a file can hold several."""

    eof: bool
    needs_input: bool
    unused_data: bytes | None

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _streams(raw: BinaryIO, new: Callable[[], Any], padding: bytes = b"") -> Iterator[bytes]:
    """The content of all streams of a file, each with a new decompressor; zeros between them are `padding`."""
    decompressor: _Decompressor = new()
    fed, unfinished = b"", False
    while True:
        if decompressor.eof:
            fed = decompressor.unused_data or b""
            decompressor, unfinished = new(), False
        if not unfinished:
            fed = fed.lstrip(padding) if padding else fed
        if decompressor.needs_input and not fed:
            fed = raw.read(OTHER_FEED_BYTES)
            if not fed:
                break
            if not unfinished and padding and not fed.strip(padding):
                fed = b""
                continue
        unfinished = True
        try:
            chunk = decompressor.decompress(fed, CHUNK_BYTES)
        except (OSError, RuntimeError, ValueError) as error:
            raise _DamagedError(error) from error
        fed = b""
        if chunk:
            yield chunk
    if unfinished:
        raise EOFError


def _unlz4(raw: BinaryIO) -> Iterator[bytes]:
    import lz4.frame  # rare

    return _streams(raw, lz4.frame.LZ4FrameDecompressor)


CONTENTS: dict[str, Callable[[BinaryIO], Iterator[bytes]]] = {
    "gzip": _gunzip,
    "zstd": _unzstd,
    "bzip2": lambda raw: _streams(raw, bz2.BZ2Decompressor),
    "xz": lambda raw: _streams(raw, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, MAX_WINDOW), b"\0"),
    "lzma": lambda raw: _streams(raw, lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, MAX_WINDOW)),
    "lz4": _unlz4,
}
