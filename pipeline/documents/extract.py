"""The text and title of a document: plain text, Markdown, HTML, PDF, JSON, each also within gzip or zstd."""

import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import PurePosixPath
from typing import BinaryIO

from configs import errors
from configs.errors import EmptyDocumentError, UndecodableError, UnreadableError
from configs.settings import InputSettings
from pipeline.documents import content, encoding, html, json_records, pdf
from pipeline.documents.encoding import Piece
from pipeline.documents.notes import Notes
from pipeline.documents.pinned import Pin
from pipeline.schemas.document import Document

KINDS = {
    ".txt": "text",
    ".md": "text",
    ".markdown": "text",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".json": "json",
}
BINARY_MAGIC = {
    b"PK\x03\x04": "a ZIP archive, as Word, Excel and EPUB files are",
    b"\xd0\xcf\x11\xe0": "an old Microsoft Office file",
    b"%PDF-": "a PDF, whatever its name says",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"GIF8": "an image",
    b"PAR1": "a Parquet file",
    b"\x7fELF": "a program",
    b"BZh": "compressed with bzip2; gzip and zstd are read",
    b"\xfd7zXZ": "compressed with xz; gzip and zstd are read",
}
HTML_START = re.compile(rb"<(?:!doctype\s+html|html)\b", re.IGNORECASE)
XML_DECLARATION = re.compile(rb"\s*<\?xml[^>]*>", re.IGNORECASE)
COMMENT_START, COMMENT_END = b"<!--", b"-->"
HEADING = re.compile(r"#{1,6}\s+(.*?)[\s#]*$")
HEAD_BYTES = 4096
"""HTML without a suffix must begin within this many bytes."""
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
    """As `Extractor.kind`."""
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
    """Reads documents. Use one for many: the records of a compressed JSON lines file, in order, take a single pass."""

    def __init__(self, settings: InputSettings) -> None:
        self._settings = settings
        self._records = content.RecordReader(settings.max_expansion)

    def read(self, document: Document) -> Extracted:
        """Open a document and read up to its first words.

        Raises a DocumentError (also while the text is read), or StorageError for the store as a whole.
        """
        notes = Notes()
        with ExitStack() as streams:
            kind, title, pieces = self._content(document, streams, notes)
            lead = _lead(pieces)
            title = " ".join((title or "").split()) or _title_in(lead) or _name(document)
            opened = streams.pop_all()
            return Extracted(title[:LONGEST_TITLE], kind, _closing(opened, chain(lead, pieces)), notes, opened)

    def kind(self, document: Document) -> str:
        """`text`, or one of the kinds that are parsed as a whole: `html`, `pdf`, `json`. Opens the document if its name
        does not tell. Raises what `read` raises."""
        by_name = "json" if document.record_offset is not None else _kind_by_name(document.source_uri)
        if by_name is not None:
            return by_name
        with ExitStack() as streams:
            return self._opened(document, streams)[0]

    def pieces(self, document: Document, offset: int = 0, encoding: str | None = None) -> Generator[Piece, None, None]:
        """The document's text with offsets; the document is opened when the first piece is requested.

        To resume, give the `offset` and `encoding` of an earlier `Trail`: plain text is read from there, compressed or
        parsed documents are read again from their start. Raises what `read` raises.
        """
        with ExitStack() as streams:
            yield from self._content(document, streams, Notes(), offset, encoding)[2]

    def _content(
        self, document: Document, streams: ExitStack, notes: Notes, offset: int = 0, encoding: str | None = None
    ) -> tuple[str, str | None, Iterator[Piece]]:
        """Kind, title and text."""
        kind, title, pieces = self._pieces(document, streams, notes, offset, encoding)
        return kind, title, _not_ended(pieces) if offset else _not_blank(pieces)

    def _pieces(
        self, document: Document, streams: ExitStack, notes: Notes, offset: int, encoding: str | None
    ) -> tuple[str, str | None, Iterator[Piece]]:
        if document.error_class:
            raise getattr(errors, document.error_class, UnreadableError)(document.error_message or "")
        if document.record_offset is not None and document.record_length is not None:
            place = document.record_offset, document.record_length
            record = self._records.read(document.source_uri, *place, document.source_etag)
            return "json", *_from_character(offset, *json_records.parse(record, self._settings.text_field))
        kind, first, stream = self._opened(document, streams)
        if kind == "text":
            return kind, None, _from_byte(offset, encoding, first, stream, notes)
        whole = content.whole(chain([first], content.pieces(stream, len(first))), self._settings.max_document_bytes)
        if not whole:
            raise EmptyDocumentError("The document is empty: it has no bytes.")
        return kind, *_from_character(offset, *self._parse(kind, whole, notes))

    def _parse(self, kind: str, data: bytes, notes: Notes) -> tuple[str | None, Iterator[str]]:
        """Title and text of a document that is parsed whole."""
        if kind == "html":
            return html.parse(data, notes)
        if kind == "pdf":
            return pdf.parse(data)
        return json_records.parse(data, self._settings.text_field)

    def _opened(self, document: Document, streams: ExitStack) -> tuple[str, bytes, BinaryIO]:
        """Kind, first piece, and the stream with the rest."""
        pin = Pin(document.source_uri, document.source_etag, document.size_bytes)
        stream = streams.enter_context(content.open_document(pin.uri, self._settings.max_expansion, pin))
        first = next(content.pieces(stream), b"")
        return _kind(document.source_uri, first), first, stream


