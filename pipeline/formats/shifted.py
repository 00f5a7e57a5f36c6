"""Text with raised and lowered parts, in formats that say of each run how it stands."""

from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from typing import Literal

from pipeline.formats.html_scripts import LONGEST, lowered, raised

Shift = Literal["", "raised", "lowered"]
Run = tuple[Shift, str]


def joined(runs: Iterable[Run]) -> str:
    """One text, with exponents and indices marked as in web pages."""
    merged = [(shift, "".join(text for _, text in group)) for shift, group in groupby(runs, key=itemgetter(0))]
    parts: list[str] = []
    before = ""
    for number, (shift, text) in enumerate(merged, 1):
        following = merged[number][1] if number < len(merged) else ""
        if shift == "raised":
            text = raised(before, text, following, False)
        elif shift == "lowered":
            text = lowered(before, text, following)
        parts.append(text)
        before = (before + text)[-LONGEST:]
    return "".join(parts)
