"""Submissions to the SEC's EDGAR: a header in SGML, then documents, each in a format of its own."""

import binascii
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from lxml import etree

from configs.errors import DocumentError, EmptyDocumentError
from configs.settings import InputSettings
from pipeline.formats import encoding, html, registry, xml_tree
from pipeline.formats.notes import Notes

DOCUMENT = re.compile(rb"^<DOCUMENT>", re.MULTILINE)
TEXT_START = re.compile(rb"^<TEXT>[ \t]*\n?", re.MULTILINE)
TEXT_END = b"</TEXT>"
TAG = re.compile(rb"^<(TYPE|FILENAME|DESCRIPTION)>([^\n]*)", re.MULTILINE)
WRAPPER = re.compile(rb"\s*<(XBRL|XML|PDF)>\s*", re.IGNORECASE)
UUENCODED = re.compile(rb"\s*begin [0-7]{3,4} [^\n]*\n")
LONGEST_HEADER = 1024 * 1024
FIELDS = {
    "Company": re.compile(rb"^[ \t]*(?:COMPANY CONFORMED NAME:|<CONFORMED-NAME>)[ \t]*([^\n]+)", re.MULTILINE),
    "Form": re.compile(rb"^[ \t]*(?:CONFORMED SUBMISSION TYPE:|<TYPE>)[ \t]*([^\n]+)", re.MULTILINE),
    "Period": re.compile(rb"^[ \t]*(?:CONFORMED PERIOD OF REPORT:|<PERIOD>)[ \t]*([^\n]+)", re.MULTILINE),
    "Filed": re.compile(
        rb"^[ \t]*(?:FILED AS OF DATE:|<FILING-DATE>|<SEC-DOCUMENT>[^\s:]+ :)[ \t]*(\d{8})", re.MULTILINE
    ),
    "Items": re.compile(rb"^[ \t]*ITEM INFORMATION:[ \t]*([^\n]+)", re.MULTILINE),
}
DATED = ("Period", "Filed")
MOST_NAMES = 10
WITHOUT_TEXT = re.compile(r"GRAPHIC|ZIP|EXCEL|COVER\.?PDF|JSON|XML|EX-10[01]\..*|EX-10[01]")
"""Types of documents for machines. Those of type XML repeat the statements, and hold scripts."""
MACHINE_SUFFIXES = {".xsd", ".js", ".css", ".json", ".zip", ".xlsx", ".xls", ".jpg", ".jpeg", ".gif", ".png"}
LAYOUT_TAG = re.compile(r"</?(?:PAGE|TABLE|CAPTION|S|C|FN|F\d{1,2})>")
"""What plain text of the nineties was set with."""


@dataclass(frozen=True)
class _Part:
    """One document of a submission."""

    type: str
    file_name: str
    description: str
    content: bytes

    @property
    def heading(self) -> str:
        about = "" if self.description.casefold() in ("", self.type.casefold()) else f" {self.description}"
        return f"# {self.type or 'Document'}{about}"


def made_by(settings: InputSettings) -> str:
    """What the text depends on."""
    return f"edgar 1 {html.made_by(_for_parts(settings))}"


