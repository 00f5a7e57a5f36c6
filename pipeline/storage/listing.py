"""What a listing finds: objects, and why some of them cannot be read."""

import errno
import os
import stat as modes
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Listed:
    """An object that a listing found."""

    uri: str
    size_bytes: int = 0
    etag: str = ""
    """The store's ETag without its quotes; empty on the local disk."""
    problem: str | None = None
    """Why it cannot be read, as a sentence; None if the listing saw no problem."""


def walk_disk(root: str, depth: int | None) -> Iterator[Listed]:
    """All files below a path, or the file there, at most `depth` names deep; see `objects.walk`."""
    pending: list[tuple[str, frozenset[tuple[int, int]]]] = [(root, frozenset())]
    while pending:
        path, ancestors = pending.pop()
        try:
            info = os.stat(path)
            identity = (info.st_dev, info.st_ino)
            if not modes.S_ISDIR(info.st_mode):
                yield Listed(_printable(path), info.st_size, problem=_problem(path, info))
            elif identity in ancestors:
                yield Listed(_printable(path), problem="This symbolic link leads back to a directory that holds it.")
            elif depth is None or len(ancestors) < depth:
                inner = ancestors | {identity}
                pending.extend((os.path.join(path, name), inner) for name in os.listdir(path))
            elif path == root:
                yield Listed(_printable(path), problem="This is a directory, not a document.")
        except OSError as error:
            # Unless it is a link, a missing file never existed or was deleted during the walk.
            if os.path.islink(path) or not isinstance(error, FileNotFoundError | NotADirectoryError):
                yield Listed(_printable(path), problem=_link_problem(path, error))


def _problem(path: str, info: os.stat_result) -> str | None:
    if path != _printable(path):
        return "The file's name is not valid UTF-8; rename it."
    if not modes.S_ISREG(info.st_mode):
        return "This is a pipe, a socket or a device, not a file."
    if not os.access(path, os.R_OK):
        return "There is no permission to read this file."
    return None


def _link_problem(path: str, error: OSError) -> str:
    if not os.path.islink(path):
        return f"It cannot be opened: {error.strerror}."
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"This symbolic link leads to {_printable(os.readlink(path))}, which does not exist."
    return (
        "This symbolic link leads in a circle."
        if error.errno == errno.ELOOP
        else f"It cannot be opened: {error.strerror}."
    )


def _printable(path: str) -> str:
    """The path, with escapes for bytes that are not UTF-8, since no table could hold them."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
