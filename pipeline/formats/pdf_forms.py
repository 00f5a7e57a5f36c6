"""Values of a form's fields and notes on a page: they are not part of what the page draws."""

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.formats.encoding import without_surrogates
from pipeline.formats.pdf_segments import Segment, turned_box

UNSEEN = 1 | 2 | 32
"""Flags of annotations: invisible, hidden, not shown."""
PASSWORD, SEVERAL_LINES = 1 << 13, 1 << 12
"""Flags of text fields."""
LINE_HEIGHT = 12.0
LABEL_DISTANCE = 250.0
MOST_ANNOTATIONS = 20_000

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Field:
    """A field of a form, filled in or to be ticked."""

    value: str
    name: str
    """As the form's author described it."""
    box: Box


def annotations(page: Any, formenv: Any, angle: int, segments: list[Segment]) -> tuple[list[Segment], list[str]]:
    """Fields and free text as pieces with their places, and notes. Hold the lock. `segments` are what the page draws,
    and `angle` its direction."""
    placed: list[Segment] = []
    notes: list[str] = []
    for annotation, kind in _annotations(page):
        _add(annotation, kind, formenv, angle, segments, placed, notes)
    return placed, notes


def _add(
    annotation: Any,
    kind: int,
    formenv: Any,
    angle: int,
    segments: list[Segment],
    placed: list[Segment],
    notes: list[str],
) -> None:
    import pypdfium2.raw as pdfium

    if kind == pdfium.FPDF_ANNOT_WIDGET:
        if field := _field(annotation, formenv, angle):
            placed.append(_labeled(field, segments))
    elif kind not in (pdfium.FPDF_ANNOT_POPUP, pdfium.FPDF_ANNOT_LINK):
        text = " ".join(_value(annotation, b"Contents").split())
        if not text:
            return
        if kind == pdfium.FPDF_ANNOT_FREETEXT:
            placed.append(_segment(text, _box(annotation, angle), several_lines=True))
        elif not _is_drawn(text, segments):
            notes.append(f"Note: {text}")


def _annotations(page: Any) -> Iterator[tuple[Any, int]]:
    """Each that can be seen, and its kind."""
    import pypdfium2.raw as pdfium

    for index in range(min(pdfium.FPDFPage_GetAnnotCount(page), MOST_ANNOTATIONS)):
        annotation = pdfium.FPDFPage_GetAnnot(page, index)
        if not annotation:
            continue
        try:
            if not pdfium.FPDFAnnot_GetFlags(annotation) & UNSEEN:
                yield annotation, pdfium.FPDFAnnot_GetSubtype(annotation)
        finally:
            pdfium.FPDFPage_CloseAnnot(annotation)


def _field(annotation: Any, formenv: Any, angle: int) -> Field | None:
    import pypdfium2.raw as pdfium

    box = _box(annotation, angle)
    if formenv is None:  # a field of no form
        value = " ".join(_value(annotation, b"V").split())
        return Field(value, _value(annotation, b"T"), box) if value else None
    value = _field_value(formenv, annotation)
    if not value:
        return None
    name = _text(lambda *place: pdfium.FPDFAnnot_GetFormFieldAlternateName(formenv, annotation, *place))
    name = name or _speaking(_text(lambda *place: pdfium.FPDFAnnot_GetFormFieldName(formenv, annotation, *place)))
    flags = pdfium.FPDFAnnot_GetFormFieldFlags(formenv, annotation)
    if pdfium.FPDFAnnot_GetFormFieldType(formenv, annotation) == pdfium.FPDF_FORMFIELD_TEXTFIELD:
        if flags & PASSWORD:
            return None
        if flags & SEVERAL_LINES:
            box = _first_line(box)
    return Field(value, name, box)


