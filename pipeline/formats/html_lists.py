"""The marks of list items."""

from lxml import etree

BULLET = "- "
ROMAN = {
    **{1000: "m", 900: "cm", 500: "d", 400: "cd", 100: "c", 90: "xc"},
    **{50: "l", 40: "xl", 10: "x", 9: "ix", 5: "v", 4: "iv", 1: "i"},
}
LARGEST_ROMAN = 3999


class Numbering:
    """Of the items of one list."""

    def __init__(self, element: etree._Element) -> None:
        self._style = element.get("type", "1") if element.tag == "ol" else None
        self._step = 1 if element.get("reversed") is None else -1
        first = 1 if self._step == 1 else sum(child.tag == "li" for child in element)
        self._next = _integer(element.get("start"), first)

    def mark(self, item: etree._Element) -> str:
        """Of the next item."""
        if self._style is None:
            return BULLET
        number = _integer(item.get("value"), self._next)
        self._next = number + self._step
        return f"{_written(number, self._style)}. "


def _integer(text: str | None, otherwise: int) -> int:
    try:
        return int(text) if text is not None and len(text) < 10 else otherwise
    except ValueError:
        return otherwise


def _written(number: int, style: str) -> str:
    if style in "aA" and number > 0:
        letters = ""
        while number:
            number, digit = divmod(number - 1, 26)
            letters = chr(ord("a") + digit) + letters
    elif style in "iI" and 0 < number <= LARGEST_ROMAN:
        letters = ""
        for value, sign in ROMAN.items():
            letters += sign * (number // value)
            number %= value
    else:
        return str(number)
    return letters.upper() if style.isupper() else letters
