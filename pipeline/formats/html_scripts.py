"""Raised and lowered text: exponents, indices, notes. Run into the text before, they would make other numbers."""

import re

NOTES = re.compile(r"\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*")
LETTERED = re.compile(r"[a-h](?:\s*,\s*[a-h])*")
"""Of notes; other letters are exponents."""
DECIMAL = re.compile(r"[.,]\d+$|\d{3}$")
ORDINAL = {"st", "nd", "rd", "th", "er", "ère", "re", "e", "ème", "ers", "o", "a", "º", "ª", "os", "as", "te", "ter"}
MARKS = {"tm", "sm", "®", "©", "™", "℠", "*", "**", "***", "†", "‡", "§", "¶", "°", "º", "o"}
ATOM = re.compile(r"[+−–-]?[\w.,′∗*]+[+−–-]?|[+−–-]")
CURRENCIES = set("$€£¥")
AMOUNT = re.compile(r"[$€£¥]\s?(?!10$)\d[\d.,]*$")
YEAR = re.compile(r"(?<![\d.,])(?:1[5-9]\d|20[0-4])\d$")
"""What is raised after these is the number of a note."""
WORD = re.compile(r"[^\W\d_]+$")
UNIT_LETTERS = 3
"""Letters that a unit or variable has at most, which may have an exponent; longer words have notes."""
UNITS = {
    "inch",
    "inches",
    "foot",
    "feet",
    "yard",
    "yards",
    "mile",
    "miles",
    "acre",
    "meter",
    "meters",
    "metre",
    "metres",
}
LONGEST = 40
"""Longer text is no exponent but text."""
ELEMENT = re.compile(r"(?:^|[^a-z])[A-Z][a-z]?$|[\])]$")


def raised(before: str, text: str, after: str, is_link: bool) -> str:
    """What stands for raised text between the text before and after."""
    text = " ".join(text.split())
    if not text or not before or before[-1].isspace():
        return _leading(text, after)
    if text[0] in "([{" or len(text) > LONGEST:
        return text if text[0] in "([{" else " " + text
    if LETTERED.fullmatch(text) and (is_link or DECIMAL.search(before[-LONGEST:]) or _is_noted(before, text)):
        return _apart(f"[{text}]", after)
    if text.lower() in MARKS or (text.lower() in ORDINAL and before[-1].isdigit()):
        return text
    if NOTES.fullmatch(text) and (is_link or _is_noted(before, text)):
        return _apart(f"[{text}]", after)
    return _apart("^" + _grouped(text), after)


def lowered(before: str, text: str, after: str) -> str:
    """What stands for lowered text between the text before and after."""
    text = " ".join(text.split())
    if not text or not before or before[-1].isspace() or before[-1] in "/⁄" or text[0] in "([{" or len(text) > LONGEST:
        return text
    if text.isdigit() and ELEMENT.search(before[-3:]) and not after[:1].isdigit():
        return text
    return _apart("_" + _grouped(text), after)


def _leading(text: str, after: str) -> str:
    """Raised text at a beginning: the mass of an isotope, or the number of a note or verse."""
    if not NOTES.fullmatch(text):
        return text
    symbol = re.match(r"[A-Z][a-z]?(?![^\W\d_])", after)
    return f"^{text}" if symbol else _apart(f"[{text}]", after)


def _is_noted(before: str, text: str) -> bool:
    """Whether a number is that of a note, since nothing that has an exponent stands before it."""
    if text.isdigit() and (YEAR.search(before[-5:]) or _is_amount(before[-LONGEST:])):
        return True
    if before[-1].isdigit():
        return "," in text
    word = WORD.search(before[-LONGEST:])
    if word is None:
        return before[-1] not in ")]}|%°µΩ"
    return len(word[0]) > UNIT_LETTERS and word[0].lower() not in UNITS


def _is_amount(before: str) -> bool:
    return not CURRENCIES.isdisjoint(before) and AMOUNT.search(before) is not None


def _grouped(text: str) -> str:
    text = text.replace("−", "-").replace("–", "-")
    return text if ATOM.fullmatch(text) else f"({text})"


def _apart(text: str, after: str) -> str:
    return text + " " if after[:1].isalnum() else text
