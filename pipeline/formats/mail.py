"""E-mail: who wrote to whom, the text as it was meant to be read, and what was attached."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.errors import MessageError
from email.message import Message
from hashlib import sha256

from configs.errors import CorruptError, DocumentError, EmptyDocumentError, EncryptedError
from configs.settings import InputSettings
from pipeline.formats import encoding, lines, registry
from pipeline.formats.mail_headers import FIELDS, file_name, text_of
from pipeline.formats.notes import Notes

MADE_BY = "mail 1"
WIDE_WITHIN_BYTES = 64
DEEPEST = 8
"""Messages attached to messages attached to messages."""
CERTAINLY_REAL_WORDS = 100
REAL_SHARE = 0.5
"""Share of the words of the HTML that a plain text must have to be more than a hint at the HTML."""
MOST_NAMES = 3
LONGEST_NAME = 60
LONGEST_REASON = 80
REFUSAL = re.compile(r"The document is not text but (.*?)(?:;.*)?\.")
ENCRYPTED = {"multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"}
SIGNATURES = {"application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"}


def made_by(settings: InputSettings) -> str:
    """What the text depends on: attachments may be in nearly every format."""
    others = {registry.made_by(name, settings) for name in registry.PARSED if name not in ("mail", "mbox")}
    return f"{MADE_BY} {sha256(repr(sorted(others)).encode()).hexdigest()[:16]}"


def parse(data: bytes, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """Subject and text. Raises EncryptedError if it is encrypted, UndecodableError, CorruptError, the last also while
    the text is read."""
    message = message_of(data)
    if _is_encrypted(message):
        raise EncryptedError("The message is encrypted.")
    return subject_of(message), _texts(message, Letter(notes, settings))


def message_of(data: bytes) -> Message:
    """Raises CorruptError, UndecodableError."""
    if b"\0" in data[:WIDE_WITHIN_BYTES]:
        # Saved as a text of two bytes a character.
        data = "".join(encoding.decode([data])).encode()
    try:
        return message_from_bytes(data.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n"))
    except (MessageError, ValueError, LookupError, RecursionError) as error:
        raise CorruptError(f"The message is damaged and cannot be read ({type(error).__name__}: {error}).") from error


def subject_of(message: Message) -> str | None:
    """As a line, if there is one."""
    return next((text_of(value) for name, value in message.raw_items() if name.lower() == "subject"), None) or None


@dataclass
class Letter:
    """Reads messages with what is attached to them, and gathers what is left out."""

    notes: Notes
    settings: InputSettings
    unread: list[str] = field(default_factory=list)
    num_pictures: int = 0
    num_replaced: int = 0

    def texts(self, message: Message, depth: int = 0) -> Iterator[str]:
        """Its headers, then its text, then what is attached. Raises CorruptError."""
        values = {name.lower(): value for name, value in reversed(list(message.raw_items()))}
        for name in FIELDS:
            if text := text_of(values.get(name.lower(), "")):
                yield f"{name}: {text}\n"
        yield "\n"
        yield from self._part(message, depth)

    def warn(self) -> None:
        """Note what was left out of all messages."""
        if self.unread:
            named = ", ".join(self.unread[:MOST_NAMES]) + (", ..." if len(self.unread) > MOST_NAMES else "")
            self.notes.warnings.append(f"Attachments were not read: {len(self.unread)}: {named}.")
        if self.num_pictures:
            self.notes.warnings.append(f"Pictures in the text were not read: {self.num_pictures}.")
        if self.num_replaced:
            self.notes.warnings.append(f"Characters that could not be decoded were replaced: {self.num_replaced}.")

    def _part(self, part: Message, depth: int, is_body: bool = True) -> Iterator[str]:
        """The text of a part and those within it; with `is_body` false, only of what is attached."""
        kind = part.get_content_type()
        if _is_encrypted(part):
            self.unread.append("the message, which is encrypted")
        elif kind == "message/rfc822" or (kind.startswith("message/") and part.is_multipart()):
            yield from self._message(part, depth)
        elif kind == "multipart/alternative":
            yield from self._alternative(part, depth, is_body)
        elif kind == "multipart/related":
            yield from self._related(part, depth, is_body)
        elif part.is_multipart():
            for each in _parts(part):
                yield from self._part(each, depth, is_body)
        elif _is_attached(part):
            yield from self._attachment(part, depth)
        elif is_body:
            yield self._text(part)

    def _message(self, part: Message, depth: int) -> Iterator[str]:
        for message in _parts(part):
            if depth >= DEEPEST:
                self.unread.append("a message, nested too deeply")
                continue
            yield lines.heading(2, f"Attached message: {subject_of(message) or ''}")
            yield from self.texts(message, depth + 1)

    def _alternative(self, part: Message, depth: int, is_body: bool) -> Iterator[str]:
        """The plain text if it says as much as the HTML, else the HTML."""
        parts = _parts(part)
        plain = next((each for each in parts if each.get_content_type() == "text/plain"), None)
        rest = [each for each in parts if each is not plain and each.get_content_type() != "text/calendar"]
        rich = rest[-1] if rest else None
        if plain is None or rich is None:
            for each in parts:
                yield from self._part(each, depth, is_body)
            return
        text = self._text(plain)
        is_real = _says_as_much(text, rich, self._text)
        if is_body and is_real:
            yield text
        yield from self._part(rich, depth, is_body and not is_real)

    def _related(self, part: Message, depth: int, is_body: bool) -> Iterator[str]:
        """The first part, which the others belong to."""
        for number, each in enumerate(_parts(part)):
            if number and each.get_content_maintype() == "image":
                self.num_pictures += 1
            else:
                yield from self._part(each, depth, is_body)

    def _attachment(self, part: Message, depth: int) -> Iterator[str]:
        name = file_name(part) or "without a name"
        if part.get_content_type() in SIGNATURES:
            return
        data = payload_of(part)
        try:
            yield lines.heading(2, f"Attachment: {name}") + _ended("".join(self._attached(name, data, part, depth)))
        except DocumentError as error:
            yield lines.paragraph(f"Attachment: {name} (not read)")
            self.unread.append(f"{name[:LONGEST_NAME]} ({_reason(error)})")

    def _attached(self, name: str, data: bytes, part: Message, depth: int) -> Iterator[str]:
        if not data.strip():
            raise EmptyDocumentError("it is empty")
        kind = registry.recognized(name, data)
        if kind == registry.TEXT:
            return encoding.decode([data], _codec(part))
        if kind == "mbox":
            raise CorruptError("a mailbox")
        if kind == "mail":
            if depth >= DEEPEST:
                raise CorruptError("nested too deeply")
            return self.texts(message_of(data), depth + 1)
        notes = Notes()
        texts = list(registry.parse(kind, data, notes, self.settings)[1])
        self.notes.warnings += [f"{name[:LONGEST_NAME]}: {warning}" for warning in notes.warnings]
        return iter(texts)

    def _text(self, part: Message) -> str:
        """Of a part that is the message itself, not attached to it."""
        data = payload_of(part)
        try:
            if part.get_content_type() == "text/html":
                return "".join(html_texts(part, Notes(), self.settings)[1])
            text = "".join(encoding.decode([data], _codec(part)))
        except EmptyDocumentError:
            return ""
        except DocumentError:
            text = data.decode(_codec(part) or "utf-8", "replace").replace("\r\n", "\n").replace("\0", "")
            self.num_replaced += text.count("\ufffd")
        return _unflowed(part, text).strip("\n") + "\n"


def _texts(message: Message, letter: Letter) -> Iterator[str]:
    yield from letter.texts(message)
    letter.warn()


def html_texts(part: Message, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """Title and text of a part in HTML, in the encoding that its header declares. Raises what parsing HTML raises."""
    data, codec = payload_of(part), _codec(part)
    try:
        if codec is not None:
            # Marked, so that it has precedence over what the HTML says of itself, which mail programs leave unchanged.
            data = b"\xef\xbb\xbf" + data.decode(codec).removeprefix("\ufeff").encode()
    except UnicodeError:
        pass
    return registry.parse("html", data, notes, settings)


def payload_of(part: Message) -> bytes:
    """The bytes of a part, freed of the encoding for their transport."""
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _is_encrypted(part: Message) -> bool:
    return part.get_content_type() in ENCRYPTED and "signed" not in str(part.get_param("smime-type", ""))


def _codec(part: Message) -> str | None:
    charset = part.get_content_charset()
    return encoding.codec_of(charset) if charset else None


def _parts(part: Message) -> list[Message]:
    payload = part.get_payload()
    return [each for each in payload if isinstance(each, Message)] if isinstance(payload, list) else []


def _is_attached(part: Message) -> bool:
    if part.get_content_disposition() == "attachment" or part.get_content_maintype() != "text":
        return True
    return bool(file_name(part)) and part.get_content_disposition() != "inline"


def _says_as_much(text: str, rich: Message, text_of_part: object) -> bool:
    num_words = len(text.split())
    if num_words >= CERTAINLY_REAL_WORDS:
        return True
    page = next((each for each in rich.walk() if each.get_content_type() == "text/html"), None)
    return page is None or num_words >= REAL_SHARE * len(text_of_part(page).split())  # type: ignore[operator]


def _ended(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def _unflowed(part: Message, text: str) -> str:
    """With the lines joined that a program broke for their length (RFC 3676)."""
    if str(part.get_param("format", "")).lower() != "flowed":
        return text
    glue = "" if str(part.get_param("delsp", "")).lower() == "yes" else " "
    # A line of two hyphens and a blank begins a signature.
    return re.sub(r"(?<!\n--)(?<!^--) \n(?![>\n]|-- \n)", glue, text)


def _reason(error: DocumentError) -> str:
    refusal = REFUSAL.fullmatch(str(error))
    return refusal[1] if refusal else str(error).partition(" (")[0].rstrip(".")[:LONGEST_REASON]
