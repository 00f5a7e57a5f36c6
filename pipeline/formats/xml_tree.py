"""XML as a tree, safe to take from strangers: nothing is fetched, and entities cannot grow."""

import re
from html.entities import html5

from lxml import etree

from configs.errors import CorruptError, EmptyDocumentError

# Names of characters that documents use without saying what they mean, as HTML does.
NAMED_CHARACTER = re.compile(rb"&([A-Za-z][A-Za-z0-9]{1,31});")
XML_NAMES = {b"amp", b"lt", b"gt", b"quot", b"apos"}
NAMED_ENTITY = re.compile(rb"&([A-Za-z_][\w.-]{0,39});")
DEFINED_NAME = re.compile(rb"""<!ENTITY\s{1,9}([\w.-]{1,40})\s{1,9}["']""")
BARE_AMPERSAND = re.compile(rb"&(?!#?\w{1,40};)")


def parser(charset: str | None = None, recover: bool = False) -> etree.XMLParser:
    """What is safe; with `recover`, one that goes on where XML is not well formed."""
    return etree.XMLParser(
        encoding=charset,
        resolve_entities="internal",
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
    data = NAMED_CHARACTER.sub(_by_number, data)
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


def local_name(element: etree._Element) -> str:
    """Without its name space; empty for comments and instructions."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: etree._Element, name: str) -> str | None:
    """By its name, in whatever name space."""
    found = element.get(name)
    if found is not None:
        return found
    return next((value for key, value in element.attrib.items() if key.endswith("}" + name)), None)


def _by_number(name: re.Match[bytes]) -> bytes:
    """A named character by its number, which needs no definition; a name that HTML does not know remains."""
    characters = None if name[1] in XML_NAMES else html5.get(f"{name[1].decode('ascii')};")
    return name[0] if characters is None else "".join(f"&#{ord(each)};" for each in characters).encode()


def _mended(data: bytes, charset: str | None) -> etree._Element | None:
    """With its ampersands put right where that is all, else with whatever a parser that goes on can make of it."""
    defined = XML_NAMES.union(DEFINED_NAME.findall(data))
    known = NAMED_ENTITY.sub(lambda name: name[0] if name[1] in defined else b"", data)
    escaped = BARE_AMPERSAND.sub(b"&amp;", known)
    try:
        return etree.fromstring(escaped, parser(charset))
    except etree.XMLSyntaxError:
        return etree.fromstring(escaped, parser(charset, recover=True))
