"""The text of Word documents: headings, paragraphs, lists with their numbers, tables, text boxes, notes, formulas."""

from collections.abc import Iterator

from lxml import etree

from configs.settings import InputSettings
from pipeline.formats import lines, office_math, shifted, word_numbering
from pipeline.formats.notes import Notes
from pipeline.formats.package import Package, core_title
from pipeline.formats.shifted import Run, Shift
from pipeline.formats.word_styles import WordStyles
from pipeline.formats.xml_tree import attribute, local_name

MADE_BY = "docx 1"
# What is not part of the text as it stands: deleted, moved away, codes of fields, settings.
UNREAD = {
    *("del", "moveFrom", "delText", "instrText", "delInstrText", "rPr", "pPr", "sectPr", "tblPr", "tblGrid", "trPr"),
    *("tcPr", "sdtPr", "sdtEndPr", "Fallback", "rubyPr", "rt", "annotationRef"),
}
CHARACTERS = {"tab": " ", "br": " ", "cr": " ", "noBreakHyphen": "-", "ptab": " "}
SHIFTS: dict[str, Shift] = {"superscript": "raised", "subscript": "lowered"}
PRIVATE_USE = range(0xE000, 0xF900)
NOTE_KINDS = {"footnoteReference": "footnotes", "endnoteReference": "endnotes"}
SEPARATORS = {"separator", "continuationSeparator", "continuationNotice"}


def made_by(settings: InputSettings) -> str:
    """What the text depends on."""
    return MADE_BY


def parse(data: bytes, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """Title and lines of text. Raises CorruptError, EncryptedError, TooLargeError."""
    package = Package(data, "Word document", settings)
    main = package.related_of_kind("", "officeDocument") or "word/document.xml"
    document = _Document(package, main)
    if comments := package.related_of_kind(main, "comments"):
        _warn_of_comments(package.root(comments), notes)
    return core_title(package), document.lines()


class _Document:
    def __init__(self, package: Package, main: str) -> None:
        self._package, self._main = package, main
        self._body = package.root(main)
        styles = package.related_of_kind(main, "styles")
        self._styles = WordStyles(package.root(styles) if styles else None)
        numbering = package.related_of_kind(main, "numbering")
        self._numbering = word_numbering.Numbering(package.root(numbering) if numbering else None)
        self._noted: list[tuple[str, str]] = []
        self._boxes: list[etree._Element] = []
        self._begun = ""
        """The text of a paragraph that goes on in the next."""

    def lines(self) -> Iterator[str]:
        for body in self._body:
            yield from self._blocks(body)
        yield from self._note_lines()

    def _blocks(self, parent: etree._Element) -> Iterator[str]:
        """Of the paragraphs and tables in an element, and of those in wrappers around them."""
        for element in parent:
            name = local_name(element)
            if name == "p":
                yield from self._paragraph(element)
            elif name == "tbl":
                yield from self._table(element)
            elif name and name not in UNREAD:
                yield from self._blocks(element)

    def _paragraph(self, paragraph: etree._Element) -> Iterator[str]:
        text = self._begun + self._text(paragraph)
        boxes, self._boxes = self._boxes, []
        self._begun = text if _goes_on(paragraph) else ""
        if text.strip() and not self._begun:
            level, numbered = self._styles.level(paragraph), self._styles.number(paragraph)
            text = self._numbering.label(*numbered) + text if numbered else text
            yield lines.heading(level, text) if level else lines.paragraph(text)
        for box in boxes:
            yield from self._blocks(box)

    def _table(self, table: etree._Element) -> Iterator[str]:
        for row in _within(table, "tr"):
            properties = row.find("{*}trPr")
            if properties is None or properties.find("{*}del") is None:
                yield lines.row(" ".join(self._blocks(cell)).lstrip("# \n") for cell in _within(row, "tc"))

    def _text(self, element: etree._Element) -> str:
        """The text of a paragraph or a part of it; text boxes in it are put aside."""
        return shifted.joined(self._runs(element))

    def _runs(self, element: etree._Element, shift: Shift = "") -> Iterator[Run]:
        for child in element:
            name = local_name(child)
            if name == "t":
                yield shift, child.text or ""
            elif name in CHARACTERS:
                yield shift, CHARACTERS[name]
            elif name == "oMath":
                yield "", office_math.text_of(child)
            elif name in NOTE_KINDS:
                yield "", self._mark(NOTE_KINDS[name], attribute(child, "id") or "")
            elif name == "sym":
                yield shift, _symbol(child)
            elif name == "txbxContent":
                self._boxes.append(child)
            elif name == "AlternateContent":
                yield from self._runs(child if child.find("{*}Choice") is not None else child.find("{*}Fallback"))
            elif name and name not in UNREAD and not (name == "r" and self._styles.is_hidden(child)):
                yield from self._runs(child, _shift(child) if name == "r" else shift)

    def _mark(self, kind: str, number: str) -> str:
        self._noted.append((kind, number))
        return f"[^{len(self._noted)}]"

    def _note_lines(self) -> Iterator[str]:
        bodies = {kind: self._note_bodies(kind) for kind in {kind for kind, _ in self._noted}}
        # Notes may have notes, which are added while this goes on.
        for number, (kind, name) in enumerate(self._noted, 1):
            if (body := bodies.get(kind, {}).get(name)) is not None:
                yield lines.paragraph(f"[^{number}]: " + " ".join(self._blocks(body)))

    def _note_bodies(self, kind: str) -> dict[str, etree._Element]:
        part = self._package.related_of_kind(self._main, kind)
        if part is None:
            return {}
        return {
            attribute(note, "id") or "": note
            for note in self._package.root(part)
            if attribute(note, "type") not in SEPARATORS
        }


def _goes_on(paragraph: etree._Element) -> bool:
    """Whether a paragraph's end was deleted, or it is the large first letter of the next."""
    properties = paragraph.find("{*}pPr")
    if properties is None:
        return False
    frame = properties.find("{*}framePr")
    is_letter = frame is not None and attribute(frame, "dropCap") in ("drop", "margin")
    return is_letter or properties.find("{*}rPr/{*}del") is not None


def _shift(run: etree._Element) -> Shift:
    found = run.find("{*}rPr/{*}vertAlign")
    return "" if found is None else SHIFTS.get(attribute(found, "val") or "", "")


def _within(parent: etree._Element, name: str) -> Iterator[etree._Element]:
    """Rows of a table or cells of a row, also within controls and insertions."""
    for child in parent:
        found = local_name(child)
        if found == name:
            yield child
        elif found in ("sdt", "sdtContent", "ins", "customXml", "smartTag"):
            yield from _within(child, name)


def _symbol(element: etree._Element) -> str:
    """A character of a font of symbols, unless it has a meaning in that font alone."""
    try:
        code = int(attribute(element, "char") or "", 16)
    except ValueError:
        return ""
    return "" if code in PRIVATE_USE or not 32 <= code < 0x110000 else chr(code)


def _warn_of_comments(root: etree._Element, notes: Notes) -> None:
    if num := sum(local_name(each) == "comment" for each in root):
        notes.warnings.append(f"Comments were not read: {num}.")
