"""What the styles of a Word document say of its paragraphs: headings and their levels, numbers, hidden text."""

import re
from dataclasses import dataclass

from lxml import etree

from pipeline.formats.xml_tree import attribute, local_name

HEADING_NAME = re.compile(r"heading (\d)", re.IGNORECASE)
BODY_LEVEL = 9
"""In Word, an outline level of 9 is that of the text itself."""
LONGEST_CHAIN = 20
OFF = {"0", "false", "off", "none"}


@dataclass(frozen=True)
class _Style:
    name: str
    based_on: str | None
    properties: etree._Element | None
    """Of its paragraphs."""
    is_hidden: bool


class WordStyles:
    """The styles of a document; without a part for them, what paragraphs say themselves."""

    def __init__(self, root: etree._Element | None) -> None:
        styles = [] if root is None else [each for each in root if local_name(each) == "style"]
        self._styles = {attribute(each, "styleId") or "": _style(each) for each in styles}
        self._default = next(
            (
                attribute(s, "styleId")
                for s in styles
                if attribute(s, "default") == "1" and attribute(s, "type") == "paragraph"
            ),
            None,
        )

    def level(self, paragraph: etree._Element) -> int:
        """Of a heading, from 1; 0 for other paragraphs."""
        properties = paragraph.find("{*}pPr")
        own = _value(properties, "outlineLvl")
        if own is not None:
            return _outline(own)
        for style in self._chain(properties):
            if style.name.lower() == "title":
                return 1
            if found := HEADING_NAME.fullmatch(style.name):
                return int(found[1])
            if (outline := _value(style.properties, "outlineLvl")) is not None:
                return _outline(outline)
        return 0

    def number(self, paragraph: etree._Element) -> tuple[str, int] | None:
        """The list that numbers a paragraph and the level in it, if any."""
        properties = paragraph.find("{*}pPr")
        levels = [properties, *(style.properties for style in self._chain(properties))]
        of_list = [each for each in (_child(props, "numPr") for props in levels) if each is not None]
        num = next((found for each in of_list if (found := _value(each, "numId")) is not None), None)
        if num is None or num == "0":
            return None
        level = next((found for each in of_list if (found := _value(each, "ilvl")) is not None), None)
        if level is None:
            level = str(max(0, self.level(paragraph) - 1))
        return num, int(level) if level.isdecimal() else 0

    def is_hidden(self, run: etree._Element) -> bool:
        """Whether a run has the property of hidden text, itself or by its style."""
        properties = run.find("{*}rPr")
        if properties is None:
            return False
        own = properties.find("{*}vanish")
        if own is not None:
            return _is_on(own)
        style = self._styles.get(_value(properties, "rStyle") or "")
        return style is not None and style.is_hidden

    def _chain(self, properties: etree._Element | None) -> list[_Style]:
        """A paragraph's style and those that it is based on."""
        found: list[_Style] = []
        name = _value(properties, "pStyle") or self._default
        while name in self._styles and len(found) < LONGEST_CHAIN:
            found.append(self._styles[name])
            name = found[-1].based_on
        return found


def _style(element: etree._Element) -> _Style:
    run = element.find("{*}rPr")
    vanish = run.find("{*}vanish") if run is not None else None
    return _Style(
        _value(element, "name") or "",
        _value(element, "basedOn"),
        element.find("{*}pPr"),
        vanish is not None and _is_on(vanish),
    )


def _outline(value: str) -> int:
    level = int(value) if value.isdecimal() else BODY_LEVEL
    return level + 1 if level < BODY_LEVEL else 0


def _is_on(element: etree._Element) -> bool:
    return (attribute(element, "val") or "1").lower() not in OFF


def _child(properties: etree._Element | None, name: str) -> etree._Element | None:
    return None if properties is None else properties.find("{*}" + name)


def _value(properties: etree._Element | None, name: str) -> str | None:
    child = _child(properties, name)
    return None if child is None else attribute(child, "val")
