"""The words of sentences: how they are found and stemmed, and what each says about the sentence that it stands in."""

import re
from collections.abc import Iterable

from pipeline.sentences.lexicon import COMMON, ENDINGS, MEANINGS, STOP_WORDS

CJK = "぀-ヿ㐀-鿿豈-﫿"
WORD = re.compile(rf"[{CJK}]|[^\W_{CJK}]+|\n")
"""Letters and digits; a character of Chinese or Japanese is a word; the end of a line is one too."""


SHAPES = ("number", "capital", "capitals")
FLAGS = (*MEANINGS, *ENDINGS, *SHAPES, *(f"says_{word}" for word in COMMON))

_COMMON = {word: place for place, word in enumerate(COMMON)}
_MEANT: dict[str, list[int]] = {word: [] for words in MEANINGS.values() for word in words}
for _place, _words in enumerate(MEANINGS.values()):
    for _word in _words:
        _MEANT[_word].append(_place)


def stem(word: str) -> str:
    """Of a word in lower case: without the endings of English that change no meaning."""
    if len(word) <= 3 or not word.isascii():
        return word
    if word[-1] == "s" and word[-2] not in "su":
        word = word[:-2] if word.endswith(("sses", "ies", "xes", "ches", "shes")) else word[:-1]
    for ending in ("ingly", "edly", "ing", "ed", "ly"):
        kept = word[: -len(ending)]
        if word.endswith(ending) and len(kept) >= 3 and any(map("aeiouy".__contains__, kept)):
            word = kept[:-1] if len(kept) > 3 and kept[-1] == kept[-2] and kept[-1] not in "lsz" else kept
            break
    if word[-1] in "ey" and len(word) > 3:
        word = word[:-1]
    return word[:-1] if word[-1] == "i" and len(word) > 3 else word


def flags(word: str) -> Iterable[int]:
    """Places in FLAGS that are true of a word as it is written."""
    lower = word.lower()
    yield from _MEANT.get(lower, ())
    yield from (len(MEANINGS) + at for at, ending in enumerate(ENDINGS.values()) if lower.endswith(ending))
    first = len(MEANINGS) + len(ENDINGS)
    if lower in _COMMON:
        yield first + len(SHAPES) + _COMMON[lower]
    if word[0].isdigit():
        yield first
    if word[0].isupper():
        yield first + 1
        if len(word) > 1 and word.isupper():
            yield first + 2


def is_content(word: str) -> bool:
    """Whether a word in lower case is about something."""
    return word not in STOP_WORDS


def tokens(text: str) -> list[str]:
    """The words of a text as they are written."""
    return WORD.findall(text)


def stems(text: str) -> list[str]:
    """Of the content words of a text."""
    return [stem(word) for word in tokens(text.lower()) if word != "\n" and is_content(word)]
