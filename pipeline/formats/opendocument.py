"""The text of OpenDocument files: texts, spreadsheets and presentations."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from lxml import etree

from configs.errors import CorruptError, EncryptedError
from configs.settings import InputSettings
from pipeline.formats import lines, shifted, titles
from pipeline.formats.notes import Notes
from pipeline.formats.package import Package
from pipeline.formats.shifted import Run, Shift
from pipeline.formats.xml_tree import attribute, local_name

MADE_BY = "opendocument 1"
MOST_REPEATED = 1000
"""Rows and cells that a file gives once with a number: the empty rest of a sheet has a million."""
MOST_SPACES = 100
# Deleted text is kept apart in tracked-changes; forms and scripts have no text of the page.
UNREAD = {
    *("tracked-changes", "sequence-decls", "forms", "scripts", "annotation-end", "bookmark", "settings"),
    *("automatic-styles", "font-face-decls", "ruby-text", "desc", "title", "meta", "styles", "master-styles"),
    *("date-time-decl", "footer-decl", "header-decl", "dde-connection-decls", "variable-decls", "user-field-decls"),
}
SPACES = {"tab", "line-break"}


def made_by(settings: InputSettings) -> str:
    """What the text depends on."""
    return MADE_BY


def parse(data: bytes, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """Title and lines of text. Raises CorruptError, EncryptedError, TooLargeError."""
    package = Package(data, "OpenDocument file", settings)
    if "META-INF/manifest.xml" in package and b"encryption-data" in package.read("META-INF/manifest.xml"):
        raise EncryptedError("The OpenDocument file is protected by a password.")
    return _title(package), _Content(package.root("content.xml"), notes).lines()


def _title(package: Package) -> str | None:
    if "meta.xml" not in package:
        return None
    try:
        return titles.checked(package.root("meta.xml").findtext(".//{*}title"))
    except CorruptError:
        return None


@dataclass
class _Content:
    root: etree._Element
    notes: Notes
    noted: list[tuple[str, etree._Element]] = field(default_factory=list)
    frames: list[etree._Element] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)
    shifts: dict[str, Shift] = field(default_factory=dict)
    num_comments: int = 0
    num_slides: int = 0

    def __post_init__(self) -> None:
        for style in self.root.iterfind("{*}automatic-styles/{*}style"):
            properties = style.find("{*}text-properties")
            name = attribute(style, "name") or ""
            if properties is not None and attribute(properties, "display") == "none":
                self.hidden.add(name)
            position = "" if properties is None else attribute(properties, "text-position") or ""
            if shift := _shift(position):
                self.shifts[name] = shift

    def lines(self) -> Iterator[str]:
        yield from self._blocks(self.root)
        for mark, body in self.noted:
            yield lines.paragraph(f"{mark}: " + " ".join(self._blocks(body)))
        if self.num_comments:
            self.notes.warnings.append(f"Comments were not read: {self.num_comments}.")

    def _blocks(self, parent: etree._Element) -> Iterator[str]:
        for element in parent:
            name = local_name(element)
            if attribute(element, "style-name") in self.hidden:
                continue
            if name in ("p", "h"):
                yield from self._paragraph(element, name)
            elif name == "list-item":
                yield from self._item(element)
            elif name == "table-row":
                yield from self._row(element)
            elif name == "table" and parent.tag.endswith("}spreadsheet"):
                yield lines.heading(2, attribute(element, "name") or "")
                yield from self._blocks(element)
            elif name == "page":
                yield from self._page(element)
            elif name == "notes":
                yield lines.paragraph("Notes: " + text if (text := " ".join(self._blocks(element)).strip()) else "")
            elif name == "annotation":
                self.num_comments += 1
            elif name and name not in UNREAD:
                yield from self._blocks(element)

    def _paragraph(self, element: etree._Element, name: str) -> Iterator[str]:
        text = shifted.joined(self._runs(element))
        frames, self.frames = self.frames, []
        if name == "h":
            level = attribute(element, "outline-level") or "1"
            yield lines.heading(int(level) if level.isdecimal() else 1, text)
        else:
            yield lines.paragraph(text)
        for frame in frames:
            yield from self._blocks(frame)

    def _item(self, element: etree._Element) -> Iterator[str]:
        """With a mark before its first line."""
        texts = self._blocks(element)
        first = next((text for text in texts if text), "")
        if first:
            yield first if first.startswith(("- ", "\n")) else f"- {first}"
        yield from texts

    def _runs(self, element: etree._Element, shift: Shift = "") -> Iterator[Run]:
        yield shift, element.text or ""
        for child in element:
            name = local_name(child)
            if name == "s":
                yield shift, " " * min(_number(child, "c"), MOST_SPACES)
            elif name in SPACES:
                yield shift, " "
            elif name == "note":
                yield "", self._mark(child)
            elif name == "annotation":
                self.num_comments += 1
            elif name in ("frame", "custom-shape", "g"):
                self.frames.append(child)
            elif name and name not in UNREAD and attribute(child, "style-name") not in self.hidden:
                yield from self._runs(child, self.shifts.get(attribute(child, "style-name") or "", shift))
            yield shift, child.tail or ""

    def _mark(self, note: etree._Element) -> str:
        mark = f"[^{len(self.noted) + 1}]"
        body = note.find("{*}note-body")
        if body is not None:
            self.noted.append((mark, body))
        return mark

    def _row(self, row: etree._Element) -> Iterator[str]:
        cells: list[str] = []
        gap = 0
        for cell in row:
            if local_name(cell) in ("table-cell", "covered-table-cell"):
                text = " ".join(self._blocks(cell)).lstrip("# \n")
                times = min(_number(cell, "number-columns-repeated"), MOST_REPEATED)
                if text:
                    cells += [""] * gap + [text] * times
                gap = 0 if text else gap + times
        if line := lines.row(cells):
            for _ in range(min(_number(row, "number-rows-repeated"), MOST_REPEATED)):
                yield line

    def _page(self, page: etree._Element) -> Iterator[str]:
        self.num_slides += 1
        title = next((each for each in page.iter("{*}frame") if attribute(each, "class") == "title"), None)
        text = "" if title is None else " ".join(self._blocks(title))
        yield lines.heading(2, text.replace("#", "") or f"Slide {self.num_slides}")
        for element in page:
            if element is not title:
                yield from self._blocks([element])


def _shift(position: str) -> Shift:
    """Of a style: `super 58%`, or the height by itself."""
    height = position.split(" ")[0]
    if height in ("sub", "super"):
        return "raised" if height == "super" else "lowered"
    if height.strip("0%") == "" or not height.strip("-%").isdecimal():
        return ""
    return "lowered" if height.startswith("-") else "raised"


def _number(element: etree._Element, name: str) -> int:
    text = attribute(element, name) or "1"
    return int(text) if text.isdecimal() and len(text) < 10 else 1
