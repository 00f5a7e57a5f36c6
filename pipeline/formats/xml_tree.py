"""XML as a tree, safe to take from strangers: nothing is fetched, and entities cannot grow."""

import re
from html.entities import html5

from lxml import etree

from configs.errors import CorruptError, EmptyDocumentError

BARE_AMPERSAND = re.compile(rb"&(?!#?\w{1,40};)")


def parser(charset: str | None = None, recover: bool = False) -> etree.XMLParser:
    """What is safe; with `recover`, one that goes on where XML is not well formed."""
    return etree.XMLParser(
        encoding=charset,
        resolve_entities=False,
        no_network=True,
        remove_comments=True,
        remove_pis=True,
        recover=recover,
    )


def root_of(data: bytes, what: str, warnings: list[str] | None = None, charset: str | None = None) -> etree._Element:
    """The root element. `charset`, if given, overrides the declaration. With a list for `warnings`, what is not well
    formed is read as far as it goes; without, it raises. `what` names the document in messages.

    Raises CorruptError, EmptyDocumentError, MemoryError.
    """
    try:
        return etree.fromstring(data, parser(charset))
    except etree.XMLSyntaxError as error:
        if error.code == etree.ErrorTypes.ERR_NO_MEMORY:
            raise MemoryError("while XML was parsed") from error
        if error.code == etree.ErrorTypes.ERR_RESOURCE_LIMIT or "xcessive depth" in str(error):
            raise CorruptError(f"The {what} is XML beyond all measure ({error.msg}).") from error
        if error.code == etree.ErrorTypes.ERR_DOCUMENT_EMPTY and not data.strip():
            raise EmptyDocumentError(f"The document is empty: there is nothing in the {what}.") from error
        problem = str(error.msg)
        if warnings is None:
            raise CorruptError(f"The {what} is damaged: it is not well-formed XML ({problem}).") from error
    root = _mended(data, charset)
    if root is None:
        raise CorruptError(f"The {what} is damaged: it is not well-formed XML ({problem}).")
    warnings.append(f"The XML is not well formed ({problem}); text around such places may be missing.")
    return root


def entity_text(entity: etree._Entity) -> str:
    """What a reference such as `&nbsp;` stands for: a name that HTML knows, else what the document itself defines as
    plain text, else nothing."""
    if (known := html5.get(f"{entity.name};")) is not None:
        return known
    internal = entity.getroottree().docinfo.internalDTD
    defined = {each.name: each.content or "" for each in internal.iterentities()} if internal is not None else {}
    content = defined.get(entity.name, "")
    return "" if "&" in content or "<" in content else content


def local_name(element: etree._Element) -> str:
    """Without its name space; empty for comments, instructions and entities."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: etree._Element, name: str) -> str | None:
    """By its name, in whatever name space."""
    found = element.get(name)
    if found is not None:
        return found
    return next((value for key, value in element.attrib.items() if key.endswith("}" + name)), None)


def _mended(data: bytes, charset: str | None) -> etree._Element | None:
    """With its ampersands put right where that is all, else with whatever a parser that goes on can make of it."""
    escaped = BARE_AMPERSAND.sub(b"&amp;", data)
    try:
        return etree.fromstring(escaped, parser(charset))
    except etree.XMLSyntaxError:
        return etree.fromstring(escaped, parser(charset, recover=True))
