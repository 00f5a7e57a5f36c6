"""Atomic writes on the local disk, durable across a power failure.

The data is on the disk before the file gets its name, and the name before the caller continues: fsync of the file, then
rename or link, then fsync of its folder. Without the first fsync, a rename may survive as an empty file.
"""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP)
"""Errors of network file systems that can sync files but not folders."""


def publish(path: str, data: bytes | memoryview) -> None:
    """Write a file atomically, replacing an existing one. Raises OSError."""
    with _beside(path, data) as temporary:
        os.replace(temporary, path)
    _sync_folder(os.path.dirname(path))


def create(path: str, data: bytes | memoryview) -> bool:
    """Write a file atomically if it does not exist; False if it does. Raises OSError."""
    with _beside(path, data) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:
            # This file system has no hard links. Whoever creates the empty file may replace it.
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                return False
            os.replace(temporary, path)
    _sync_folder(os.path.dirname(path))
    return True


@contextmanager
def _beside(path: str, data: bytes | memoryview) -> Iterator[str]:
    """A synced temporary file with the data in the folder of `path`, removed at the end unless it was renamed."""
    folder = os.path.dirname(path)
    _make_folder(folder)
    temporary = os.path.join(folder, f".{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _make_folder(folder: str) -> None:
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(folder)
    _make_folder(parent)
    with suppress(FileExistsError):
        os.mkdir(folder)
    _sync_folder(parent)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)
