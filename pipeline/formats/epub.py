"""The text of EPUB books: chapters in reading order, as their pages show them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from lxml import etree

from configs.errors import CorruptError, EmptyDocumentError, EncryptedError
from configs.settings import InputSettings
from pipeline.formats import html, lines, registry, titles
from pipeline.formats.notes import Notes
from pipeline.formats.package import Package, resolved
from pipeline.formats.xml_tree import attribute, local_name

PAGES = {"application/xhtml+xml", "text/html", "application/x-dtbook+xml"}
OPENING_LINES = 8
"""Of these one may be the title already, on a page for it."""
# Fonts are mangled to protect them, not the text.
OBFUSCATED_FONT = re.compile(r"idpf\.org/2008/embedding|ns\.adobe\.com/pdf/enc#RC")


@dataclass(frozen=True)
class _Book:
    folder_of: str
    """The part whose folder the others' names start from."""
    title: str | None
    authors: tuple[str, ...]
    chapters: tuple[str, ...]
    toc: str | None


def made_by(settings: InputSettings) -> str:
    """What the text depends on: another version may extract another text."""
    return f"epub 1 {html.made_by(settings)}"


def parse(data: bytes, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """Title and lines of text. Raises CorruptError, EncryptedError, TooLargeError; a CorruptError also while the text
    is read."""
    package = Package(data, "EPUB", settings)
    _refuse_protected(package)
    book = _book(package)
    if not book.chapters:
        raise CorruptError("The EPUB is damaged: it names no chapters.")
    return book.title, _lines(package, book, notes, settings)


def _refuse_protected(package: Package) -> None:
    encryption = package.root("META-INF/encryption.xml") if "META-INF/encryption.xml" in package else ()
    methods = [
        attribute(method, "Algorithm") or ""
        for data in encryption
        if local_name(data) == "EncryptedData"
        for method in data.findall("{*}EncryptionMethod")
    ]
    if not all(map(OBFUSCATED_FONT.search, methods)) or "META-INF/rights.xml" in package:
        raise EncryptedError("The EPUB is protected by digital rights management (DRM).")


def _book(package: Package) -> _Book:
    rootfile = package.root("META-INF/container.xml").find(".//{*}rootfile")
    name = "" if rootfile is None else rootfile.get("full-path") or ""
    root = package.root(name)
    items = {each.get("id"): each for each in root.iterfind("{*}manifest/{*}item")}
    spine = [items[each.get("idref")] for each in root.iterfind("{*}spine/{*}itemref") if each.get("idref") in items]
    chapters = [each for each in spine if each.get("media-type") in PAGES and not _is_toc(each)]
    toc = next((each for each in items.values() if _is_toc(each)), None)
    return _Book(
        name,
        titles.checked(root.findtext("{*}metadata/{*}title")),
        tuple(filter(None, (" ".join("".join(e.itertext()).split()) for e in root.iterfind("{*}metadata/{*}creator")))),
        tuple(resolved(name, each.get("href") or "") for each in chapters),
        None if toc is None else resolved(name, toc.get("href") or ""),
    )


def _is_toc(item: etree._Element) -> bool:
    return "nav" in (item.get("properties") or "").split() or item.get("media-type") == "application/x-dtbncx+xml"


def _lines(package: Package, book: _Book, notes: Notes, settings: InputSettings) -> Iterator[str]:
    chapters = _chapters(package, book, notes, settings)
    opening = list(islice(chapters, OPENING_LINES))
    if not any(" ".join(line.strip("# \n").split()).casefold() == (book.title or "").casefold() for line in opening):
        yield lines.heading(1, book.title or "")
        yield lines.paragraph(", ".join(book.authors))
    yield from opening
    yield from chapters


def _chapters(package: Package, book: _Book, notes: Notes, settings: InputSettings) -> Iterator[str]:
    labels = _labels(package, book.toc)
    missing = 0
    for name in book.chapters:
        if name not in package:
            missing += 1
            continue
        try:
            texts = registry.parse("html", package.read(name), Notes(), settings)[1]
            yield from _with_heading(texts, labels.get(name))
        except EmptyDocumentError:
            continue
    if missing:
        notes.warnings.append(f"Chapters that the EPUB names were missing in it: {missing}.")


def _with_heading(texts: Iterator[str], label: str | None) -> Iterator[str]:
    """A chapter's lines; if its first is no heading, under the name that the table of contents gives it."""
    first = next((text for text in texts if text.strip()), "")
    line = " ".join(first.split())
    if label and line and not line.startswith("#"):
        yield lines.heading(2, label)
        first = "" if line.casefold() == label.casefold() else first
    yield first
    yield from texts


def _labels(package: Package, toc: str | None) -> dict[str, str]:
    """Names of chapters by their parts, of which the first counts."""
    found: dict[str, str] = {}
    if toc is None or toc not in package:
        return found
    try:
        root = package.root(toc)
    except CorruptError:
        return found
    points = [(each.find("{*}content"), each.find("{*}navLabel")) for each in root.iter("{*}navPoint")]
    links = [(each, each) for each in root.iter("{*}a")]
    for target, label in points + links:
        href = "" if target is None else target.get("src") or target.get("href") or ""
        if href and label is not None:
            found.setdefault(resolved(toc, href), " ".join("".join(label.itertext()).split()))
    return found
