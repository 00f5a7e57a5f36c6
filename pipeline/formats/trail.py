"""Pieces of a document's text, and where in the document each of their characters is."""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.formats import damage

CRLF = re.compile("\r\n")


@dataclass(frozen=True)
class Piece:
    """Some text of a document, with its offset."""

    text: str
    """Line ends are `\\n`."""
    offset: int
    """Offset of its first character: in bytes of the decompressed content, or in characters of a parsed document."""
    encoding: str | None = None
    """Encoding of the bytes; None while all of them were ASCII, and for parsed documents."""
    raw: str | None = None
    """The text with its original line ends, and with damaged bytes as `damage` writes them; None if it is the same."""
    is_exact: bool = True
    """Whether offsets within the text can be computed: not if a character has encodings of different lengths, such as
    a tilde in EUC-JP, nor if bytes were left out."""


class Trail:
    """Maps positions in a stream of text back to offsets in the document, for a consumer that splits the text
    differently.

    Each position is computed from the previous one: from the start of its piece, many positions would take quadratic
    time.
    """

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self._place = self._raw_place = self._raw_length = 0

    def follow(self, pieces: Iterable[Piece]) -> Iterator[str]:
        """The texts of the pieces, each remembered as it is taken."""
        for piece in pieces:
            self._pieces.append(piece)
            yield piece.text

    def advance(self, chars: int) -> None:
        """Move the position forward by `chars` characters, at most to the end of the text followed so far."""
        while chars > (left := len(self._pieces[0].text) - self._place):
            chars -= left
            self._pieces.popleft()
            self._place = self._raw_place = self._raw_length = 0
        piece = self._pieces[0]
        self._place += chars
        if piece.is_exact:
            raw, start = piece.text if piece.raw is None else piece.raw, self._raw_place
            self._raw_place += chars + (0 if piece.raw is None else _num_pairs(raw, start, chars))
            passed = raw[start : self._raw_place]
            self._raw_length += damage.num_bytes(passed, piece.encoding) if piece.encoding else len(passed)

    @property
    def offset(self) -> int | None:
        """Offset of the current position, in the unit of `Piece.offset`; None if it cannot be computed."""
        return self._pieces[0].offset + self._raw_length if self._pieces[0].is_exact else None

    @property
    def encoding(self) -> str | None:
        """Encoding of the bytes before the current position, as in `Piece.encoding`."""
        return self._pieces[0].encoding


def _num_pairs(raw: str, start: int, chars: int) -> int:
    """Number of `\\r\\n` line ends among the next `chars` characters of the translated text."""
    pairs = 0
    for pair in CRLF.finditer(raw, start, start + 2 * chars):
        if pair.start() - pairs - start >= chars:
            break
        pairs += 1
    return pairs
