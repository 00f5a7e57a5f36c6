"""Jupyter notebooks: their texts, code in fences, and what it printed."""

import json
import re
from collections.abc import Iterator
from typing import Any

from configs.errors import CorruptError, DocumentError
from configs.settings import InputSettings
from pipeline.formats import encoding, registry
from pipeline.formats.notes import Notes

MADE_BY = "notebook 1"
TERMINAL_CODE = re.compile(r"\x1b\[[0-9;?]{0,30}[A-Za-z]|[\x00-\x08\x0b\x0c\x0e-\x1f]")
FENCE = re.compile(r"^ {0,3}(`{3,})", re.MULTILINE)
# What a picture is called where only its text remains.
OF_PICTURE = re.compile(r"<(?:Figure size|IPython\.core\.display\.|matplotlib\.)[^<>]*>?|\[?<matplotlib[^\n]*")
PICTURE = re.compile(r"image/|application/(?:vnd\.plotly|pdf)")


def made_by(settings: InputSettings) -> str:
    """What the text depends on."""
    return MADE_BY


def parse(data: bytes, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """No title, and the text cell by cell. Raises CorruptError, UndecodableError."""
    try:
        notebook = json.loads("".join(encoding.decode([data], notes=notes)))
        cells = _cells(notebook)
        language = _language(notebook)
    except (ValueError, RecursionError, AttributeError, TypeError) as error:
        raise CorruptError(f"The notebook is damaged: it is no valid JSON of a notebook ({error}).") from error
    return None, _Cells(language, notes, settings).texts(cells)


def _cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    # Before version 4 cells were in worksheets.
    cells = notebook.get("cells")
    if cells is None:
        cells = [cell for sheet in notebook.get("worksheets", []) for cell in sheet.get("cells", [])]
    return [cell for cell in cells if isinstance(cell, dict)]


def _language(notebook: dict[str, Any]) -> str:
    metadata = notebook.get("metadata") or {}
    language = (metadata.get("language_info") or {}).get("name") or (metadata.get("kernelspec") or {}).get("language")
    return language if isinstance(language, str) and language.isprintable() else ""


class _Cells:
    def __init__(self, language: str, notes: Notes, settings: InputSettings) -> None:
        self._language, self._notes, self._settings = language, notes, settings
        self._num_pictures = 0

    def texts(self, cells: list[dict[str, Any]]) -> Iterator[str]:
        for cell in cells:
            kind, source = cell.get("cell_type"), _joined(cell.get("source", cell.get("input", "")))
            if kind == "code":
                yield _fenced(source, self._language)
                for output in cell.get("outputs") or []:
                    yield _fenced(self._output(output), "") if isinstance(output, dict) else ""
            elif kind == "heading":
                yield f"\n{'#' * int(cell.get('level') or 1)} {source}\n"
            else:
                yield f"\n{source.strip()}\n" if source.strip() else ""
        if self._num_pictures:
            self._notes.warnings.append(f"Pictures were not read: {self._num_pictures}.")

    def _output(self, output: dict[str, Any]) -> str:
        kind = output.get("output_type")
        if kind in ("error", "pyerr"):
            return f"{output.get('ename', '')}: {output.get('evalue', '')}"
        if kind == "stream":
            return _joined(output.get("text", ""))
        # Before version 4 the data were beside the type, with names of their own.
        data = output.get("data", output)
        if not isinstance(data, dict):
            return ""
        text = _joined(data.get("text/plain", data.get("text", "")))
        if any(PICTURE.match(name) for name in data) or {"png", "jpeg", "svg"} & data.keys():
            self._num_pictures += 1
            text = OF_PICTURE.sub("", text)
        markup = _joined(data.get("text/html", data.get("html", "")))
        return text if text.strip() or not markup else self._visible(markup)

    def _visible(self, markup: str) -> str:
        try:
            data = b"\xef\xbb\xbf" + markup.encode("utf-8", "replace")
            return "".join(registry.parse("html", data, Notes(), self._settings)[1])
        except DocumentError:
            return ""


def _joined(text: Any) -> str:
    """A text, which notebooks hold as one or as a list of lines, without what only a terminal understands."""
    whole = "".join(line for line in text if isinstance(line, str)) if isinstance(text, list) else text
    if not isinstance(whole, str):
        return ""
    plain = TERMINAL_CODE.sub("", whole.replace("\r\n", "\n"))
    # A bar of progress writes over its own line.
    return encoding.without_surrogates("\n".join(line.rpartition("\r")[2] for line in plain.split("\n")))


def _fenced(text: str, language: str) -> str:
    text = text.strip("\n")
    if not text.strip():
        return ""
    longest = max((len(found) for found in FENCE.findall(text)), default=2)
    fence = "`" * max(3, longest + 1)
    return f"\n{fence}{language}\n{text}\n{fence}\n"
