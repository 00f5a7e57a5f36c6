"""The text of Excel workbooks: sheets by their names, a row a line, values as they were last computed."""

import io
import math
import re
import warnings
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from configs.errors import UndecodableError
from configs.settings import InputSettings
from pipeline.formats import lines
from pipeline.formats.notes import Notes
from pipeline.formats.package import Package, core_title

if TYPE_CHECKING:
    from openpyxl import Workbook

BINARY_WORKBOOK = "xl/workbook.bin"
SHEET_PART = re.compile(r"xl/worksheets/[^/]+\.xml", re.IGNORECASE)
# A formula whose cell ends, or has an empty value, right behind it.
NEVER_COMPUTED = re.compile(rb"(?:</f>|<f(?: [^<>]*)?/>)\s{0,9}(?:<v\s?/>|<v></v>|</c>)")
PERCENT = re.compile(r"0(?:\.(0+))?%")


def made_by(settings: InputSettings) -> str:
    """What the text depends on: another version may extract another text."""
    return f"xlsx openpyxl {version('openpyxl')}"


def parse(data: bytes, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """Title and rows. Raises UndecodableError, CorruptError, EncryptedError, TooLargeError, the second also while the
    rows are read."""
    package = Package(data, "Excel workbook", settings)
    if BINARY_WORKBOOK in package:
        raise UndecodableError("The document is not text but an Excel workbook in binary form; save it as .xlsx.")
    sheets = [name for name in package.names if SHEET_PART.fullmatch(name)]
    if missing := sum(len(NEVER_COMPUTED.findall(package.read(name))) for name in sheets):
        notes.warnings.append(
            f"Formulas without a stored value were not read: {missing}; open and save the workbook in Excel."
        )
    return core_title(package), _lines(package, data, notes)


def _lines(package: Package, data: bytes, notes: Notes) -> Iterator[str]:
    try:
        with warnings.catch_warnings(action="ignore"):
            workbook = _opened(data)
            yield from _sheets(workbook, notes)
    except MemoryError:
        raise
    except Exception as error:  # a damaged workbook makes openpyxl raise nearly anything
        raise package.damaged(error) from error


def _opened(data: bytes) -> "Workbook":
    from openpyxl import load_workbook

    return load_workbook(io.BytesIO(data), read_only=True, data_only=True)


def _sheets(workbook: "Workbook", notes: Notes) -> Iterator[str]:
    hidden = [sheet for sheet in workbook.worksheets if sheet.sheet_state != "visible"]
    for sheet in workbook.worksheets:
        if sheet not in hidden:
            yield lines.heading(2, sheet.title)
            # What a sheet says of its size is often wrong.
            sheet.reset_dimensions()
            yield from (lines.row(map(_text, row)) for row in _rows(sheet))
    if hidden:
        notes.warnings.append(f"Hidden sheets were not read: {len(hidden)}.")


def _rows(sheet: Any) -> Iterable[Iterable[Any]]:
    return sheet.rows


def _text(cell: Any) -> str:
    """A value as a reader sees it, as far as that is not a matter of taste."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        return value.isoformat("seconds")
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, int | float):
        return _number(value, cell.number_format or "")
    return str(value)


def _number(value: float, number_format: str) -> str:
    if percent := PERCENT.fullmatch(number_format):
        return f"{100 * value:.{len(percent[1] or '')}f}%"
    # Excel keeps 15 digits; a float has noise behind them.
    return f"{value:.15g}" if isinstance(value, float) and math.isfinite(value) and abs(value) < 1e15 else str(value)
