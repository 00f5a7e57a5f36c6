"""The bytes of a document: fetched and decompressed, a piece at a time."""

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any, BinaryIO

import zstandard

from configs.errors import ChangedError, CorruptError, DocumentError, TooLargeError, UnreadableError
from pipeline.documents import pinned
from pipeline.documents.pinned import Pin
from pipeline.storage import objects, remote

PIECE_BYTES = 1024 * 1024
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
COMPRESSION_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
EXPANSION_COUNTS_FROM_BYTES = 4 * 1024 * 1024
"""Less than what a reader reads of a document (`input.inline_bytes`), so that it finds a bomb before an actor does."""
MAX_ZSTD_WINDOW = 2**27
# One fed byte can come out as a thousand in gzip, as tens of thousands in zstd; what is fed counts as read.
FEED_BYTES = {"gzip": 8192, "zstd": 1024}


def compression_of(name: str) -> str | None:
    """Compression by the suffix of a name."""
    return next((kind for suffix, kind in COMPRESSIONS.items() if name.lower().endswith(suffix)), None)


def open_document(uri: str, max_expansion: int, pin: Pin | None = None) -> BinaryIO:
    """The decompressed bytes of a document; the stream is seekable if they are stored uncompressed. `max_expansion` is
    that of InputSettings. With `pin`, the content must be the one that was listed.

    Raises UnreadableError and ChangedError here; reading raises CorruptError, TooLargeError, ChangedError, or OSError
    from the store.
    """
    try:
        with ExitStack() as unless_it_is_read:
            raw = unless_it_is_read.enter_context(pinned.open_read(pin) if pin else objects.open_read(uri))
            head = raw.read(4)
            raw.seek(0)
            unless_it_is_read.pop_all()
    except OSError as error:
        raise unreadable(error) from error
    by_content = (kind for magic, kind in COMPRESSION_MAGIC.items() if head.startswith(magic))
    compression = compression_of(uri) or next(by_content, None)
    return io.BufferedReader(_Decompressed(raw, compression, max_expansion), PIECE_BYTES) if compression else raw


def unreadable(error: OSError) -> UnreadableError | ChangedError:
    """A store's error as a sentence about the document."""
    if isinstance(error, remote.Replaced):
        return pinned.changed()
    if isinstance(error, FileNotFoundError):
        return UnreadableError("The document does not exist any more.")
    if isinstance(error, PermissionError):
        return UnreadableError("There is no permission to read the document.")
    if isinstance(error, IsADirectoryError):
        return UnreadableError("This is a directory, not a document.")
    return UnreadableError(f"The document cannot be read: {error.strerror or error}.")


def pieces(stream: BinaryIO, position: int = 0) -> Iterator[bytes]:
    """The rest of a stream whose current offset is `position`, in pieces that end at multiples of PIECE_BYTES.

    Raises UnreadableError, ChangedError, CorruptError, TooLargeError.
    """
    try:
        while piece := stream.read(PIECE_BYTES - position % PIECE_BYTES):
            position += len(piece)
            yield piece
    except OSError as error:
        raise unreadable(error) from error


def whole(parts: Iterable[bytes], max_bytes: int) -> bytes:
    """All pieces joined. Raises TooLargeError at the first byte over the limit."""
    held, total = [], 0
    for part in parts:
        total += len(part)
        if total > max_bytes:
            raise TooLargeError(
                f"The document has more than {max_bytes} bytes after decompression, the limit that "
                "input.max_document_bytes sets for HTML, PDF and JSON, which are parsed whole; plain text has none."
            )
        held.append(part)
    return b"".join(held)


def skip(stream: BinaryIO, position: int, offset: int) -> int:
    """Skip from `position` to `offset`: by seeking, or in compressed content by reading.

    Returns the offset reached, which is less than `offset` if the content ends before it. Raises OSError, CorruptError,
    TooLargeError.
    """
    if stream.seekable():
        return stream.seek(offset)
    while position < offset and (skipped := stream.read(min(PIECE_BYTES, offset - position))):
        position += len(skipped)
    return position


class RecordReader:
    """Reads records of JSON lines files. In file order, a compressed file is decompressed once."""

    def __init__(self, max_expansion: int) -> None:
        self._max_expansion = max_expansion
        self._uri = ""
        self._stream: BinaryIO | None = None
        self._position = 0

    def read(self, uri: str, offset: int, length: int, etag: str) -> bytes:
        """One record by its offset and length in the decompressed file. The record must be as listed with that etag;
        the rest of the file may have changed.

        Raises UnreadableError, ChangedError, CorruptError, TooLargeError.
        """
        record = self._read(uri, offset, length)
        if record is None or not _is_listed(record, etag):
            # What is open may be what the file was before it was written anew.
            self._close()
            record = self._read(uri, offset, length)
        if record is None or not _is_listed(record, etag):
            raise pinned.changed()
        return record

    def _read(self, uri: str, offset: int, length: int) -> bytes | None:
        """None where the file was exchanged, or has become shorter."""
        try:
            record = self._stream_at(uri, offset).read(length)
        except remote.Replaced:
            return None
        except (OSError, DocumentError) as error:
            self._close()
            if isinstance(error, OSError):
                raise unreadable(error) from error
            raise
        self._position += len(record)
        return record if len(record) == length else None

    def _stream_at(self, uri: str, offset: int) -> BinaryIO:
        if self._stream is None or uri != self._uri or (offset < self._position and not self._stream.seekable()):
            self._close()
            self._stream, self._uri, self._position = open_document(uri, self._max_expansion), uri, 0
        self._position = skip(self._stream, self._position, offset)
        return self._stream

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = None

    __del__ = _close


def _is_listed(record: bytes, etag: str) -> bool:
    return pinned.hash_of(record.rstrip()) == etag


class _Decompressed(io.RawIOBase):
    """The content of a gzip or zstd stream, with errors of the container translated."""

    def __init__(self, raw: BinaryIO, compression: str, max_expansion: int) -> None:
        self._raw = raw
        self._compression, self._max_expansion = compression, max_expansion
        self._chunks = _gunzip(raw) if compression == "gzip" else _unzstd(raw)
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
        except (gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
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
        while chunk := content.read1(PIECE_BYTES):
            yield chunk


def _unzstd(raw: BinaryIO) -> Iterator[bytes]:
    """The frames of a file. zstandard's own stream reader does not notice that a file is truncated."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW)
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
