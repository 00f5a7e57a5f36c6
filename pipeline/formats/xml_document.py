"""The text of XML: articles (JATS), editions (TEI), books (DocBook), and whatever else has text in its elements."""

import re
from collections.abc import Iterator

from lxml import etree

from configs.errors import EmptyDocumentError
from configs.settings import InputSettings
from pipeline.formats import encoding, lines, shifted, titles
from pipeline.formats.notes import Notes
from pipeline.formats.shifted import Run, Shift
from pipeline.formats.xml_tree import local_name, root_of

MADE_BY = "xml 1"
DECLARATION = re.compile(r"<\?xml\b[^>]{0,500}\?>")
DECLARED_ENCODING = re.compile(rb"""<\?xml[^>]{0,200}?\sencoding\s{0,9}=\s{0,9}["']([\w.:-]{1,40})["']""")
DECLARED_WITHIN_BYTES = 1024
SECTIONS = {
    *("sec", "section", "chapter", "part", "appendix", "div", "div1", "div2", "div3", "div4", "div5", "div6", "app"),
    *(
        "ref-list",
        "ack",
        "abstract",
        "trans-abstract",
        "preface",
        "sect1",
        "sect2",
        "sect3",
        "sect4",
        "sect5",
        "fn-group",
    ),
    *("app-group", "glossary", "notes", "bio", "boxed-text"),
}
HEADINGS = {"title", "head"}
NAMED_SECTIONS = {"abstract": "Abstract", "ref-list": "References", "ack": "Acknowledgments"}
# What stands on lines of its own also where there is text beside it.
BLOCKS = SECTIONS | {
    *("p", "para", "simpara", "list", "list-item", "item", "itemizedlist", "orderedlist", "listitem", "variablelist"),
    *("table-wrap", "table", "informaltable", "thead", "tbody", "tgroup", "row", "tr", "fig", "figure", "caption"),
    *(
        "disp-quote",
        "disp-formula",
        "disp-formula-group",
        "boxed-text",
        "def-list",
        "def-item",
        "verse-group",
        "speech",
    ),
    *("lg", "l", "sp", "quote-block", "blockquote", "programlisting", "screen", "body", "text", "front", "back", "ref"),
}
ROWS = {"tr", "row"}
# Data about the document, which readers of the page do not see, and what is no text.
UNREAD = {
    *("script", "style", "metadata", "journal-meta", "article-id", "article-categories", "pub-date", "permissions"),
    *("history", "custom-meta-group", "counts", "kwd-group", "funding-group", "self-uri", "elocation-id", "volume"),
    *("issue", "fpage", "lpage", "related-article", "author-notes", "aff", "aff-alternatives", "pub-history"),
    *("object-id", "fileDesc", "encodingDesc", "profileDesc", "revisionDesc", "xenoData", "colspec", "tex-math-source"),
    *("article-version", "contrib-id", "ext-link-type", "volume-id", "issue-id", "permission", "processing-meta"),
}
TITLES = (
    *(".//{*}article-meta//{*}article-title", ".//{*}book-meta//{*}book-title", ".//{*}titleStmt/{*}title"),
    *(
        "./{*}info/{*}title",
        "./{*}articleinfo/{*}title",
        "./{*}bookinfo/{*}title",
        "./{*}channel/{*}title",
        "./{*}title",
    ),
    *(".//{*}title-info/{*}book-title", "./{*}head/{*}title"),
)
SHIFTED: dict[str, Shift] = {
    **{"sup": "raised", "superscript": "raised"},
    **{"sub": "lowered", "subscript": "lowered"},
}
# What is but a way to print: it is no word by itself.
INLINE = SHIFTED.keys() | {
    *(
        "xref",
        "italic",
        "bold",
        "b",
        "i",
        "u",
        "em",
        "strong",
        "underline",
        "sc",
        "monospace",
        "hi",
        "emphasis",
        "span",
    ),
    *("ext-link", "styled-content", "named-content", "code", "tt", "a", "link", "roman", "sans-serif", "strike"),
}
BREAKS = {"break", "lb", "br", "cb", "pb"}


def made_by(settings: InputSettings) -> str:
    """What the text depends on."""
    return f"{MADE_BY} libxml2 {'.'.join(map(str, etree.LIBXML_VERSION))}"


