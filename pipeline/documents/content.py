"""The bytes of a document: fetched and decompressed, a piece at a time."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import BinaryIO

from configs.errors import ChangedError, TooLargeError, UnreadableError
from pipeline.documents import compression, pinned
from pipeline.documents.pinned import Pin
from pipeline.storage import objects, remote

PIECE_BYTES = 1024 * 1024


def open_document(uri: str, max_expansion: int, pin: Pin | None = None) -> BinaryIO:
    """The decompressed bytes of a document; the stream is seekable if they are stored uncompressed. Compression is
    known by the content, not by the name: some clients decompress and keep the name. `max_expansion` is that of
    InputSettings. With `pin`, the content must be the one that was listed.

    Raises UnreadableError and ChangedError here; reading raises CorruptError, TooLargeError, ChangedError, or OSError
    from the store.
    """
    try:
        with ExitStack() as unless_it_is_read:
            raw = unless_it_is_read.enter_context(pinned.open_read(pin) if pin else objects.open_read(uri))
            head = raw.read(compression.HEAD_BYTES)
            raw.seek(0)
            unless_it_is_read.pop_all()
    except OSError as error:
        raise unreadable(error) from error
    kind = compression.kind_of(head, uri)
    return compression.decompressed(raw, kind, max_expansion) if kind else raw


def decompressed(stored: BinaryIO, name: str, max_expansion: int) -> BinaryIO:
    """The content of a file in an archive, as `open_document` has that of an object. `stored` can be peeked at."""
    head = stored.peek(compression.HEAD_BYTES)  # type: ignore[attr-defined]  # of every buffered reader
    kind = compression.kind_of(head[: compression.HEAD_BYTES], name)
    return compression.decompressed(stored, kind, max_expansion) if kind else stored


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
