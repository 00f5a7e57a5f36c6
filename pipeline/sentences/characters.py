"""The characters of many sentences at a time, counted by class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.sentences.splitter import Sentence
from pipeline.sentences.words import CJK

Array = npt.NDArray[Any]

CLASSES = {
    "digit": "0123456789",
    "quote": '"',
    "opened": "(",
    "closed": ")",
    "said_open": "“",
    "said_close": "”",
    "bracket": "[",
    "unbracket": "]",
    "tick": "`",
    "line": "_",
    "comma": ",",
    "symbol": "{}|<>=\\^$#@~+*/&%",
    "point": ";:-—–'’‘",
    "final": ".!?…。！？",
    "cjk": "",
}
PLANE = 0x10000
"""Characters beyond it are of no class."""


def _classes() -> Array:
    """The class of each character, counted from one."""
    found = np.zeros(PLANE, np.uint8)
    for place, characters in enumerate(CLASSES.values(), start=1):
        found[[ord(character) for character in characters]] = place
    for first, last in zip(CJK[::3], CJK[2::3], strict=True):
        found[ord(first) : ord(last) + 1] = len(CLASSES)
    return found


_CLASS = _classes()
_PLACES = {name: place for place, name in enumerate(CLASSES)}


class Characters:
    """Of a batch of sentences."""

    def __init__(self, sentences: Sequence[Sentence]) -> None:
        num, width = len(sentences), len(CLASSES) + 1
        self.lengths = np.fromiter((len(sentence.text) for sentence in sentences), np.int64, num)
        joined = "".join(sentence.text for sentence in sentences).encode("utf-32-le", "surrogatepass")
        classes = _CLASS[np.minimum(np.frombuffer(joined, np.uint32), PLANE - 1)]
        keys = np.repeat(np.arange(num) * width, self.lengths) + classes
        self._counts = np.bincount(keys, minlength=num * width).reshape(num, width)[:, 1:]

    def of(self, *names: str) -> Array:
        """How many characters of some classes each sentence has."""
        return np.asarray(sum(self._counts[:, _PLACES[name]] for name in names))