def _field_value(formenv: Any, annotation: Any) -> str:
    """What is written, chosen, or ticked: `[x]` or `[ ]`."""
    import pypdfium2.raw as pdfium

    kind = pdfium.FPDFAnnot_GetFormFieldType(formenv, annotation)
    if kind in (pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON):
        return "[x]" if pdfium.FPDFAnnot_IsChecked(formenv, annotation) else "[ ]"
    if kind in (pdfium.FPDF_FORMFIELD_PUSHBUTTON, pdfium.FPDF_FORMFIELD_SIGNATURE):
        return ""
    value = _text(lambda *place: pdfium.FPDFAnnot_GetFormFieldValue(formenv, annotation, *place))
    if kind in (pdfium.FPDF_FORMFIELD_COMBOBOX, pdfium.FPDF_FORMFIELD_LISTBOX):
        value = ", ".join(_chosen(formenv, annotation)) or value
    return " ".join(value.split())


def _chosen(formenv: Any, annotation: Any) -> Iterator[str]:
    import pypdfium2.raw as pdfium

    for index in range(min(pdfium.FPDFAnnot_GetOptionCount(formenv, annotation), MOST_ANNOTATIONS)):
        if pdfium.FPDFAnnot_IsOptionSelected(formenv, annotation, index):
            yield _text(lambda *place, index=index: pdfium.FPDFAnnot_GetOptionLabel(formenv, annotation, index, *place))


def _labeled(field: Field, segments: list[Segment]) -> Segment:
    """With its name, unless the page has a label for it."""
    segment = _segment(field.value, field.box)
    if field.name and not any(_is_label(one, segment) for one in segments):
        segment.text = f"{field.name}: {field.value}"
    segment.is_field = True
    return segment


def _is_label(one: Segment, field: Segment) -> bool:
    """Whether a piece stands before a field or its box, or closely above it."""
    if abs(one.middle - field.middle) < 0.7 * max(one.size, field.size):
        before, behind = field.x0 - one.x1, one.x0 - field.x1
        return -field.size < before < LABEL_DISTANCE or (
            field.text.startswith("[") and -5 < behind < LABEL_DISTANCE / 4
        )
    return one.x0 < field.x1 and one.x1 > field.x0 and -0.5 * one.size < one.y0 - field.y1 < 1.2 * one.size


def _segment(text: str, box: Box, several_lines: bool = False) -> Segment:
    x0, y0, x1, y1 = _first_line(box) if several_lines else box
    # Not wider than what is written in it, as a field may be.
    width = 0.6 * min(y1 - y0, LINE_HEIGHT) * len(text)
    return Segment(text, x0, y0, min(x1, x0 + width), y1)


def _first_line(box: Box) -> Box:
    x0, y0, x1, y1 = box
    return x0, max(y0, y1 - LINE_HEIGHT), x1, y1


def _is_drawn(text: str, segments: list[Segment]) -> bool:
    """Whether a note only repeats what it marks."""
    return "".join(text.split()) in "".join("".join(one.text.split()) for one in segments)


def _speaking(name: str) -> str:
    """A field's name, unless it is one for programs: `topmostSubform[0].Page1[0].f1_01[0]`."""
    name = name.strip()
    return name if "[" not in name and any(map(str.isalpha, name)) else ""


def _box(annotation: Any, angle: int) -> Box:
    import pypdfium2.raw as pdfium

    place = pdfium.FS_RECTF()
    pdfium.FPDFAnnot_GetRect(annotation, place)
    x0, x1 = sorted((place.left, place.right))
    y0, y1 = sorted((place.bottom, place.top))
    x0, y0, x1, y1 = turned_box((x0, y0, x1, y1), angle)
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _value(annotation: Any, key: bytes) -> str:
    import pypdfium2.raw as pdfium

    return _text(lambda *place: pdfium.FPDFAnnot_GetStringValue(annotation, key, *place))


def _text(call: Callable[[Any, int], int]) -> str:
    """Of a function that fills a buffer with UTF-16 and returns its size in bytes."""
    import pypdfium2.raw as pdfium

    size = call(None, 0)
    if size <= 2:
        return ""
    buffer = ctypes.create_string_buffer(size + 2)
    call(ctypes.cast(buffer, ctypes.POINTER(pdfium.FPDF_WCHAR)), size)
    text = buffer.raw[:size].decode("utf-16-le", "surrogatepass").partition("\0")[0]
    return without_surrogates(text).replace("\r\n", "\n").replace("\r", "\n")
