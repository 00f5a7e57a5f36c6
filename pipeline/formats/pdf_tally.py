"""What could not be read of a PDF, page by page, and when that is too much."""

from configs.errors import CorruptError, EmptyDocumentError, UndecodableError
from configs.settings import InputSettings
from pipeline.formats import ocr
from pipeline.formats.notes import Notes
from pipeline.formats.text_gate import Judged

MOST_LOST = 0.2
"""Of the pages: if more are damaged or rubbish, the document is refused."""


class Tally:
    """Counts as pages are read; `end` says what it comes to."""

    def __init__(self, num_pages: int, settings: InputSettings, notes: Notes) -> None:
        self._num_pages, self._settings, self._notes = num_pages, settings, notes
        self._left_out = self._replaced = 0
        self._read = self._recognized = self._pictures = self._rubbish = self._damaged = 0

    def add(self, judged: Judged, by_ocr: bool = False) -> None:
        """A page with what was made of it. Raises UndecodableError."""
        if judged.rubbish:
            self._rubbish += 1
            if self._rubbish > MOST_LOST * self._num_pages:
                raise UndecodableError(
                    f"The text of {self._of(self._rubbish)} of the PDF cannot be read: its fonts give "
                    f"{judged.rubbish}. {self._remedy()}"
                )
            return
        self._left_out += judged.num_left_out
        self._replaced += judged.num_replaced
        self._recognized += by_ocr
        self._read += bool(judged.text.strip())

    def add_picture(self) -> None:
        """A page with a picture and no text, that nobody reads."""
        self._pictures += 1

    def add_damaged(self, error: CorruptError) -> None:
        """A page that cannot be read. Raises the error again if there are too many."""
        self._damaged += 1
        if self._damaged > MOST_LOST * self._num_pages:
            raise error

    def end(self) -> None:
        """Notes what is missing. Raises EmptyDocumentError if nothing could be read."""
        if not self._read:
            raise EmptyDocumentError(
                f"The PDF has no text layer on any of its {self._num_pages} page(s); a scanned PDF needs OCR first. "
                f"{self._remedy()}"
            )
        lost = self._remedy()
        self._warn(self._recognized, "were read by OCR.")
        self._warn(self._pictures, f"are pictures without text that could not be read. {lost}")
        self._warn(self._rubbish, f"have text that cannot be read, which was left out. {lost}")
        self._warn(self._damaged, "are damaged and were left out.")
        if self._left_out:
            self._notes.warnings.append(f"{self._left_out} characters without a meaning were left out.")
        if self._replaced:
            self._notes.warnings.append(f"{self._replaced} characters are unknown (U+FFFD).")

    def _warn(self, count: int, what: str) -> None:
        if count:
            self._notes.warnings.append(f"{self._of(count)} {what}".strip())

    def _of(self, count: int) -> str:
        return f"{count} of {self._num_pages} page(s)"

    def _remedy(self) -> str:
        if ocr.is_on(self._settings):
            return "OCR found no text either."
        return f"For OCR, {ocr.REMEDY}."
