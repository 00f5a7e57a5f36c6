"""A PDF that is open in PDFium, page by page.

PDFium is not safe for threads, whatever documents they use: everything that calls it holds `LOCK`.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import CorruptError, EncryptedError

LOCK = RLock()
DOTS_PER_POINT = 300 / 72
MOST_PIXELS = 30_000_000
PICTURE_SHARE = 0.5
"""Of a page: a picture that covers more is a scan."""
MOST_BOOKMARKS = 20_000
MOST_DEPTH = 6


class PdfFile:
    """Opens a document. Raises EncryptedError if a password is needed, CorruptError if PDFium cannot read it."""

    def __init__(self, data: bytes) -> None:
        import pypdfium2

        self._document = None
        with LOCK:
            try:
                self._document = pypdfium2.PdfDocument(data)
                self.num_pages = len(self._document)
            except pypdfium2.PdfiumError as error:
                self.close()
                raise _failure(error) from error
            self.formenv = _forms(self._document)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Give its memory back; nothing can be read any more."""
        with LOCK:
            if self._document is not None:
                self._document.close()
                self._document = None

    def title(self) -> str:
        """In its metadata."""
        with LOCK:
            return str(self._open.get_metadata_value("Title"))

    def bookmarks(self) -> dict[int, list[tuple[int, str]]]:
        """Level (from 0) and title of the bookmarks to each page."""
        found: dict[int, list[tuple[int, str]]] = {}
        # It warns of bookmarks in circles.
        logging.getLogger("pypdfium2").setLevel(logging.CRITICAL)
        with LOCK:
            for bookmark, _ in zip(self._open.get_toc(max_depth=MOST_DEPTH), range(MOST_BOOKMARKS), strict=False):
                destination = bookmark.get_dest()
                page = destination.get_index() if destination else None
                if page is not None:
                    found.setdefault(page, []).append((bookmark.level, bookmark.get_title()))
        return found

    @contextmanager
    def page(self, number: int) -> Iterator[Any]:
        """A `PdfPage`, held with the lock. Raises CorruptError."""
        import pypdfium2

        with LOCK:
            try:
                page = self._open[number]
            except pypdfium2.PdfiumError as error:
                raise CorruptError(f"Page {number + 1} of {self.num_pages} of the PDF is damaged ({error}).") from error
            try:
                yield page
            finally:
                page.close()

    def picture(self, number: int) -> NDArray[np.uint8]:
        """A page in gray. Raises CorruptError."""
        with self.page(number) as page:
            width, height = page.get_size()
            scale = min(DOTS_PER_POINT, (MOST_PIXELS / max(width * height, 1)) ** 0.5)
            bitmap = page.render(scale=scale, grayscale=True)
            try:
                return np.ascontiguousarray(bitmap.to_numpy()).reshape(bitmap.height, bitmap.width).copy()
            finally:
                bitmap.close()

    @property
    def _open(self) -> Any:
        assert self._document is not None
        return self._document


def is_scan(page: Any) -> bool:
    """Whether a picture covers most of a page. Hold the lock."""
    import pypdfium2.raw as pdfium

    left, bottom, right, top = page.get_bbox()
    area = (right - left) * (top - bottom)
    covered = 0.0
    for picture, _ in zip(page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE], max_depth=4), range(500), strict=False):
        x0, y0, x1, y1 = picture.get_bounds()
        covered += max(0.0, min(x1, right) - max(x0, left)) * max(0.0, min(y1, top) - max(y0, bottom))
    return covered > PICTURE_SHARE * area


def is_blank(page: Any) -> bool:
    """Whether nothing is drawn on a page. Hold the lock."""
    import pypdfium2.raw as pdfium

    return bool(pdfium.FPDFPage_CountObjects(page) == 0)


def _forms(document: Any) -> Any:
    import pypdfium2

    try:
        document.init_forms()
    except pypdfium2.PdfiumError:
        return None
    return document.formenv


def _failure(error: Any) -> CorruptError | EncryptedError:
    import pypdfium2.raw as pdfium

    if getattr(error, "err_code", None) == pdfium.FPDF_ERR_PASSWORD:
        return EncryptedError("The PDF is protected by a password.")
    return CorruptError(f"The PDF is damaged and cannot be opened ({error}).")
