"""Web pages as browsers save them with their pictures (MHTML): the page itself."""

from collections.abc import Iterator
from email.message import Message

from configs.errors import EmptyDocumentError
from configs.settings import InputSettings
from pipeline.formats import html, mail
from pipeline.formats.notes import Notes


def made_by(settings: InputSettings) -> str:
    """What the text depends on: another version may extract another text."""
    return f"mhtml 1 {html.made_by(settings)}"


def parse(data: bytes, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """Title and lines of visible text. Raises CorruptError, EmptyDocumentError, UndecodableError."""
    message = mail.message_of(data)
    page = _page(message)
    if page is None:
        raise EmptyDocumentError("The document is empty: the MHTML holds no page in HTML.")
    title, texts = mail.html_texts(page, notes, settings)
    return title or mail.subject_of(message), texts


def _page(message: Message) -> Message | None:
    """The part that the others belong to: the one named as such, else the first."""
    pages = [part for part in message.walk() if part.get_content_type() in ("text/html", "application/xhtml+xml")]
    start = message.get_param("start")
    return next((page for page in pages if start and page.get("Content-ID") == start), next(iter(pages), None))
