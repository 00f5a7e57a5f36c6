"""Text to token ids, cut at canonical places.

A document must give the same tokens whole, in pieces and after it has grown. So the text is cut where the text
itself says, counted from its start, and each part is encoded by itself: after the first line end at or beyond
`PART_CHARS` characters; failing that after the first blank at or beyond twice that; failing that at three times it.
Only the part after the last cut can change when a document grows.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from models.tokenizer import Tokenizer
from pipeline.sections import SectionFinder

PART_CHARS = 4096
TOKEN_DTYPE = np.int32


def cut(pieces: Iterable[str]) -> Iterator[str]:
    """Regroup pieces of text, however they were cut, into parts with canonical ends. Memory: one part and one piece."""
    held = ""
    for piece in pieces:
        held += piece
        start = 0
        while (end := _cut_at(held, start)) is not None:
            yield held[start:end]
            start = end
        held = held[start:]
    if held:
        yield held


def tokens(pieces: Iterable[str], tokenizer: Tokenizer, finder: SectionFinder | None = None) -> np.ndarray:
    """All token ids of a document (L,) int32, the begin token first; `finder` hears of every part."""
    ids, count = [begin(tokenizer)], 1
    for part in cut(pieces):
        ids.append(encode(part, tokenizer, count, finder))
        count += len(ids[-1])
    return np.concatenate(ids)


def begin(tokenizer: Tokenizer) -> np.ndarray:
    """What stands before a document (1,) int32."""
    return np.array([tokenizer.begin_id], TOKEN_DTYPE)


def encode(part: str, tokenizer: Tokenizer, tokens_before: int, finder: SectionFinder | None) -> np.ndarray:
    """The token ids of one part (N,) int32."""
    if finder is None:
        return np.array(tokenizer.encode(part), TOKEN_DTYPE)
    ids, places = tokenizer.encode_with_places(part)
    finder.add(part, places, tokens_before)
    return np.array(ids, TOKEN_DTYPE)


def _cut_at(text: str, start: int) -> int | None:
    """Where the part that begins at `start` ends, or None while more text could still decide it."""
    soft, blank, hard = (start + times * PART_CHARS for times in (1, 2, 3))
    if (line_end := text.find("\n", soft - 1, blank)) >= 0:
        return line_end + 1
    if len(text) < blank:
        return None
    for place in range(blank - 1, min(hard, len(text))):
        if text[place].isspace():
            return place + 1
    return hard if len(text) >= hard else None
