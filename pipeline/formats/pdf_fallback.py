"""The text of damaged PDFs, or of pages of theirs, that PDFium cannot read: pypdf puts up with other flaws."""

import io
import logging

import pypdf

from configs.errors import CorruptError, DocumentError, EncryptedError
from pipeline.formats.encoding import without_surrogates


class FallbackFile:
    """Opens a document. Raises EncryptedError, CorruptError, MemoryError."""

    def __init__(self, data: bytes) -> None:
        # It warns of every flaw that it mends.
        logging.getLogger("pypdf").setLevel(logging.CRITICAL)
        try:
            self._reader = pypdf.PdfReader(io.BytesIO(data))
            if self._reader.is_encrypted and not self._reader.decrypt(""):
                raise EncryptedError("The PDF is protected by a password.")
            self.num_pages = len(self._reader.pages)
            title = self._reader.metadata.title if self._reader.metadata else None
        except (DocumentError, MemoryError):
            raise
        except Exception as error:  # a damaged PDF makes pypdf raise nearly anything
            raise CorruptError(f"The PDF is damaged and cannot be opened ({type(error).__name__}: {error}).") from error
        if not self.num_pages:
            raise CorruptError("The PDF has no pages; it may be cut short.")
        self.title = without_surrogates(str(title)) if title else None

    def text(self, number: int) -> str:
        """Of a page, as it is drawn. Raises CorruptError, MemoryError."""
        try:
            text = without_surrogates(self._reader.pages[number].extract_text())
        except MemoryError:
            raise
        except Exception as error:  # as above
            raise CorruptError(
                f"Page {number + 1} of {self.num_pages} of the PDF is damaged ({type(error).__name__}: {error})."
            ) from error
        return text.replace("\r\n", "\n").replace("\r", "\n")
