"""Bytes to text: which encoding they are in, and decoding piece by piece.

charset-normalizer proposes an encoding; implausible proposals are refused here, since a wrong guess would be
summarized.
"""

import codecs
import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from charset_normalizer import CharsetMatch, from_bytes
from charset_normalizer.md import mess_ratio
from webencodings import lookup

from configs.errors import UndecodableError
from pipeline.formats.notes import Choice, Notes

# The longer marks first: that of UTF-32 begins with that of UTF-16.
BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
# A declaration that could be read as ASCII cannot be in UTF-16; x-user-defined is read as browsers do.
NOT_DECLARED = {"utf-16-le": None, "utf-16-be": None, "replacement": None, "x-user-defined": "cp1252"}
SAMPLE_BYTES = 64 * 1024
MULTIBYTE = ("cp932", "euc_jp", "gb18030", "big5", "cp949")
LATIN = ("cp1252", "cp1250", "iso8859_2", "cp1254")
# Without cp850 and mac_roman, in which every byte is a character, so that any bytes are valid.
LEGACY = [*LATIN, *MULTIBYTE, "cp1251", "koi8_r", "cp1253", "cp1255", "cp1256"]
CLEARLY_BETTER = 0.05
MAX_MESS = 0.5
MAX_CJK_MESS = 0.1
MAX_CONTROL_SHARE = 0.1
MAX_ACCENT_SHARE = 0.3
MAX_CLUMP_SHARE = 0.25
MAX_UNASSIGNED_SHARE = 0.02
HIRAGANA = re.compile("[\u3041-\u309f]")
CRLF = re.compile("\r\n")
CONTROL = re.compile(r"[\x01-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
# Signs of Latin text read in the wrong encoding: accented letters in clumps, and symbols inside words.
CLUMP = re.compile(r"[^\x00-\x7f]{3,}")
SYMBOL_IN_WORD = re.compile(r"(?<=[^\W\d_])(?:[^\w\s\x00-\x7f\xad·‘’‐–—…]|[¹²³¼½¾])(?=[^\W\d_])")


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
    """The text with its original line ends, if they are not `\\n`."""
    is_exact: bool = True
    """Whether offsets within the text can be computed: not if a character has encodings of different lengths, such as
    a tilde in EUC-JP."""


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
        raw, start = piece.text if piece.raw is None else piece.raw, self._raw_place
        self._place += chars
        self._raw_place += chars + (0 if piece.raw is None else _num_pairs(raw, start, chars))
        passed = raw[start : self._raw_place]
        self._raw_length += len(passed.encode(piece.encoding)) if piece.encoding else len(passed)

    @property
    def offset(self) -> int | None:
        """Offset of the current position, in the unit of `Piece.offset`; None if it cannot be computed."""
        return self._pieces[0].offset + self._raw_length if self._pieces[0].is_exact else None

    @property
    def encoding(self) -> str | None:
        """Encoding of the bytes before the current position, as in `Piece.encoding`."""
        return self._pieces[0].encoding


def codec_of(label: str) -> str | None:
    """The codec of an encoding that a document declares; None if the document cannot be in it.

    Names are those of the WHATWG's list. Python knows more, some of which are not encodings of text: `hex`, `zip`.
    """
    found = lookup(label)
    return NOT_DECLARED.get(found.codec_info.name, found.codec_info.name) if found else None


def decode(parts: Iterable[bytes], declared: str | None = None, notes: Notes | None = None) -> Iterator[str]:
    """Decode bytes, split anywhere, to text with `\\n` line ends. `declared` is the codec that the document declares.

    The encoding is, in this order: that of a byte order mark, UTF-8, `declared`, the detected one. Raises
    UndecodableError; characters are never replaced.
    """
    return (piece.text for piece in decode_pieces(parts, declared, notes=notes))


def decode_pieces(
    parts: Iterable[bytes],
    declared: str | None = None,
    offset: int = 0,
    encoding: str | None = None,
    known: int = 0,
    notes: Notes | None = None,
) -> Iterator[Piece]:
    """Like `decode`, with offsets. Memory grows with the largest part, not with the document.

    To resume at an `offset` from an earlier `Trail`, give that trail's `encoding`. The first `known` bytes of the parts
    are ASCII from before the offset, which detection of a still unknown encoding takes into account.
    """
    decoder = _Decoder(declared, offset - known, encoding, known, notes or Notes())
    held = b""
    for part in parts:
        if held and (piece := decoder.decode(held)):
            yield piece
        held = part
    # The last piece is decoded as final, so that an accent at the very end is used for detection.
    if piece := decoder.decode(held, final=True):
        yield piece


def without_surrogates(text: str) -> str:
    """The text with pairs of surrogates joined and lone ones replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class _Decoder:
    """Decodes as ASCII up to the piece with the first other byte, and chooses the encoding there."""

    def __init__(self, declared: str | None, consumed: int, encoding: str | None, known: int, notes: Notes) -> None:
        self._declared, self._notes = declared, notes
        notes.encoding = encoding
        self._encoding = encoding
        self._codec = codecs.getincrementaldecoder(encoding)() if encoding else None
        self._consumed = consumed
        self._known = known
        self._offset = consumed + known
        self._resumed = self._offset > 0
        self._carriage_return = ""

    def decode(self, piece: bytes, final: bool = False) -> Piece | None:
        """The text that the bytes add, if any."""
        if self._codec is None and (choice := self._choose(piece, final)):
            encoding, self._notes.chosen_by = choice
            self._notes.encoding = self._encoding = encoding
            self._codec = codecs.getincrementaldecoder(encoding)()
            if self._consumed == 0:
                self._offset = self._known = len(_mark(piece))
        text = self._decoded(piece, final)
        self._consumed += len(piece)
        self._known, self._resumed = 0, False
        return self._translated(text, final)

    def _decoded(self, piece: bytes, final: bool) -> str:
        new = piece[self._known :] if self._known else piece
        try:
            text = self._codec.decode(new, final) if self._codec else new.decode("ascii")
        except UnicodeDecodeError as error:
            # The decoder's input began with bytes that it had held back from the previous piece.
            place = self._consumed + len(piece) - len(error.object) + error.start
            raise self._broken(place, str(self._encoding)) from error
        if (place := text.find("\0")) >= 0:
            raise UndecodableError(
                f"The document is binary, not text: a NUL about {place} characters after byte {self._consumed}."
            )
        # A piece that is resumed in its middle was checked as a whole when it was first read.
        if not self._resumed and len(CONTROL.findall(text)) > MAX_CONTROL_SHARE * len(text):
            raise UndecodableError(f"The document is binary, not text: control characters after byte {self._consumed}.")
        return text

    def _translated(self, text: str, final: bool) -> Piece | None:
        """With `\\n` line ends; a carriage return at the end is held back, since a line feed may follow."""
        raw, self._carriage_return = self._carriage_return + text, ""
        if not final and raw.endswith("\r"):
            raw, self._carriage_return = raw[:-1], "\r"
        if not raw:
            return None
        offset, self._offset = self._offset, self._consumed - self._num_held_back()
        # In all other encodings chosen here, encoding a character gives as many bytes as it was decoded from.
        is_exact = self._encoding not in MULTIBYTE or len(raw.encode(self._encoding)) == self._offset - offset
        if "\r" not in raw:
            return Piece(raw, offset, self._encoding, is_exact=is_exact)
        return Piece(raw.replace("\r\n", "\n").replace("\r", "\n"), offset, self._encoding, raw, is_exact)

    def _num_held_back(self) -> int:
        """Number of bytes that are in no piece yet: an incomplete character, or a carriage return."""
        if self._codec is None:
            return len(self._carriage_return)
        return len(self._codec.getstate()[0]) + len(self._carriage_return.encode(self._encoding or ""))

    def _choose(self, piece: bytes, final: bool) -> tuple[str, Choice] | None:
        """The encoding of the document, and why; None while all of it is ASCII. Raises UndecodableError."""
        if self._consumed == 0 and (mark := _mark(piece)):
            if mark != codecs.BOM_UTF8:
                _require_plausible(piece[:SAMPLE_BYTES], mark)
            return BOMS[mark], "mark"
        if piece.isascii():
            return None
        if _is_valid(piece, "utf-8", final):
            return "utf-8", "valid"
        if self._declared and _is_valid(piece, self._declared, final):
            return self._declared, "declared"
        bad = _first_bad_byte(piece)
        encoding = None if b"\0" in piece or _is_mostly_utf8(piece) else _detect(_sample(piece))
        if encoding is None:
            raise self._broken(self._consumed + bad, "UTF-8", ", and no other encoding fits")
        return encoding, "guessed"

    def _broken(self, offset: int, encoding: str, more: str = "") -> UndecodableError:
        return UndecodableError(f"The document is not readable text: byte {offset} is not valid {encoding}{more}.")


def _mark(piece: bytes) -> bytes:
    """The byte order mark that a document begins with."""
    return next((mark for mark in BOMS if piece.startswith(mark)), b"")


def _num_pairs(raw: str, start: int, chars: int) -> int:
    """Number of `\\r\\n` line ends among the next `chars` characters of the translated text."""
    pairs = 0
    for pair in CRLF.finditer(raw, start, start + 2 * chars):
        if pair.start() - pairs - start >= chars:
            break
        pairs += 1
    return pairs


def _is_valid(piece: bytes, encoding: str, final: bool) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(piece, final)
    except (UnicodeError, LookupError):
        return False
    return True


def _sample(piece: bytes) -> bytes:
    """The surroundings of the first byte beyond ASCII, up to white space so that no character is cut."""
    start = max(0, next(place for place, byte in enumerate(piece) if byte > 127) - SAMPLE_BYTES // 8)
    sample = piece[start : start + SAMPLE_BYTES]
    end = max(sample.rfind(blank) for blank in (b"\n", b"\r", b" ")) + 1
    return sample[:end] if end > len(sample) / 2 else sample


def _first_bad_byte(piece: bytes) -> int:
    try:
        piece.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return len(piece)


def _is_mostly_utf8(piece: bytes) -> bool:
    """Whether most bytes beyond ASCII make valid UTF-8: then the rest is damage, not another encoding."""
    beyond = sum(byte > 127 for byte in piece[:SAMPLE_BYTES])
    valid = sum(byte > 127 for byte in piece[:SAMPLE_BYTES].decode("utf-8", "ignore").encode())
    return valid > beyond / 2


def _require_plausible(sample: bytes, mark: bytes) -> None:
    """Raises UndecodableError if bytes begin with a mark of UTF-16 or UTF-32 but are not in that encoding."""
    encoding = BOMS[mark]
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(sample[len(mark) :])
    except UnicodeDecodeError as error:
        raise UndecodableError(
            f"The document is not readable text: it begins with the mark of {encoding.upper()}, but byte "
            f"{len(mark) + error.start} is not valid in it."
        ) from error
    unassigned = sum(unicodedata.category(character) in ("Cn", "Co") for character in text)
    too_many = unassigned > MAX_UNASSIGNED_SHARE * len(text)
    if too_many or "\ufeff" in text or mess_ratio(text[:4096], 1.0) >= MAX_MESS:
        raise UndecodableError(
            f"The document is not readable text: it has the mark of {encoding.upper()}, but the rest is not in it."
        )


def _detect(sample: bytes) -> str | None:
    """The legacy encoding in which a sample looks like natural language; None if there is none.

    Western European is preferred unless another is clearly better: most texts are in it, and a few accents are weak
    evidence.
    """
    found = from_bytes(sample, cp_isolation=LEGACY)
    western = max((match.coherence for match in found if "cp1252" in match.could_be_from_charset), default=0.0)
    # Kana are the strongest sign of Japanese, while their bytes are valid in every CJK encoding.
    matches = sorted((match for match in found if _is_language(sample, match)), key=_kana_share, reverse=True)
    if _is_latin(sample, "cp1252"):
        matches = [match for match in matches if match.coherence > western + CLEARLY_BETTER]
        return matches[0].encoding if matches else "cp1252"
    return matches[0].encoding if matches else None


def _is_language(sample: bytes, match: CharsetMatch) -> bool:
    # Letter frequencies identify a language, but not among the thousands of characters of CJK.
    if match.encoding in MULTIBYTE:
        return match.chaos <= MAX_CJK_MESS
    return match.coherence > 0 and (match.encoding not in LATIN or _is_latin(sample, match.encoding))


def _kana_share(match: CharsetMatch) -> float:
    text = str(match)
    return round(len(HIRAGANA.findall(text)) / len(text), 1) if match.encoding in MULTIBYTE else 0.0


def _is_latin(sample: bytes, encoding: str) -> bool:
    text = sample.decode(encoding, "replace")
    beyond = sum(not character.isascii() for character in text)
    clumped = sum(map(len, CLUMP.findall(text)))
    plausible = beyond <= MAX_ACCENT_SHARE * len(text) and clumped <= MAX_CLUMP_SHARE * beyond
    return plausible and "\ufffd" not in text and not SYMBOL_IN_WORD.search(text)
