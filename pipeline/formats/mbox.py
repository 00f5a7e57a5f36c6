"""Mailboxes: files of many messages, each with its subject as a heading."""

import re
from collections.abc import Iterator

from configs.errors import CorruptError, EmptyDocumentError
from configs.settings import InputSettings
from pipeline.formats import lines, mail
from pipeline.formats.notes import Notes

# The line before each message, with its sender and date; in the text of messages such lines are quoted by `>`.
SEPARATOR = re.compile(rb"^From [^\r\n]{1,300}\d{4}[^\r\n]{0,20}\r?\n(?=[A-Za-z][\w-]{0,80}:)", re.MULTILINE)
QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)


def made_by(settings: InputSettings) -> str:
    """What the text depends on."""
    return f"mbox 1 {mail.made_by(settings)}"


def parse(data: bytes, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """No title, and the messages; of a single one what `mail.parse` returns. Raises EmptyDocumentError, CorruptError,
    EncryptedError."""
    starts = list(SEPARATOR.finditer(data))
    if not starts:
        raise EmptyDocumentError("The document is empty: there is no message in the mailbox.")
    if len(starts) == 1:
        return mail.parse(QUOTED.sub(rb"\1", data[starts[0].end() :]), notes, settings)
    places = [(match.end(), following) for match, following in zip(starts, _ends(starts, data), strict=True)]
    return None, _texts(data, places, notes, settings)


def _ends(starts: list[re.Match[bytes]], data: bytes) -> list[int]:
    return [match.start() for match in starts[1:]] + [len(data)]


def _texts(data: bytes, places: list[tuple[int, int]], notes: Notes, settings: InputSettings) -> Iterator[str]:
    damaged = 0
    letter = mail.Letter(notes, settings)
    for start, end in places:
        try:
            message = mail.message_of(QUOTED.sub(rb"\1", data[start:end]))
            text = "".join(letter.texts(message))
        except CorruptError:
            damaged += 1
            continue
        yield lines.heading(1, mail.subject_of(message) or "Message without a subject") + text
    letter.warn()
    if damaged:
        notes.warnings.append(f"Messages that are damaged were not read: {damaged} of {len(places)}.")
