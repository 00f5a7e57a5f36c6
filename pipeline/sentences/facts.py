"""What a document holds, as a set of fixed size: its words and its numbers, however they are written."""

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.sentences.lexicon import listed

NUM_BITS = 2**24
NUM_HASHES = 4
"""Of 200,000 different words and numbers, as War and Peace has a tenth of, one in 200,000 others seems to be held; of
two million, one in 50. What is held is never missed."""
NUMBER = re.compile(
    r"(?<![\w.])(?:\d{1,3}(?:[,\u202f\u00a0]\d{3})+(?!\d)|\d+)(?:\.\d+)?"
    r"(?:\s?(?P<times>thousand|million|billion|trillion)\b)?",
    re.IGNORECASE,
)
WITH_COMMA = re.compile(r"(?<![\w.,])(\d{1,9}),(\d{1,2})(?![\d,])")
"""As most of Europe writes it."""
LONGEST_NUMBER = 40
TIMES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
SPELLED = {
    name: number
    for number, name in enumerate(
        listed("""
            zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
            seventeen eighteen nineteen twenty
        """)
    )
} | {name: tens * 10 for tens, name in enumerate(listed("thirty forty fifty sixty seventy eighty ninety"), 3)}
NAMES = {str(number): name for name, number in SPELLED.items()}


class Facts:
    """A Bloom filter of what was added."""

    def __init__(self, stored: npt.NDArray[Any] | None = None) -> None:
        self.bits = np.zeros(NUM_BITS // 8, np.uint8) if stored is None else stored.copy()

    def add(self, item: str) -> None:
        """A word in lower case, or a number as `numbers` gives it."""
        for place in _places(item):
            self.bits[place >> 3] |= 1 << (place & 7)

    def add_numbers(self, text: str) -> None:
        """Those that stand in a text."""
        for forms in numbers(text):
            for form in forms:
                self.add(form)
        for whole, part in WITH_COMMA.findall(text) if "," in text else ():
            self.add(_written(Decimal(f"{whole}.{part}")))

    def holds(self, items: Iterable[str]) -> bool:
        """Whether any of these was added."""
        return any(all(self.bits[place >> 3] >> (place & 7) & 1 for place in _places(item)) for item in items)


def numbers(text: str) -> Iterator[tuple[str, ...]]:
    """The numbers that stand in a text in digits, each in the ways that it may be written elsewhere."""
    for found in NUMBER.finditer(text):
        yield forms_of(found)


def forms_of(found: re.Match[str]) -> tuple[str, ...]:
    """Of a number: without commas and trailing zeros; multiplied too, where a million or the like follows."""
    digits = found.group().split(found["times"])[0] if found["times"] else found.group()
    plain = re.sub(r"[,\s]", "", digits)[:LONGEST_NUMBER]
    try:
        value = Decimal(plain)
    except InvalidOperation:
        return (plain,)
    times = TIMES.get((found["times"] or "").lower(), 0)
    own = _written(value)
    return (own, _written(value.scaleb(times))) if times else (own,)


def _written(value: Decimal) -> str:
    text = f"{value:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text.lstrip("0")) or "0"


def _places(item: str) -> list[int]:
    digest = int.from_bytes(blake2b(item.encode("utf-8", "surrogatepass"), digest_size=16).digest(), "little")
    return [digest >> 32 * at & NUM_BITS - 1 for at in range(NUM_HASHES)]
