"""The text and title of a document: plain text, Markdown, HTML, PDF, JSON, each also within gzip or zstd."""

import re
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import chain
from pathlib import PurePosixPath
from typing import BinaryIO

from configs import errors
from configs.errors import EmptyDocumentError, UnreadableError
from configs.settings import InputSettings
from pipeline.documents import compression, content
from pipeline.documents.members import MemberReader
from pipeline.documents.pinned import Pin
from pipeline.documents.sections import FRONT_MATTER
from pipeline.formats import encoding, registry
from pipeline.formats.notes import Notes
from pipeline.formats.titles import checked
from pipeline.formats.trail import Piece
from pipeline.schemas.document import Document

HEADING = re.compile(r"#{1,6}\s+(.*?)[\s#]*$")
FRONT_TITLE = re.compile(r"^title[ \t]*:[ \t]*(?P<title>[^\n]*\S)", re.MULTILINE)
LONGEST_LINE_AS_TITLE = 120
LONGEST_TITLE = 300
LONGEST_LEAD = 4 * 1024 * 1024
"""Characters that are searched for a title."""


@dataclass(frozen=True)
class Extracted:
    """The title and text of a document."""

    title: str
    """Its own title if it has one, else its first line if that is short, else its name."""
    kind: str
    """As `Opened.kind`."""
    format: str
    """As `Opened.format`."""
    pieces: Iterator[Piece]
    """Its text with offsets, read lazily. Iterating raises what `Extractor.read` raises."""
    notes: Notes
    """What reading shows; complete at the end of the pieces."""
    streams: ExitStack
    """The streams that the pieces are read from; closed at their end."""

    @cached_property
    def text(self) -> Generator[str, None, None]:
        """The text without offsets; line ends are `\\n`. Closing it closes the document."""
        return _texts(self)

    def close(self) -> None:
        """Close the document; no more text can be read."""
        self.streams.close()


class Extractor:
    """Reads documents, one at a time. Use one for many: those of an archive or a table take a single pass in order."""

    def __init__(self, settings: InputSettings) -> None:
        self._settings = settings
        self._members = MemberReader(settings)

    def open(self, document: Document) -> "Opened":
        """Open a document and see what format it is in; it must be closed. Raises a DocumentError, or StorageError for
        the store as a whole."""
        if document.error_class:
            raise getattr(errors, document.error_class, UnreadableError)(document.error_message or "")
        with ExitStack() as streams:
            stream = streams.enter_context(self._stream(document))
            # It closes what the stream reads from when nobody needs it any more.
            streams.callback(id, self._members)
            if document.is_record:
                return Opened(document, self._settings, "json", stream.read(), BytesIO(), ExitStack())
            first = next(content.pieces(stream), b"")
            kind = registry.recognized(_without_compression(document.name), first)
            return Opened(document, self._settings, kind, first, stream, streams.pop_all())

    def _stream(self, document: Document) -> BinaryIO:
        """Its content without the compression."""
        most = self._settings.max_expansion
        if document.is_record:
            return self._members.open(document)
        if document.within:
            return content.decompressed(self._members.open(document), document.name, most)
        pin = Pin(document.source_uri, document.source_etag, document.size_bytes)
        return content.open_document(pin.uri, most, pin)

    def read(self, document: Document) -> Extracted:
        """Open a document and read up to its first words. Raises what `open` raises, also while the text is read."""
        opened = self.open(document)
        with ExitStack() as unless_it_is_read:
            unless_it_is_read.callback(opened.close)
            extracted = opened.read()
            unless_it_is_read.pop_all()
            return extracted


class Opened:
    """A document whose format is known; read it once, with `read` or `pieces`."""

    def __init__(
        self,
        document: Document,
        settings: InputSettings,
        kind: str,
        first: bytes,
        stream: BinaryIO,
        streams: ExitStack,
    ) -> None:
        self.kind = kind
        """Its format, as `registry` names it."""
        self.format = document.table or kind
        """What a reader of the tables calls it: of a row, that of its table."""
        self.notes = Notes()
        """What reading shows; complete at the end of the pieces."""
        self._document, self._settings = document, settings
        self._first, self._stream, self._streams = first, stream, streams

    def read(self) -> Extracted:
        """Its title and text. Raises a DocumentError or StorageError, also while the text is read."""
        title, pieces = self._content(0, None)
        lead = _lead(pieces)
        title = checked(title) or _title_in(lead) or _name(self._document)
        pieces = _closing(self._streams, chain(lead, pieces))
        return Extracted(title[:LONGEST_TITLE], self.kind, self.format, pieces, self.notes, self._streams)

    def pieces(self, offset: int = 0, encoding: str | None = None) -> Iterator[Piece]:
        """The text with offsets, from the `offset` and `encoding` of an earlier `Trail` on: plain text is read from
        there, compressed or parsed documents again from their start. Raises what `read` raises."""
        return self._content(offset, encoding)[1]

    def close(self) -> None:
        """Close the document; no more text can be read."""
        self._streams.close()

    def _content(self, offset: int, encoding: str | None) -> tuple[str | None, Iterator[Piece]]:
        title, pieces = self._pieces(offset, encoding)
        return title, _not_ended(pieces) if offset else _not_blank(pieces)

    def _pieces(self, offset: int, encoding: str | None) -> tuple[str | None, Iterator[Piece]]:
        if self.kind == registry.TEXT:
            return None, _from_byte(offset, encoding, self._first, self._stream, self.notes, self._settings)
        rest = content.pieces(self._stream, len(self._first))
        whole = content.whole(chain([self._first], rest), self._settings.max_document_bytes)
        if not whole:
            raise EmptyDocumentError("The document is empty: it has no bytes.")
        return _from_character(offset, *registry.parse(self.kind, whole, self.notes, self._settings))