def makers(text_field: str) -> Mapping[str, str]:
    """For each kind of document, what its text depends on: another version of a parser may extract another text."""
    return {
        "text": "text",
        "html": html.MADE_BY,
        "pdf": pdf.MADE_BY,
        "json": json_records.made_by(text_field),
    }


def _closing(streams: ExitStack, pieces: Iterator[Piece]) -> Iterator[Piece]:
    with streams:
        yield from pieces


def parsed_whole(uri: str) -> bool:
    """Whether a document of this name is parsed as a whole, in memory."""
    return _kind_by_name(uri) not in (None, "text")


def is_plain_by_name(document: Document) -> bool:
    """Whether a document's name alone tells that it is plain text."""
    return document.record_offset is None and _kind_by_name(document.source_uri) == "text"


def _texts(extracted: Extracted) -> Generator[str, None, None]:
    with closing(extracted):
        for piece in extracted.pieces:
            yield piece.text


def _kind(uri: str, head: bytes) -> str:
    """The kind by the name's suffix, else by the first bytes. Raises UndecodableError for known binary formats."""
    by_name = _kind_by_name(uri)
    if by_name is None and head.startswith(b"%PDF-"):
        return "pdf"
    if by_name is None and _begins_as_html(head[:HEAD_BYTES]):
        return "html"
    if by_name in (None, "text"):
        for magic, what in BINARY_MAGIC.items():
            if head.startswith(magic):
                raise UndecodableError(f"The document is not text but {what}.")
    return by_name or "text"


def _begins_as_html(head: bytes) -> bool:
    """Whether a doctype or <html> comes first, apart from an XML declaration, comments and white space."""
    declaration = XML_DECLARATION.match(head)
    # One comment at a time: a pattern for any number of comments would backtrack exponentially.
    rest = head[declaration.end() if declaration else 0 :].lstrip()
    while rest.startswith(COMMENT_START):
        _, _, rest = rest[len(COMMENT_START) :].partition(COMMENT_END)
        rest = rest.lstrip()
    return HTML_START.match(rest) is not None


def _kind_by_name(uri: str) -> str | None:
    path = PurePosixPath(uri)
    return KINDS.get((path.with_suffix("") if content.compression_of(uri) else path).suffix.lower())


def _from_byte(offset: int, chosen: str | None, first: bytes, stream: BinaryIO, notes: Notes) -> Iterator[Piece]:
    """Plain text from a byte offset; the first piece of the document has already been read."""
    # If the encoding is not known yet, detection must see the same piece as when reading from the start.
    known = 0 if chosen else offset % content.PIECE_BYTES
    start = offset - known
    is_read = start < len(first) or not start
    parts = chain([first[start:]], content.pieces(stream, len(first))) if is_read else _beyond(stream, first, start)
    return encoding.decode_pieces(parts, None, offset, chosen, known, notes)


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
    text = "".join(piece.text for piece in lead)
    line = text.lstrip()[: 2 * LONGEST_TITLE].partition("\n")[0].strip()
    if heading := HEADING.match(line):
        return heading[1]
    return line if len(line) <= LONGEST_LINE_AS_TITLE else None


def _name(document: Document) -> str:
    return document.document_id if document.record_offset is not None else PurePosixPath(document.source_uri).name
