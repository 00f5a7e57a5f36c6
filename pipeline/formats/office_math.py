"""Formulas of Office documents as a line of text."""

from lxml import etree

from pipeline.formats.xml_tree import attribute, local_name

PROPERTIES = "Pr"


def text_of(element: etree._Element) -> str:
    """A formula in the notation of plain text: `(a + b)/c`, `x^2`, `a_i`, `√(x)`."""
    name = local_name(element)
    if name == "t":
        return element.text or ""
    if name.endswith(PROPERTIES) or not name:
        return ""
    if name == "f":
        return f"{_grouped(element, 'num')}/{_grouped(element, 'den')}"
    if name in ("sSup", "sSub", "sSubSup"):
        return _part(element, "e") + _raised(element)
    if name == "rad":
        degree = _part(element, "deg")
        return f"{f'root {degree} of ' if degree else '√'}({_part(element, 'e')})"
    if name == "nary":
        return f"{_character(element, 'naryPr', 'chr', '∫')}{_raised(element)} {_part(element, 'e')}"
    if name == "d":
        start, end = _character(element, "dPr", "begChr", "("), _character(element, "dPr", "endChr", ")")
        return start + ", ".join(text_of(each) for each in element if local_name(each) == "e") + end
    if name == "mr":
        return " ".join(map(text_of, element)) + "; "
    return "".join(map(text_of, element))


def _part(element: etree._Element, name: str) -> str:
    part = element.find("{*}" + name)
    return "" if part is None else text_of(part)


def _grouped(element: etree._Element, name: str) -> str:
    text = _part(element, name)
    return text if len(text) == 1 or text.isalnum() else f"({text})"


def _raised(element: etree._Element) -> str:
    return "".join(
        mark + _grouped(element, name) for mark, name in (("_", "sub"), ("^", "sup")) if _part(element, name)
    )


def _character(element: etree._Element, properties: str, name: str, default: str) -> str:
    found = element.find(f"{{*}}{properties}/{{*}}{name}")
    return default if found is None else attribute(found, "val") or ""
