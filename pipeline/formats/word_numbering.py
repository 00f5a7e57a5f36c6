"""The numbers of lists and headings in Word documents, which their text does not hold: counted as Word does."""

import re
from dataclasses import dataclass

from lxml import etree

from pipeline.formats.xml_tree import attribute, local_name

PLACE = re.compile(r"%([1-9])")
ROMAN = {
    **{1000: "m", 900: "cm", 500: "d", 400: "cd", 100: "c", 90: "xc", 50: "l", 40: "xl", 10: "x", 9: "ix"},
    **{5: "v", 4: "iv", 1: "i"},
}
LARGEST_ROMAN = 5000
NUM_LEVELS = 9
BULLET = "- "


@dataclass(frozen=True)
class _Level:
    start: int
    kind: str
    text: str


class Numbering:
    """Counts the paragraphs of each list. Ask for each paragraph once, in order."""

    def __init__(self, root: etree._Element | None) -> None:
        elements = [] if root is None else list(root)
        abstract = {attribute(e, "abstractNumId"): _levels(e) for e in elements if local_name(e) == "abstractNum"}
        self._lists: dict[str, tuple[str, dict[int, _Level]]] = {}
        for element in elements:
            if local_name(element) == "num":
                name = _value(element, "abstractNumId") or ""
                overrides = [each for each in element if local_name(each) == "lvlOverride"]
                levels = abstract.get(name, {}) | {
                    level: found for each in overrides for level, found in _levels(each).items()
                }
                key = f"{name}/{attribute(element, 'numId')}" if overrides else name
                self._lists[attribute(element, "numId") or ""] = key, levels
        self._counts: dict[str, list[int | None]] = {}

    def label(self, list_id: str, level: int) -> str:
        """What stands before the next paragraph of a list, with a blank after it; empty if the list is unknown."""
        key, levels = self._lists.get(list_id, ("", {}))
        found = levels.get(level)
        if found is None or level >= NUM_LEVELS:
            return ""
        counts = self._counts.setdefault(key, [None] * NUM_LEVELS)
        count = counts[level]
        counts[level] = found.start if count is None else count + 1
        counts[level + 1 :] = [None] * (NUM_LEVELS - level - 1)
        if found.kind == "bullet":
            return BULLET
        if found.kind == "none":
            return ""

        def number(place: re.Match[str]) -> str:
            of_level = int(place[1]) - 1
            at = levels.get(of_level, found)
            count = counts[of_level]
            return written(at.start if count is None else count, at.kind)

        text = PLACE.sub(number, found.text).strip()
        return text + " " if text else ""


def written(number: int, kind: str) -> str:
    """A number in Word's format of that name."""
    if kind in ("lowerRoman", "upperRoman") and 0 < number < LARGEST_ROMAN:
        roman = ""
        for value, letters in ROMAN.items():
            times, number = divmod(number, value)
            roman += letters * times
        return roman.upper() if kind == "upperRoman" else roman
    if kind in ("lowerLetter", "upperLetter") and 0 < number <= 26 * NUM_LEVELS:
        # After z comes aa, then bb.
        letter = chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 + 1)
        return letter.upper() if kind == "upperLetter" else letter
    return f"{number:02}" if kind == "decimalZero" else str(number)


def _levels(element: etree._Element) -> dict[int, _Level]:
    found = {}
    for level in element.iter("{*}lvl"):
        number = attribute(level, "ilvl") or ""
        if number.isdecimal():
            start = _value(level, "start") or "1"
            kind, text = _value(level, "numFmt") or "decimal", _value(level, "lvlText") or ""
            found[int(number)] = _Level(int(start) if start.isdecimal() else 1, kind, text)
    return found


def _value(element: etree._Element, name: str) -> str | None:
    child = element.find("{*}" + name)
    return None if child is None else attribute(child, "val")
