"""Objects in stores that fsspec opens: what `disk.py` and `listing.py` are for the local disk."""

import errno
import io
from collections.abc import Mapping
from typing import Any

import fsspec
from s3fs.utils import FileExpired

from pipeline.storage.listing import Listed
from pipeline.storage.translation import code_of, translated

BLOCK_BYTES = 4 * 1024 * 1024
"""That one request of a stream fetches."""
TAKEN = {"PreconditionFailed", "412"}
"""S3's answers where there is an object already."""
Replaced = FileExpired
"""The OSError of an object that is no longer the one that was opened, or that was asked for."""


def create(files: fsspec.AbstractFileSystem, path: str, data: bytes) -> bool:
    """Write an object where there is none; False where there is one. Raises OSError."""
    try:
        files.pipe_file(path, data, mode="create")
    except OSError as error:
        if not isinstance(error, FileExistsError) and code_of(error) not in TAKEN:
            raise
        return False
    return True


def entry(files: fsspec.AbstractFileSystem, info: dict[str, Any]) -> Listed:
    """What a listing or a look at one object says of it."""
    return Listed(str(files.unstrip_protocol(info["name"])), info["size"] or 0, etag_of(info))


def etag_of(info: Mapping[str, Any]) -> str:
    """As s3fs and the file systems of other stores spell it, without its quotes."""
    return str(info.get("ETag") or info.get("etag") or "").strip('"')


class File(io.RawIOBase):
    """An object read by ranges, each error of its store translated."""

    def __init__(self, uri: str, files: fsspec.AbstractFileSystem, path: str, etag: str) -> None:
        """Opens it. Raises FileNotFoundError, PermissionError, StorageError, Replaced where `etag` is not its own."""
        self._uri = uri
        with translated(uri):
            self._file = files.open(path, "rb", block_size=BLOCK_BYTES)
        # s3fs holds every range to the ETag of the opening.
        found = etag_of(getattr(self._file, "details", {}))
        if etag and found not in ("", etag):
            self._file.close()
            raise Replaced(uri, found)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        with translated(self._uri):
            data = self._file.read(len(buffer))
            if not data and len(buffer) and self.tell() < (getattr(self._file, "size", None) or 0):
                raise OSError(errno.EIO, "the store sent less than the object's size")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed and hasattr(self, "_file"):
            self._file.close()
        super().close()
