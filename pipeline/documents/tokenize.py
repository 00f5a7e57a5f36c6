"""Text to token ids, cut at canonical places.

A document must give the same tokens whole, in pieces and after it has grown. So each cut depends only on the text
before it, and each part is encoded by itself. A part ends after the first line end at or beyond `PART_CHARS`
characters; failing that after the first blank at or beyond twice that; failing that at three times it. Only the part
after the last cut can change when a document grows.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from configs.errors import TooLargeError
from models.weights.tokenizer import Tokenizer
from pipeline.documents.sections import SectionFinder
from pipeline.formats.trail import Piece, Trail

PART_CHARS = 4096
TOKEN_DTYPE = np.int32
TOKENS_PER_BYTE = 0.3
"""An estimate for text that has not been tokenized yet."""
DIGEST_BYTES = 16


@dataclass(frozen=True)
class Position:
    """A canonical cut of a document, where reading can be resumed."""

    tokens: int = 0
    """Number of tokens before the cut, including the begin token if the document has it."""
    offset: int = 0
    """Offset of the cut in bytes of the decompressed content; in characters of the text of parsed documents."""
    encoding: str | None = None
    """Encoding of the bytes before the cut; None if all of them are ASCII."""
    parts: int = 0
    """Before the cut."""
    digest: str = ""
    """Digest of the text of those parts, from `chained`. With the tokenizer's fingerprint it identifies the tokens, and
    it can be verified without tokenizing again."""


START = Position()
"""Of a document."""


@dataclass(frozen=True)
class Passage:
    """A canonical part of a document before it is tokenized, and its position."""

    text: str
    offset: int | None
    """As in a `Position`; None if it cannot be computed."""
    encoding: str | None
    parts: int
    digest: str

    def position(self, num_tokens: int) -> Position | None:
        """Its beginning as a `Position` after `tokens` tokens; None if reading cannot be resumed there."""
        if self.offset is None:
            return None
        return Position(num_tokens, self.offset, self.encoding, self.parts, self.digest)


@dataclass(frozen=True)
class Part:
    """A canonical part of a document."""

    tokens: np.ndarray
    """(N,) int32; in the first part of a document including its begin token."""
    start: Position | None
    """Its beginning; None if reading cannot be resumed there."""


def cut(pieces: Iterable[str]) -> Iterator[str]:
    """Regroup pieces of text, split anywhere, into canonical parts. Memory: one part and one piece."""
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
    """Tokenize the passages of a document, which follow `num_tokens` tokens; each is passed to `finder`.

    Raises TooLargeError instead of the part that takes the document over `max_tokens`.
    """
    for passage in texts:
        begin = [] if num_tokens else list(tokenizer.begin)
        ids = _encode(passage.text, tokenizer, num_tokens + len(begin), finder)
        start, num_tokens = passage.position(num_tokens), num_tokens + len(begin) + len(ids)
        if max_tokens is not None and num_tokens > max_tokens:
            raise TooLargeError(
                f"The document has more than {max_tokens} tokens, the limit that input.max_document_tokens sets."
            )
        yield Part(np.array(begin + ids, TOKEN_DTYPE), start)


def tokens(texts: Iterable[str], tokenizer: Tokenizer) -> np.ndarray:
    """All token ids of a text (L,) int32, after what a document begins with."""
    ids = (np.array(tokenizer.encode(part), TOKEN_DTYPE) for part in cut(texts))
    return np.concatenate([np.array(tokenizer.begin, TOKEN_DTYPE), *ids])


def chained(digest: str, text: str) -> str:
    """The digest of a text and what precedes it, whose digest is `digest`, if any."""
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
