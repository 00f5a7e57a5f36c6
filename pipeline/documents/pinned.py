"""Reads what was listed: an object with the content that its listing saw, or an error.

A store compares the ETag, at the opening and for every range. On the local disk the content itself is compared while
it is read: of a file that has only grown since, such as a log, the bytes up to its listed size are read, which are what
was listed. Where anything else has changed, its end raises ChangedError, before a word of it is published.
"""

import io
import os
from abc import abstractmethod
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, BinaryIO

from configs.errors import ChangedError
from pipeline.storage import objects
from pipeline.storage.listing import Listed

HASHED_WHOLE_BYTES = 256 * 1024 * 1024
"""Larger local files are known by their ends: to read a terabyte on the driver for its hash would take an hour."""
END_BYTES = 4 * 1024 * 1024
BUFFER_BYTES = 256 * 1024
DIGEST_BYTES = 16
WHOLE, ENDS = "blake2b", "ends"


@dataclass(frozen=True)
class Pin:
    """An object at one content."""

    uri: str
    etag: str
    """As `Document.source_etag`."""
    size_bytes: int


def pin(entry: Listed) -> Pin:
    """A file or object as it is now. Its content is read where its store has no ETags. Raises OSError, StorageError."""
    if entry.etag:
        return Pin(entry.uri, entry.etag, entry.size_bytes)
    with objects.open_read(entry.uri) as stream:
        if not objects.is_local(entry.uri):
            return Pin(entry.uri, *_hash(stream, entry.size_bytes))
        about = os.fstat(stream.fileno())
        if about.st_size <= HASHED_WHOLE_BYTES:
            return Pin(entry.uri, *_hash(stream, about.st_size))
        etag = _etag_of_ends(stream.fileno(), about.st_size, about.st_mtime_ns)
        return Pin(entry.uri, etag, about.st_size)


def open_read(wanted: Pin) -> BinaryIO:
    """A seekable stream of that content.

    Raises OSError (remote.Replaced for an object with another ETag), StorageError and, at the end of a local file too,
    ChangedError.
    """
    kind = wanted.etag.partition(":")[0]
    if not objects.is_local(wanted.uri):
        # One that was hashed is in a store without ETags.
        return objects.open_read(wanted.uri, "" if kind == WHOLE else wanted.etag)
    checked = {WHOLE: _Hashed, ENDS: _KnownByItsEnds}.get(kind)
    stream = objects.open_read(wanted.uri)
    return io.BufferedReader(checked(stream, wanted), BUFFER_BYTES) if checked else stream


def checked(stream: io.RawIOBase, etag: str, size_bytes: int) -> io.BufferedReader:
    """A content with the etag that `hash_of` gives it, as a stream that ends in ChangedError if it has another."""
    return io.BufferedReader(_Hashed(stream, Pin("", etag, size_bytes)), BUFFER_BYTES)


def changed() -> ChangedError:
    """The reason of every document that is not what its listing saw."""
    return ChangedError("The document has changed since it was listed; the next run reads it as it is then.")


def hash_of(content: bytes) -> str:
    """The etag of a content that is at hand."""
    return etag_of(blake2b(content, digest_size=DIGEST_BYTES))


def etag_of(digest: blake2b) -> str:
    """The etag of a content that has gone by."""
    return f"{WHOLE}:{digest.hexdigest()}"


def _hash(stream: BinaryIO, size_bytes: int) -> tuple[str, int]:
    """The etag of the first `size_bytes`, and how many of them there are."""
    digest, size = blake2b(digest_size=16), 0
    while chunk := stream.read(min(BUFFER_BYTES, size_bytes - size)):
        digest.update(chunk)
        size += len(chunk)
    return f"{WHOLE}:{digest.hexdigest()}", size


def _etag_of_ends(file: int, size_bytes: int, modified_ns: int) -> str:
    digest = blake2b(f"{size_bytes}/{modified_ns}/".encode(), digest_size=16)
    digest.update(os.pread(file, END_BYTES, 0))
    digest.update(os.pread(file, END_BYTES, size_bytes - END_BYTES))
    return f"{ENDS}:{modified_ns}:{digest.hexdigest()}"


class _Checked(io.RawIOBase):
    """The first bytes of a local file or of another stream, as many as were listed."""

    def __init__(self, stream: BinaryIO | io.RawIOBase, wanted: Pin) -> None:
        self._stream, self._wanted = stream, wanted
        self._position = 0

    @abstractmethod
    def _saw(self, place: int, data: memoryview) -> None:
        """Bytes that were read at a place; between two places nothing is left out."""

    @abstractmethod
    def _is_as_listed(self) -> bool:
        """Asked at the end."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._stream.seekable()

    def fileno(self) -> int:
        return self._stream.fileno()

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        left = self._wanted.size_bytes - self._position
        view = memoryview(buffer).cast("B")[: max(0, left)]
        size: int = self._stream.readinto(view) if view else 0  # type: ignore[union-attr]  # of every stream here
        if not size and len(buffer) and (left > 0 or not self._is_as_listed()):
            raise changed()
        self._saw(self._position, view[:size])
        self._position += size
        return size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._wanted.size_bytes}[whence]
        self._position = self._stream.seek(base + offset)
        return self._position

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Hashed(_Checked):
    """Known by the hash of the whole: what is gone over by a seek is read for it."""

    def __init__(self, stream: BinaryIO | io.RawIOBase, wanted: Pin) -> None:
        super().__init__(stream, wanted)
        self._digest, self._hashed = blake2b(digest_size=16), 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = super().seek(offset, whence)
        if target > self._hashed:
            super().seek(self._hashed)
            chunk = bytearray(BUFFER_BYTES)
            while self._position < min(target, self._wanted.size_bytes):
                self.readinto(memoryview(chunk)[: target - self._position])
        return super().seek(target)

    def _saw(self, place: int, data: memoryview) -> None:
        self._digest.update(data[self._hashed - place :] if place + len(data) > self._hashed else b"")
        self._hashed = max(self._hashed, place + len(data))

    def _is_as_listed(self) -> bool:
        return f"{WHOLE}:{self._digest.hexdigest()}" == self._wanted.etag


class _KnownByItsEnds(_Checked):
    """A large file: the one that was listed while nobody has written to it, or where it has only grown, by its ends."""

    def __init__(self, stream: BinaryIO | io.RawIOBase, wanted: Pin) -> None:
        super().__init__(stream, wanted)
        self._modified_ns = int(wanted.etag.split(":")[1])
        if not self._is_as_listed():
            raise changed()

    def _saw(self, place: int, data: memoryview) -> None:
        pass

    def _is_as_listed(self) -> bool:
        about, size = os.fstat(self.fileno()), self._wanted.size_bytes
        if (about.st_size, about.st_mtime_ns) == (size, self._modified_ns):
            return True
        return about.st_size > size and _etag_of_ends(self.fileno(), size, self._modified_ns) == self._wanted.etag