def parse(data: bytes, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """Title and lines of text. Raises UndecodableError, CorruptError, EmptyDocumentError, MemoryError."""
    declared = DECLARED_ENCODING.search(data[:DECLARED_WITHIN_BYTES])
    codec = encoding.codec_of(declared[1].decode("ascii")) if declared else None
    text = "".join(encoding.decode([data], codec, notes, settings)).strip()
    if not text:
        raise EmptyDocumentError("The document is empty: there is no text in the XML.")
    root = root_of(_without_declaration(text).encode(), "XML", notes.warnings, "utf-8")
    title = next((found for path in TITLES if (found := root.find(path)) is not None), None)
    return titles.checked(None if title is None else _line(title)), _document(root, title)


def _without_declaration(text: str) -> str:
    """Which names another encoding than the one that it is in now."""
    declaration = DECLARATION.match(text)
    return text[declaration.end() :].lstrip() if declaration else text


def _document(root: etree._Element, title: etree._Element | None) -> Iterator[str]:
    if title is not None:
        yield lines.heading(1, _line(title))
    yield lines.paragraph(_authors(root))
    yield from _blocks(root, 1, title)


def _authors(root: etree._Element) -> str:
    """Of an article in JATS, whose names are in pieces."""
    names = root.iterfind(".//{*}article-meta//{*}contrib/{*}name")
    return ", ".join(f"{each.findtext('{*}given-names') or ''} {each.findtext('{*}surname') or ''}" for each in names)


def _blocks(element: etree._Element, depth: int, title: etree._Element | None) -> Iterator[str]:
    """Lines of an element: text and what belongs into it on one, whatever is a block on its own."""
    runs: list[Run] = [("", _own(element.text))]
    is_mixed = _has_text(element)
    for child in element:
        name = local_name(child)
        if child is title or name in UNREAD or (name == "contrib-group" and depth == 1):
            pass
        elif name and (name in BLOCKS or not is_mixed):
            yield lines.paragraph(shifted.joined(runs))
            runs.clear()
            yield from _block(child, name, depth, title)
        else:
            runs += _inline(child)
        runs.append(("", _own(child.tail)))
    yield lines.paragraph(shifted.joined(runs))


def _block(element: etree._Element, name: str, depth: int, title: etree._Element | None) -> Iterator[str]:
    parent = local_name(element.getparent())
    if name in ROWS and len(element):
        yield lines.row(map(_line, element))
    elif name in HEADINGS and parent in SECTIONS:
        yield lines.heading(depth, _line(element))
    elif name in SECTIONS:
        if name in NAMED_SECTIONS and element.find("{*}title") is None:
            yield lines.heading(depth + 1, NAMED_SECTIONS[name])
        yield from _blocks(element, depth + 1, title)
    elif name == "ref" or (not len(element) and name != "p"):
        yield lines.paragraph(_line(element))
    elif name in ("disp-formula", "math"):
        yield lines.paragraph(_formula(element))
    else:
        yield from _blocks(element, depth, title)


def _has_text(element: etree._Element) -> bool:
    """Whether there is text in an element beside its children."""
    return bool(_own(element.text).strip()) or any(
        _own(child.tail).strip() or not local_name(child) for child in element
    )


def _line(element: etree._Element) -> str:
    """All of an element's text."""
    return " ".join(shifted.joined(_runs(element)).split())


def _runs(element: etree._Element) -> Iterator[Run]:
    yield "", _own(element.text)
    is_mixed = _has_text(element)
    for child in element:
        apart = "" if is_mixed or local_name(child) in INLINE else " "
        yield "", apart
        yield from _inline(child)
        yield "", apart + _own(child.tail)


def _inline(element: etree._Element) -> list[Run]:
    name = local_name(element)
    if name in UNREAD or not name:
        return []
    if name in BREAKS:
        return [("", " ")]
    if name in ("inline-formula", "disp-formula", "math", "alternatives"):
        return [("", _formula(element))]
    runs = list(_runs(element))
    if name in SHIFTED:
        # Around references to literature it is but a way to print.
        is_reference = element.find("{*}xref") is not None or local_name(element.getparent()) == "xref"
        return runs if is_reference else [(SHIFTED[name], shifted.joined(runs))]
    if name == "xref" and element.get("ref-type") == "bibr" and not _is_bracketed(element):
        return [("", f"[{shifted.joined(runs)}]")]
    return [("", " "), *runs, ("", " ")] if name in BLOCKS else runs


def _is_bracketed(xref: etree._Element) -> bool:
    """Whether the text before a reference has opened a bracket, or the reference is words such as a name and a year."""
    previous = xref.getprevious()
    before = _own(xref.getparent().text if previous is None else previous.tail)
    return before.rstrip().endswith(("[", "(", ",", ";", "–", "-")) or not "".join(xref.itertext()).strip().isdecimal()


def _formula(element: etree._Element) -> str:
    """In TeX or as its author described it where the document has that, else the characters in order."""
    tex = element if local_name(element) == "tex-math" else element.find(".//{*}tex-math")
    if tex is not None:
        return " ".join(_tex_body("".join(tex.itertext())).split())
    annotated = element.find(".//{*}annotation")
    math = element if local_name(element) == "math" else element.find(".//{*}math")
    if math is None:
        return shifted.joined(_runs(element))
    if alttext := math.get("alttext"):
        return str(alttext)
    return "".join(annotated.itertext()) if annotated is not None else _math(math)


def _tex_body(tex: str) -> str:
    """Without the preamble that makes it a document of its own."""
    return tex.partition("\\begin{document}")[2].partition("\\end{document}")[0] or tex


def _math(element: etree._Element) -> str:
    name, parts = local_name(element), [_math(child) for child in element if local_name(child)]
    if name in ("msup", "msub") and len(parts) == 2:
        return f"{parts[0]}{'^' if name == 'msup' else '_'}{_grouped(parts[1])}"
    if name == "msubsup" and len(parts) == 3:
        return f"{parts[0]}_{_grouped(parts[1])}^{_grouped(parts[2])}"
    if name == "mfrac" and len(parts) == 2:
        return f"{_grouped(parts[0])}/{_grouped(parts[1])}"
    if name == "msqrt":
        return f"√({''.join(parts)})"
    return (_own(element.text).strip() + "".join(parts)).strip() if name != "annotation-xml" else ""


def _grouped(text: str) -> str:
    return text if text.isalnum() else f"({text})"


def _own(text: str | None) -> str:
    return text or ""