def parse(data: bytes, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """Title and text: what the header says, then the documents that are for people, each below a heading. Raises
    EmptyDocumentError, and MemoryError also while the text is read."""
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    starts = [found.start() for found in DOCUMENT.finditer(data)]
    if not starts:
        raise EmptyDocumentError("The submission is empty: there is no document in it.")
    settings = _for_parts(settings)
    about = _about(data[: min(starts[0], LONGEST_HEADER)])
    parts = [_part(data[start:end]) for start, end in zip(starts, [*starts[1:], len(data)], strict=True)]
    words = [about[name][0] for name in ("Company", "Form", "Period") if name in about]
    title = " ".join(words) or _title(parts[0], settings)
    return title, _texts(about, parts, notes, settings)


def _for_parts(settings: InputSettings) -> InputSettings:
    """A filing has no main text: all of it counts."""
    return settings.model_copy(update={"html": "all"})


def _about(header: bytes) -> dict[str, list[str]]:
    """The fields of the header."""
    found = {}
    for name, pattern in FIELDS.items():
        values = list(dict.fromkeys(" ".join(value.decode("latin-1").split()) for value in pattern.findall(header)))
        if name in ("Form", *DATED):
            # The date in the first line is that of the file; the header proper comes after it.
            values = values[-1:] if name == "Filed" else values[:1]
        if name in DATED:
            values = [re.sub(r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3", value) for value in values]
        if values:
            found[name] = values
    return found


def _part(document: bytes) -> _Part:
    start = TEXT_START.search(document)
    head = document[: start.start()] if start else document
    tags = {name.decode(): " ".join(value.decode("latin-1").split()) for name, value in TAG.findall(head)}
    end = document.rfind(TEXT_END)
    content = document[start.end() : end if end >= start.end() else None] if start else b""
    return _Part(tags.get("TYPE", ""), tags.get("FILENAME", ""), tags.get("DESCRIPTION", ""), content)


def _title(part: _Part, settings: InputSettings) -> str | None:
    """Of a single document without a header."""
    try:
        return _parsed(part, Notes(), settings)[0] or part.type or None
    except DocumentError:
        return part.type or None


def _texts(about: dict[str, list[str]], parts: list[_Part], notes: Notes, settings: InputSettings) -> Iterator[str]:
    for name, values in about.items():
        more = f"; and {len(values) - MOST_NAMES} more" if len(values) > MOST_NAMES else ""
        yield f"{name}: {'; '.join(values[:MOST_NAMES])}{more}\n"
    left_out: Counter[str] = Counter()
    for part in parts:
        if not _is_for_people(part):
            left_out[part.type or "without a type"] += 1
            continue
        own = Notes()
        try:
            texts = _parsed(part, own, settings)[1]
            yield from _below(part.heading if about or len(parts) > 1 else None, texts)
        except DocumentError as error:
            left_out[f"{part.type} ({type(error).__name__})"] += 1
        notes.warnings += own.warnings
        if notes.encoding is None:
            notes.encoding, notes.chosen_by = own.encoding, own.chosen_by
    if left_out:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
        notes.warnings.append(f"Not read: {left_out.total()} of {len(parts)} documents in the submission ({kinds}).")


def _below(heading: str | None, texts: Iterator[str]) -> Iterator[str]:
    """A text with its heading, once it is known that there is one."""
    for text in texts:
        if heading:
            yield heading + "\n"
            heading = None
        yield text
    yield "\n"


def _is_for_people(part: _Part) -> bool:
    if WITHOUT_TEXT.fullmatch(part.type) or PurePosixPath(part.file_name.lower()).suffix in MACHINE_SUFFIXES:
        return False
    wrapper = WRAPPER.match(part.content)
    encoded = UUENCODED.match(part.content, wrapper.end() if wrapper else 0)
    return bool(part.content.strip()) and (encoded is None or part.file_name.lower().endswith(".pdf"))


def _parsed(part: _Part, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """Title and text of one document, by its own content."""
    content = part.content
    if wrapper := WRAPPER.match(content):
        content = content[wrapper.end() :]
        content = content[: content.rfind(b"</" + wrapper[1])]
    if encoded := UUENCODED.match(content):
        return registry.parse("pdf", _decoded(content[encoded.end() :]), notes, settings)
    if wrapper and wrapper[1].upper() == b"XML" and content.startswith(b"<?xml"):
        return None, _fields(content)
    kind = registry.recognized(part.file_name, content)
    if kind not in ("html", "pdf", "xml"):
        return None, _plain("".join(encoding.decode([content], notes=notes, settings=settings)))
    return registry.parse(kind, content, notes, settings)


def _decoded(lines: bytes) -> bytes:
    """Uuencoded content."""
    decoded = []
    for line in lines.splitlines():
        if line.strip() in (b"end", b"`", b""):
            continue
        try:
            decoded.append(binascii.a2b_uu(line))
        except binascii.Error:
            break
    return b"".join(decoded)


def _plain(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        bare = LAYOUT_TAG.sub("", line) if "<" in line else line
        if bare.strip() or bare == line:
            yield bare.rstrip() + "\n"


def _fields(content: bytes) -> Iterator[str]:
    """The fields of a form in XML, each with its name."""
    root = etree.fromstring(content, xml_tree.parser(recover=True))
    for element in root.iter(etree.Element) if root is not None else ():
        if len(element) == 0 and (value := " ".join((element.text or "").split())):
            named = element.getparent() if xml_tree.local_name(element) == "value" else element
            yield f"{xml_tree.local_name(element if named is None else named)}: {value}\n"
