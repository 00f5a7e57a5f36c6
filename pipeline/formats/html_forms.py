"""What is filled in the fields of a form."""

from lxml import etree

TYPED = {"", "text", "email", "number", "date", "datetime-local", "month", "week", "time", "tel", "url", "search"}


def value(element: etree._Element) -> str:
    """Of an input, select or textarea; empty if nothing is filled in."""
    if element.tag == "textarea":
        return "".join(element.itertext())
    if element.tag == "select":
        return ", ".join(" ".join("".join(option.itertext()).split()) for option in _selected(element))
    kind = element.get("type", "").strip().lower()
    if kind in ("checkbox", "radio"):
        return "[x]" if element.get("checked") is not None else "[ ]"
    return element.get("value", "") if kind in TYPED else ""


def _selected(element: etree._Element) -> list[etree._Element]:
    return [option for option in element.iter("option") if option.get("selected") is not None]
