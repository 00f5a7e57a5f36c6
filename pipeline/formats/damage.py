"""Bytes that are not valid in a document's encoding, and how many of them a document may have.

While text is decoded, a bad byte stands as a lone surrogate, U+DC00 plus the byte, which no valid text contains. So bad
bytes can be counted, and encoded again to the bytes that they were: offsets stay exact.
"""

import codecs
import re

from configs.errors import UndecodableError

ESCAPE = "longhaul-escape"
"""Name of the error handler, for codecs in both directions."""
ESCAPED = re.compile("[\udc00-\udcff]")
NULS = re.compile("\0+")
MAX_SHARE = 1 / 1000
FEW = 3
"""Bad bytes that a text may have anyway, as many as a character that is cut at the end of a log can leave."""
CHARS_PER_FEW = 50
"""Of text for each of those."""
MAX_NULS_BESIDE_TEXT = 4096
"""NULs come in blocks, where a computer lost its power; up to half of a document may be NULs, or so many."""


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeDecodeError):
        return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end
    if isinstance(error, UnicodeEncodeError):
        bad = error.object[error.start : error.end]
        if not ESCAPED.sub("", bad):
            return bytes(ord(character) - 0xDC00 for character in bad), error.end
    raise error


codecs.register_error(ESCAPE, _escape)


def num_bytes(text: str, encoding: str) -> int:
    """Number of bytes that a text with escaped bytes was decoded from."""
    return len(text.encode(encoding, ESCAPE))


def most(num_chars: int) -> float:
    """How many bad bytes so many characters may have among them."""
    return max(num_chars * MAX_SHARE, min(FEW, num_chars // CHARS_PER_FEW))


class Damage:
    """What is damaged in a document, as far as it is read."""

    def __init__(self) -> None:
        self.first_bad: int | None = None
        """Offset of the first bad byte."""
        self._bad = self._nuls = self._blocks = self._chars = 0

    def repaired(self, text: str) -> str:
        """The text with U+FFFD for each escaped byte, and without NULs. Both are counted."""
        if "\0" in text:
            blocks = NULS.findall(text)
            self._blocks += len(blocks)
            self._nuls += sum(map(len, blocks))
            text = NULS.sub("", text)
        self._chars += len(text)
        if self.first_bad is None:
            return text
        text, bad = ESCAPED.subn("\ufffd", text)
        self._bad += bad
        return text

    def refuse_too_much(self, encoding: str) -> None:
        """Raises UndecodableError if there is more damage than in a text that is worth reading."""
        allowed = most(self._chars)
        if self._bad > allowed:
            raise UndecodableError(
                f"The document is not readable text: byte {self.first_bad} is not valid {encoding}, and it is one of "
                f"{self._bad} among {self._chars} characters, more than one in a thousand."
            )
        if self._blocks > allowed or self._nuls > max(MAX_NULS_BESIDE_TEXT, self._chars):
            raise UndecodableError(
                f"The document is binary, not text: it has {self._nuls} NULs beside {self._chars} characters."
            )

    def warnings(self, encoding: str) -> list[str]:
        """A sentence for each kind of damage."""
        said = []
        if self._bad:
            is_not, was = ("byte is not", "was") if self._bad == 1 else ("bytes are not", "were")
            said.append(f"{self._bad} {is_not} valid {encoding} and {was} replaced.")
        if self._nuls:
            said.append(f"{self._nuls} NUL {'byte was' if self._nuls == 1 else 'bytes were'} left out.")
        return said
