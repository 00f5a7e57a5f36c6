"""The numbers of lists and headings in Word documents, which their text does not hold: counted as Word does."""

import re
from dataclasses import dataclass, replace

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
        abstract = {_id(e, "abstractNumId"): _levels(e) for e in elements if local_name(e) == "abstractNum"}
        self._lists: dict[str, tuple[str, dict[int, _Level]]] = {}
        self._restarts: dict[str, set[int]] = {}
        """The levels at which a list begins anew where it is first used; else it counts on with those of its kind."""
        for element in (e for e in elements if local_name(e) == "num"):
            kind, name = _value(element, "abstractNumId") or "", _id(element, "numId")
            levels = dict(abstract.get(kind, {}))
            for override in (e for e in element if local_name(e) == "lvlOverride"):
                _override(levels, override)
                self._restarts.setdefault(name, set()).add(_integer(attribute(override, "ilvl"), 0))
            self._lists[name] = kind, levels
        self._counts: dict[str, list[int | None]] = {}

    def label(self, list_id: str, level: int) -> str:
        """What stands before the next paragraph of a list, with a blank after it; empty if the list is unknown."""
        key, levels = self._lists.get(list_id, ("", {}))
        found = levels.get(level)
        if found is None or level >= NUM_LEVELS:
            return ""
        counts = self._counts.setdefault(key, [None] * NUM_LEVELS)
        for restarted in self._restarts.pop(list_id, ()):
            counts[restarted:] = [None] * (NUM_LEVELS - restarted)
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
        kind, text = _value(level, "numFmt") or "decimal", _value(level, "lvlText") or ""
        found[_integer(attribute(level, "ilvl"), 0)] = _Level(_integer(_value(level, "start"), 1), kind, text)
    return found


def _override(levels: dict[int, _Level], override: etree._Element) -> None:
    levels |= _levels(override)
    number = _integer(attribute(override, "ilvl"), 0)
    start = _value(override, "startOverride")
    if start is not None and number in levels:
        levels[number] = replace(levels[number], start=_integer(start, 1))


def _id(element: etree._Element, name: str) -> str:
    return attribute(element, name) or ""


def _integer(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 10 else otherwise


def _value(element: etree._Element, name: str) -> str | None:
    child = element.find("{*}" + name)
    return None if child is None else attribute(child, "val")
