"""Text to token ids, cut at canonical places.

A document must give the same tokens whole, in pieces and after it has grown. So the text is cut where the text
itself says, counted from its start, and each part is encoded by itself: after the first line end at or beyond
`PART_CHARS` characters; failing that after the first blank at or beyond twice that; failing that at three times it.
Only the part after the last cut can change when a document grows.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from configs.errors import TooLargeError
from models.weights.tokenizer import Tokenizer
from pipeline.documents.encoding import Piece, Trail
from pipeline.documents.sections import SectionFinder

PART_CHARS = 4096
TOKEN_DTYPE = np.int32
TOKENS_PER_BYTE = 0.3
"""Of text of which nothing is known yet."""
DIGEST_BYTES = 16


@dataclass(frozen=True)
class Position:
    """A canonical cut of a document: what to read it on from."""

    tokens: int = 0
    """Before the cut, the begin token among them."""
    offset: int = 0
    """Of the cut in the decompressed content, in bytes; in characters of the text for what is parsed whole."""
    encoding: str | None = None
    """Of the bytes before the cut, None where all of them are ASCII."""
    parts: int = 0
    """Before the cut."""
    digest: str = ""
    """Of the text of those parts, as `chained` gives it. Together with the tokenizer's fingerprint it says as much as
    one of the tokens would, and it can be checked without tokenizing again."""


START = Position()
"""Of a document."""


@dataclass(frozen=True)
class Passage:
    """A canonical part of a document before it is tokenized, and where it begins."""

    text: str
    offset: int | None
    """As in a `Position`; None where it cannot be told."""
    encoding: str | None
    parts: int
    digest: str

    def position(self, num_tokens: int) -> Position | None:
        """Its beginning, before which there are so many tokens; None where nobody can go on from there."""
        if self.offset is None:
            return None
        return Position(num_tokens, self.offset, self.encoding, self.parts, self.digest)


@dataclass(frozen=True)
class Part:
    """A canonical part of a document."""

    tokens: np.ndarray
    """(N,) int32, in the first part of a document the begin token among them."""
    start: Position | None
    """None where nobody can go on from there."""


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


def passages(pieces: Iterable[Piece], start: Position = START) -> Iterator[Passage]:
    """The canonical parts of a document, whose pieces begin at `start`. Memory: as for `cut`."""
    trail = Trail()
    offset: int | None = start.offset
    encoding, digest = start.encoding, start.digest
    for number, text in enumerate(cut(trail.follow(pieces)), start.parts):
        yield Passage(text, offset, encoding, number, digest)
        trail.advance(len(text))
        offset, encoding, digest = trail.offset, trail.encoding, chained(digest, text)


def parts(
    texts: Iterable[Passage],
    tokenizer: Tokenizer,
    finder: SectionFinder | None = None,
    num_tokens: int = 0,
    max_tokens: int | None = None,
) -> Iterator[Part]:
    """The passages of a document tokenized, before which there are `num_tokens`; `finder` hears of each.

    Raises TooLargeError instead of the part with which the document has more than `max_tokens`.
    """
    for passage in texts:
        begin = [] if num_tokens else [tokenizer.begin_id]
        ids = _encode(passage.text, tokenizer, num_tokens + len(begin), finder)
        start, num_tokens = passage.position(num_tokens), num_tokens + len(begin) + len(ids)
        if max_tokens is not None and num_tokens > max_tokens:
            raise TooLargeError(
                f"The document has more than {max_tokens} tokens, the limit that input.max_document_tokens sets."
            )
        yield Part(np.array(begin + ids, TOKEN_DTYPE), start)


def tokens(texts: Iterable[str], tokenizer: Tokenizer) -> np.ndarray:
    """All token ids of a text (L,) int32, the begin token first."""
    ids = (np.array(tokenizer.encode(part), TOKEN_DTYPE) for part in cut(texts))
    return np.concatenate([np.array([tokenizer.begin_id], TOKEN_DTYPE), *ids])


def chained(digest: str, text: str) -> str:
    """The digest of some text and what goes before it, which has the digest `digest`, or none."""
    return blake2b(bytes.fromhex(digest) + text.encode(), digest_size=DIGEST_BYTES).hexdigest()


def _encode(part: str, tokenizer: Tokenizer, tokens_before: int, finder: SectionFinder | None) -> list[int]:
    if finder is None:
        return tokenizer.encode(part)
    ids, places = tokenizer.encode_with_places(part)
    finder.add(part, places, tokens_before)
    return ids


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