def _closing(streams: ExitStack, pieces: Iterator[Piece]) -> Iterator[Piece]:
    with streams:
        yield from pieces


def parsed_whole(document: Document) -> bool:
    """Whether a document is parsed as a whole, in memory, as far as its name tells."""
    return document.is_record or _kind_by_name(document.name) not in (None, registry.TEXT)


def is_plain_by_name(document: Document) -> bool:
    """Whether a document is plain text, as far as its name tells."""
    return not document.is_record and _kind_by_name(document.name) == registry.TEXT


def _kind_by_name(uri: str) -> str | None:
    return registry.by_name(_without_compression(uri))


def _texts(extracted: Extracted) -> Generator[str, None, None]:
    with closing(extracted):
        for piece in extracted.pieces:
            yield piece.text


def _without_compression(uri: str) -> str:
    return str(PurePosixPath(uri).with_suffix("")) if compression.by_name(uri) else uri


def _from_byte(
    offset: int, chosen: str | None, first: bytes, stream: BinaryIO, notes: Notes, settings: InputSettings
) -> Iterator[Piece]:
    """Plain text from a byte offset; the first piece of the document has already been read."""
    # If the encoding is not known yet, detection must see the same piece as when reading from the start.
    known = 0 if chosen else offset % content.PIECE_BYTES
    start = offset - known
    is_read = start < len(first) or not start
    parts = chain([first[start:]], content.pieces(stream, len(first))) if is_read else _beyond(stream, first, start)
    return encoding.decode_pieces(parts, None, offset, chosen, known, notes, settings)


def _beyond(stream: BinaryIO, first: bytes, start: int) -> Iterator[bytes]:
    try:
        reached = content.skip(stream, len(first), start)
    except OSError as error:
        raise content.unreadable(error) from error
    yield from content.pieces(stream, reached)


def _from_character(offset: int, title: str | None, texts: Iterator[str]) -> tuple[str | None, Iterator[Piece]]:
    """Parsed text from an offset in characters."""

    def pieces() -> Iterator[Piece]:
        place = 0
        for text in texts:
            start = max(0, offset - place)
            if start < len(text):
                yield Piece(text[start:], place + start)
            place += len(text)

    return title, pieces()


def _not_blank(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The same pieces. Raises EmptyDocumentError at the end if all of them were blank."""
    some = words = False
    for piece in pieces:
        some, words = True, words or bool(piece.text.strip())
        yield piece
    if not words:
        raise EmptyDocumentError(f"The document is empty: there is {'only white space' if some else 'no text'} in it.")


def _not_ended(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The same pieces, of a resumed document. Raises UnreadableError if there are none."""
    some = False
    for piece in pieces:
        some = True
        yield piece
    if not some:
        raise UnreadableError("The document has become shorter since it was last read.")


def _lead(pieces: Iterator[Piece]) -> list[Piece]:
    """The pieces up to the first that is not blank, at most LONGEST_LEAD characters."""
    lead, length = [], 0
    for piece in pieces:
        lead.append(piece)
        length += len(piece.text)
        if piece.text.strip() or length > LONGEST_LEAD:
            break
    return lead


def _title_in(lead: list[Piece]) -> str | None:
    text = "".join(piece.text for piece in lead).lstrip()
    if front := FRONT_MATTER.match(text):
        if named := FRONT_TITLE.search(text, 0, front.end()):
            return named["title"].strip("\"' ")
        text = text[front.end() :]
    line = text.lstrip()[: 2 * LONGEST_TITLE].partition("\n")[0].strip()
    if heading := HEADING.match(line):
        return heading[1]
    return line if len(line) <= LONGEST_LINE_AS_TITLE else None


def _name(document: Document) -> str:
    return document.document_id if document.is_record else PurePosixPath(document.name).name
