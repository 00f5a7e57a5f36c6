"""JSON lines: each line that is not blank is a document."""

import io
from collections.abc import Iterator
from typing import BinaryIO

from configs.errors import DocumentError, TooLargeError, unexpected
from configs.settings import InputSettings
from pipeline.documents import content, pinned
from pipeline.documents.container import Container, Forward, Member
from pipeline.formats.json_records import parse_record
from pipeline.schemas.document import Place


class JsonLines(Container):
    """Lines are read by their offset and length. Any of them may have changed but the one that is wanted."""

    def __init__(self, stream: BinaryIO, settings: InputSettings) -> None:
        self._source, self._settings = Forward(stream), settings

    def members(self) -> Iterator[Member]:
        """As `Container.members`."""
        for number, offset, length, line in _lines(self._source.stream, self._settings.max_document_bytes):
            name, error = str(number), None
            try:
                name = _name(line, length, number, self._settings)
            except DocumentError as problem:
                error = problem
            except Exception as problem:  # a line that nobody foresaw is no reason to list nothing
                error = unexpected(problem)
            place = Place("jsonl", None, offset, length)
            yield Member(name, f"-line{number}", place, length, pinned.hash_of(line.rstrip()), error)

    def open(self, place: Place, etag: str | None) -> BinaryIO | None:
        """As `Container.open`."""
        offset, length = place.offset or 0, place.length or 0
        if not self._source.reaches(offset):
            return None
        self._source.go_to(offset)
        line = self._source.read(length)
        return io.BytesIO(line) if len(line) == length and pinned.hash_of(line.rstrip()) == etag else None

    def close(self) -> None:
        """As `Container.close`."""
        self._source.stream.close()


def _lines(stream: BinaryIO, max_bytes: int) -> Iterator[tuple[int, int, int, bytes]]:
    """Number, offset, length and bytes of each line that is not blank; a line over the limit is cut to it."""
    offset = 0
    number = 0
    while line := stream.readline(max_bytes + 1):
        number += 1
        length = len(line)
        rest = line
        while not rest.endswith(b"\n") and (rest := stream.readline(content.PIECE_BYTES)):
            length += len(rest)
        if line.strip():
            yield number, offset, length, line
        offset += length


def _name(line: bytes, length: int, number: int, settings: InputSettings) -> str:
    """The id of a record, or its line number. Raises TooLargeError, CorruptError."""
    if length > settings.max_document_bytes:
        raise TooLargeError(
            f"Line {number} has {length} bytes, more than the {settings.max_document_bytes} that "
            "input.max_document_bytes allows."
        )
    record = parse_record(line, settings.text_field, f"Line {number}")
    name = record.get(settings.id_field)
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        return str(number)
    return str(name).encode("utf-8", "backslashreplace").decode()
