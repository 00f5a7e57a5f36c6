"""The text layer of a PDF, page by page."""

import io
import logging
from collections.abc import Iterator

import pypdf

from configs.errors import CorruptError, DocumentError, EmptyDocumentError, UnreadableError
from configs.settings import InputSettings
from pipeline.formats.encoding import without_surrogates
from pipeline.formats.notes import Notes


def made_by(settings: InputSettings) -> str:
    """What the text depends on: another version may extract another text."""
    return f"pdf pypdf {pypdf.__version__}"


def parse(data: bytes, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """Title and text, a page at a time. Raises UnreadableError, CorruptError, EmptyDocumentError, MemoryError, and the
    last three also while the pages are read."""
    # It warns of every flaw that it mends.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableError("The PDF is protected by a password.")
        num_pages = len(reader.pages)
        title = reader.metadata.title if reader.metadata else None
    except (DocumentError, MemoryError):
        raise
    except Exception as error:  # a damaged PDF makes pypdf raise nearly anything
        raise CorruptError(f"The PDF is damaged and cannot be opened ({type(error).__name__}: {error}).") from error
    if not num_pages:
        raise CorruptError("The PDF has no pages; it may be cut short.")
    return without_surrogates(str(title)) if title else None, _pages(reader, num_pages)


def _pages(reader: pypdf.PdfReader, num_pages: int) -> Iterator[str]:
    found = False
    for number in range(num_pages):
        try:
            text = without_surrogates(reader.pages[number].extract_text())
        except MemoryError:
            raise
        except Exception as error:  # as above
            raise CorruptError(
                f"Page {number + 1} of {num_pages} of the PDF is damaged ({type(error).__name__}: {error})."
            ) from error
        if text.strip():
            found = True
            yield text.replace("\r\n", "\n").replace("\r", "\n") + "\n"
    if not found:
        raise EmptyDocumentError(
            f"The PDF has no text layer on any of its {num_pages} page(s); a scanned PDF needs OCR first."
        )
