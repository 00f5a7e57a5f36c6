"""The text of PowerPoint presentations: slides in order with their titles as headings, tables, and speaker notes."""

from collections.abc import Iterator

from lxml import etree

from configs.settings import InputSettings
from pipeline.formats import lines, office_math, shifted
from pipeline.formats.notes import Notes
from pipeline.formats.package import Package, core_title
from pipeline.formats.shifted import Run, Shift
from pipeline.formats.xml_tree import attribute, local_name

MADE_BY = "pptx 1"
# A formula has runs with texts in a name space of its own; it is read as a whole.
DRAWING = ("{http://schemas.openxmlformats.org/drawingml", "{http://purl.oclc.org/ooxml/drawingml")
TITLES = {"title", "ctrTitle"}
# What the layout puts on every slide.
FURNITURE = {"dt", "ftr", "sldNum", "hdr", "sldImg"}


def made_by(settings: InputSettings) -> str:
    """What the text depends on."""
    return MADE_BY


def parse(data: bytes, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """Title and lines of text. Raises CorruptError, EncryptedError, TooLargeError, the first also while the text is
    read."""
    package = Package(data, "PowerPoint presentation", settings)
    main = package.related_of_kind("", "officeDocument") or "ppt/presentation.xml"
    related = package.related(main)
    slides = [related[name][1] for name in _relation_ids(package.root(main)) if name in related]
    return core_title(package), _lines(package, slides, notes)


def _relation_ids(root: etree._Element) -> list[str]:
    """Of the slides, in order. They have another id beside it, without a name space."""
    return [value for each in root.iter("{*}sldId") for key, value in each.attrib.items() if key.endswith("}id")]


def _lines(package: Package, slides: list[str], notes: Notes) -> Iterator[str]:
    num_hidden = 0
    for number, name in enumerate(slides, 1):
        root = package.root(name)
        if root.get("show") in ("0", "false"):
            num_hidden += 1
            continue
        yield lines.heading(2, _title(root) or f"Slide {number}")
        yield from _shapes(package, name, root)
        if (said := package.related_of_kind(name, "notesSlide")) is not None:
            text = " ".join("".join(_shapes(package, said, package.root(said))).split())
            yield lines.paragraph(f"Notes: {text}" if text else "")
    if num_hidden:
        notes.warnings.append(f"Hidden slides were not read: {num_hidden}.")


def _title(root: etree._Element) -> str:
    shape = next((each for each in root.iter("{*}sp") if _placeholder(each) in TITLES), None)
    return "" if shape is None else " ".join(map(_text, shape.iter("{*}p")))


def _shapes(package: Package, name: str, parent: etree._Element) -> Iterator[str]:
    """Lines of all that is in an element, apart from its title."""
    for element in parent:
        kind = local_name(element)
        if kind == "sp":
            if _placeholder(element) not in TITLES | FURNITURE:
                yield from (lines.paragraph(_text(each)) for each in element.iter("{*}p"))
        elif kind == "tr":
            yield lines.row(" ".join(map(_text, cell.iter("{*}p"))) for cell in element if local_name(cell) == "tc")
        elif kind == "relIds":
            yield from _diagram(package, name, attribute(element, "dm") or "")
        elif kind and kind not in ("Fallback", "nvPr", "cNvPr"):
            yield from _shapes(package, name, element)


def _diagram(package: Package, name: str, relation: str) -> Iterator[str]:
    """The texts of a SmartArt diagram, which are a part of their own."""
    part = package.related(name).get(relation, ("", ""))[1]
    if part in package:
        yield from (lines.paragraph(_text(each)) for each in package.root(part).iter("{*}p"))


def _placeholder(shape: etree._Element) -> str | None:
    found = shape.find("{*}nvSpPr/{*}nvPr/{*}ph")
    return None if found is None else found.get("type", "body")


def _text(paragraph: etree._Element) -> str:
    return shifted.joined(_runs(paragraph))


def _runs(paragraph: etree._Element) -> Iterator[Run]:
    for element in paragraph.iter():
        kind = local_name(element)
        if kind == "t" and element.tag.startswith(DRAWING):
            yield _shift(element.getparent()), element.text or ""
        elif kind in ("br", "tab"):
            yield "", " "
        elif kind == "oMath":
            yield "", office_math.text_of(element)


def _shift(run: etree._Element) -> Shift:
    properties = run.find("{*}rPr")
    baseline = "0" if properties is None else properties.get("baseline", "0")
    if baseline.strip("0%") == "":
        return ""
    return "lowered" if baseline.startswith("-") else "raised"
