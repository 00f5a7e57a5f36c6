"""Tar archives: each file in one is a document."""

import io
import tarfile
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, BinaryIO

from configs.errors import CorruptError, UndecodableError
from configs.settings import InputSettings
from pipeline.documents import bookkeeping, content, pinned
from pipeline.documents.container import Container, Forward, Member
from pipeline.schemas.document import Place

BLOCK = tarfile.BLOCKSIZE
MAX_HEADER_BYTES = 16 * 1024 * 1024
"""Of a long name or a list of attributes."""
CHECKED_AT_ONCE_BYTES = content.PIECE_BYTES
"""A smaller file is compared with what was listed before any of it is read."""


class TarArchive(Container):
    """Files are read by their offset and length in the decompressed archive."""

    def __init__(self, stream: BinaryIO, settings: InputSettings) -> None:
        self._source = Forward(stream)
        self._hashed: _Hashed | None = None

    def members(self) -> Iterator[Member]:
        """As `Container.members`."""
        for number, entry in enumerate(self._entries(), 1):
            name = _name(entry)
            if not entry.isreg() or bookkeeping.is_passed_over(name, entry.size):
                continue
            size, error = entry.size, None
            if entry.issparse():
                # Its size is not that of its bytes in the archive.
                size, error = 0, UndecodableError("The file in the archive has holes (sparse); unpack the archive.")
            self._hashed = _Hashed(_Slice(self._source, entry.offset_data, size))
            yield Member(name, f"-entry{number}", Place("tar", name, entry.offset_data, size), size, error=error)

    def open(self, place: Place, etag: str | None) -> BinaryIO | None:
        """As `Container.open`."""
        offset, length = place.offset or 0, place.length or 0
        if not self._source.reaches(offset):
            return None
        file = _Slice(self._source, offset, length)
        if etag is None:
            return io.BufferedReader(file, content.PIECE_BYTES)
        if length > CHECKED_AT_ONCE_BYTES:
            return pinned.checked(file, etag, length)
        data = file.read()
        return io.BufferedReader(io.BytesIO(data)) if pinned.hash_of(data) == etag else None

    def content(self, member: Member) -> BinaryIO:
        """As `Container.content`."""
        assert self._hashed is not None
        return io.BufferedReader(self._hashed, content.PIECE_BYTES)

    def etag(self, member: Member) -> str:
        """As `Container.etag`."""
        assert self._hashed is not None
        return self._hashed.etag(member.size_bytes)

    def close(self) -> None:
        """As `Container.close`."""
        self._source.stream.close()

    def _entries(self) -> Iterator[tarfile.TarInfo]:
        """Of all archives that stand one behind the other. Raises CorruptError."""
        headers = _Headers(self._source)
        try:
            yield from _entries(headers)
            while headers.skip_zeros():
                yield from _entries(headers)
        except (tarfile.TarError, ValueError, OverflowError, RecursionError, EOFError, OSError) as error:
            raise CorruptError(f"The tar archive is damaged ({error}).") from error


def _entries(headers: "_Headers") -> Iterator[tarfile.TarInfo]:
    archive = tarfile.TarFile(fileobj=headers, encoding="utf-8", errors="surrogateescape")  # type: ignore[arg-type]
    entry = archive.next() if archive.firstmember else None  # type: ignore[attr-defined]  # its first
    while entry:
        if entry.size < 0 or archive.offset < headers.tell():
            raise CorruptError("The tar archive is damaged: a file in it has a size that cannot be.")
        yield entry
        # Else it keeps all of them.
        archive.members = []  # type: ignore[attr-defined]  # since it is open to all
        entry = archive.next()
    headers.require_end()


class _Headers:
    """What the library reads of an archive: headers, which are short."""

    def __init__(self, source: Forward) -> None:
        self._source = source
        self._last = self._held = b""

    def tell(self) -> int:
        return self._source.position - len(self._held)

    def seek(self, offset: int) -> int:
        self._source.go_to(offset)
        return self._source.position

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise CorruptError(f"The tar archive is damaged: it has a header of {size} bytes.")
        self._last = self._held or self._source.read(size)
        self._held = b""
        return self._last

    def skip_zeros(self) -> bool:
        """Go on to the next block that is not zero; whether there is one."""
        while block := self._source.read(BLOCK):
            if block.strip(b"\0"):
                self._held = block
                return True
        return False

    def require_end(self) -> None:
        """The library stops without a word where no header can be read, as at the end. Raises CorruptError."""
        if len(self._last) < BLOCK:
            raise CorruptError("The tar archive is cut short: it has no end mark.")
        if self._last.strip(b"\0"):
            raise CorruptError(f"The tar archive is damaged near its byte {self._source.position}.")


class _Slice(io.RawIOBase):
    """A part of a stream. Where the stream ends within it, it ends as well."""

    def __init__(self, source: Forward, start: int, length: int) -> None:
        self._source, self._start, self._length = source, start, length
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._source.stream.seekable()

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence] + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        size = max(0, min(len(buffer), self._length - self._at))
        self._source.go_to(self._start + self._at)
        data = self._source.read(size)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class _Hashed(io.RawIOBase):
    """Goes forward, and knows the etag of all that it has read."""

    def __init__(self, file: _Slice) -> None:
        self._file, self._digest = file, blake2b(digest_size=pinned.DIGEST_BYTES)

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        size = self._file.readinto(buffer)
        self._digest.update(memoryview(buffer)[:size])
        return size

    def etag(self, length: int) -> str:
        """Of the whole. Raises CorruptError if there is less of it."""
        chunk = bytearray(content.PIECE_BYTES)
        while self.readinto(chunk):
            pass
        if self.tell() < length:
            raise CorruptError("The tar archive is cut short within this file.")
        return pinned.etag_of(self._digest)


def _name(entry: tarfile.TarInfo) -> str:
    name = entry.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return name.removeprefix("./")
