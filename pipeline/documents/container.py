"""What an object is that holds several documents: an archive, a table, JSON lines."""

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from configs.errors import DocumentError, LonghaulError
from pipeline.documents import content
from pipeline.schemas.document import Place

BUFFER_BYTES = 256 * 1024
HEAD_BYTES = 128 * 1024
"""Of a stream from `buffered`, so many are there to be looked at."""


class Member(NamedTuple):
    """One of the documents that a container holds."""

    name: str
    """What follows the container's in its id."""
    other_name: str
    """What is appended if the name is taken."""
    place: Place
    size_bytes: int
    etag: str = ""
    """Empty for a file in an archive, of which `Container.etag` tells it."""
    error: DocumentError | None = None
    """Why it cannot be read."""


class Container(ABC):
    """An open object that holds several documents."""

    @abstractmethod
    def members(self) -> Iterator[Member]:
        """All of them, in the order in which they lie there. Once. Raises a DocumentError where no more can be found,
        and StorageError."""

    @abstractmethod
    def open(self, place: Place, etag: str | None) -> BinaryIO | None:
        """A member as it was listed with an etag, if one is given; None where that is not there, or not any more, or
        where what is open has to be opened anew to go back to it. At most one is open at a time.

        Raises a DocumentError or StorageError, also while the member is read.
        """

    def content(self, member: Member) -> BinaryIO:
        """Of an archive, the file that `members` has just given, to look at. Read it no more once `etag` was asked."""
        raise NotImplementedError

    def etag(self, member: Member) -> str:
        """Of an archive, the etag of the file that `members` has just given. Raises a DocumentError."""
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None:
        """Close the object."""


def buffered(stream: BinaryIO) -> io.BufferedReader:
    """The same content, with the errors of its store as those of a document. The first HEAD_BYTES can be peeked at."""
    return io.BufferedReader(_Filled(stream), BUFFER_BYTES)


class _Filled(io.RawIOBase):
    """Reads as much as it is asked for. Where that fails, what came before is read, and then the error is raised."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._error: LonghaulError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._stream.seekable()

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        filled = 0
        while filled < len(buffer) and (data := self._some(len(buffer) - filled)):
            buffer[filled : filled + len(data)] = data
            filled += len(data)
        if self._error and not filled:
            raise self._error
        return filled

    def _some(self, size: int) -> bytes:
        """Nothing at the end, or where reading fails."""
        if self._error:
            return b""
        try:
            some: bytes = self._stream.read1(size)  # type: ignore[attr-defined]  # of every buffered reader
            return some
        except LonghaulError as error:
            self._error = error
        except OSError as error:
            self._error = content.unreadable(error)
        return b""

    def close(self) -> None:
        self._stream.close()
        super().close()


class Forward:
    """A stream that knows its place, and goes forward also where it cannot seek."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.position = 0

    def reaches(self, offset: int) -> bool:
        """Whether an offset can be gone to."""
        return offset >= self.position or self.stream.seekable()

    def go_to(self, offset: int) -> None:
        """Raises a DocumentError. The content may end before."""
        if offset != self.position:
            self.position = content.skip(self.stream, self.position, offset)

    def read(self, size: int) -> bytes:
        """Less only at the end. Raises a DocumentError."""
        data = self.stream.read(size)
        self.position += len(data)
        return data
