"""Objects in stores other than the local disk, through fsspec: conditional writes, listings, streams."""

import errno
import io
from collections.abc import Mapping
from typing import Any

import fsspec
from s3fs.utils import FileExpired

from pipeline.storage.listing import Listed
from pipeline.storage.translation import code_of, translated

BLOCK_BYTES = 4 * 1024 * 1024
"""Bytes that a stream fetches with one request."""
TAKEN = {"PreconditionFailed", "412"}
"""Error codes of S3 if an object already exists."""
Replaced = FileExpired
"""The OSError of an object that was replaced since it was opened, or that has another ETag than the expected one."""


def create(files: fsspec.AbstractFileSystem, path: str, data: bytes) -> bool:
    """Write an object if it does not exist; False if it does. Raises OSError."""
    try:
        files.pipe_file(path, data, mode="create")
    except OSError as error:
        if not isinstance(error, FileExistsError) and code_of(error) not in TAKEN:
            raise
        return False
    return True


def entry(files: fsspec.AbstractFileSystem, info: dict[str, Any]) -> Listed:
    """An object from fsspec's description of it."""
    return Listed(str(files.unstrip_protocol(info["name"])), info["size"] or 0, etag_of(info))


def etag_of(info: Mapping[str, Any]) -> str:
    """The ETag without its quotes; s3fs and other file systems spell the key differently. Empty if there is none."""
    return str(info.get("ETag") or info.get("etag") or "").strip('"')


class File(io.RawIOBase):
    """An object that is read by ranges, with its store's errors translated."""

    def __init__(self, uri: str, files: fsspec.AbstractFileSystem, path: str, etag: str) -> None:
        """Raises FileNotFoundError, PermissionError, StorageError, and Replaced if the object's ETag is not `etag`."""
        self._uri = uri
        with translated(uri):
            self._file = files.open(path, "rb", block_size=BLOCK_BYTES)
        # s3fs requests every range with the ETag that it saw when it opened the object.
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
