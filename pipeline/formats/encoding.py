"""Bytes to text: which encoding they are in, and decoding piece by piece.

The encoding is, in this order: that of a byte order mark, `input.encoding`, UTF-8 if the bytes are valid in it, the one
that the document declares, and that which `detection` guesses.
"""

import codecs
import re
from collections.abc import Iterable, Iterator

from configs import encodings
from configs.errors import UndecodableError
from configs.settings import InputSettings
from pipeline.formats import damage, detection, seven_bit
from pipeline.formats.damage import Damage
from pipeline.formats.notes import Choice, Notes
from pipeline.formats.trail import Piece

# The longer marks first: that of UTF-32 begins with that of UTF-16.
BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
# A declaration that could be read as ASCII cannot be in UTF-16; x-user-defined is read as browsers do.
NOT_DECLARED = {**dict.fromkeys(detection.WIDE), "x-user-defined": "cp1252"}
SAMPLE_BYTES = 64 * 1024
MAX_CONTROL_SHARE = 0.1
CONTROL = re.compile(r"[\x01-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
CONTROL_IN_ASCII = bytes([*range(1, 9), *range(14, 32), 127])
CONTROL_BEYOND = b"\xc2"
"""With which the others begin in UTF-8, as some letters do."""
TERMINAL = re.compile(r"\x1b[\[\]()]")
"""With which programs color their logs."""
CJK = {*detection.CJK, "big5hkscs", "cp950", "gbk"}
HIGH = re.compile(rb"[\x80-\xff]")


def codec_of(label: str) -> str | None:
    """The codec of an encoding that a document declares; None if the document cannot be in it."""
    codec = encodings.codec_of(label)
    return NOT_DECLARED.get(codec, codec) if codec else None


def made_by(settings: InputSettings) -> str:
    """What text depends on beside its bytes and parser: the settings of its encoding, if they are not the default."""
    encoding = f" encoding={encodings.codec_of(settings.encoding)}" if settings.encoding else ""
    return encoding + (f" errors={settings.errors}" if settings.errors != "replace" else "")


def decode(
    parts: Iterable[bytes],
    declared: str | None = None,
    notes: Notes | None = None,
    settings: InputSettings | None = None,
) -> Iterator[str]:
    """Decode bytes, split anywhere, to text with `\\n` line ends. `declared` is the codec that the document declares.

    Raises UndecodableError, also for more damage than `input.errors` allows; what is allowed is told in
    `notes.warnings`. Without `settings`, the defaults apply.
    """
    return (piece.text for piece in decode_pieces(parts, declared, notes=notes, settings=settings))


def decode_pieces(
    parts: Iterable[bytes],
    declared: str | None = None,
    offset: int = 0,
    encoding: str | None = None,
    known: int = 0,
    notes: Notes | None = None,
    settings: InputSettings | None = None,
) -> Iterator[Piece]:
    """Like `decode`, with offsets. Memory grows with the largest part, not with the document.

    To resume at an `offset` from an earlier `Trail`, give that trail's `encoding`. The first `known` bytes of the parts
    are ASCII from before the offset, which detection of a still unknown encoding takes into account. Damage is counted
    from the offset on.
    """
    decoder = _Decoder(declared, offset - known, encoding, known, notes or Notes(), settings)
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

    def __init__(
        self,
        declared: str | None,
        consumed: int,
        encoding: str | None,
        known: int,
        notes: Notes,
        settings: InputSettings | None,
    ) -> None:
        self._declared, self._notes = declared, notes
        self._set = encodings.codec_of(settings.encoding) if settings and settings.encoding else None
        self._is_strict = settings is not None and settings.errors == "strict"
        self._damage = Damage()
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
        translated = self._translated(text, final)
        if final:
            self._notes.warnings += self._damage.warnings(_name(self._encoding))
        return translated

    def _decoded(self, piece: bytes, final: bool) -> str:
        """With escapes of bad bytes and with NULs."""
        new = piece[self._known :] if self._known else piece
        text = self._with_escapes(new, final) if self._codec else new.decode("ascii")
        if self._is_strict and (place := text.find("\0")) >= 0:
            raise UndecodableError(
                f"The document is binary, not text: a NUL about {place} characters after byte {self._consumed}."
            )
        # A piece that is resumed in its middle was checked as a whole when it was first read.
        if not self._resumed and _is_binary(text):
            raise UndecodableError(f"The document is binary, not text: control characters after byte {self._consumed}.")
        return text.replace("\x85", "\n") if self._encoding in detection.EBCDIC else text

    def _with_escapes(self, new: bytes, final: bool) -> str:
        assert self._codec is not None
        state = self._codec.getstate()
        try:
            return self._codec.decode(new, final)
        except UnicodeDecodeError as error:
            # The decoder's input began with bytes that it had held back from the previous piece.
            bad = self._consumed + self._known + len(new) - len(error.object) + error.start
            if self._is_strict:
                raise _broken(bad, _name(self._encoding)) from error
        if self._damage.first_bad is None:
            self._damage.first_bad = bad
        self._codec.setstate(state)
        self._codec.errors = damage.ESCAPE
        try:
            return self._codec.decode(new, final)
        finally:
            self._codec.errors = "strict"

    def _translated(self, decoded: str, final: bool) -> Piece | None:
        """With `\\n` line ends, and without damage. A carriage return at the end is held back, since a line feed may
        follow."""
        raw, self._carriage_return = self._carriage_return + decoded, ""
        if not final and raw.endswith("\r"):
            raw, self._carriage_return = raw[:-1], "\r"
        if not raw:
            return None
        offset, self._offset = self._offset, self._consumed - self._num_held_back()
        is_exact = self._is_exact(raw, self._offset - offset)
        text = self._damage.repaired(raw)
        self._damage.refuse_too_much(_name(self._encoding))
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return Piece(text, offset, self._encoding, None if text == raw else raw, is_exact)

    def _is_exact(self, raw: str, num_bytes: int) -> bool:
        """Whether encoding the characters gives the bytes that they were decoded from."""
        if self._encoding in seven_bit.ENCODINGS or "\0" in raw:
            return False
        # In all others, a character without damage has one length, and in those of one byte, damage has it as well.
        if self._encoding in CJK:
            return damage.num_bytes(raw, self._encoding) == num_bytes
        is_sound = self._damage.first_bad is None or damage.ESCAPED.search(raw) is None
        return is_sound or self._encoding not in detection.WIDE

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
        if self._set:
            return self._set, "set"
        if self._consumed == 0 and b"\0" in piece[:SAMPLE_BYTES] and (wide := detection.wide(piece[:SAMPLE_BYTES])):
            return wide, "guessed"
        if piece.isascii():
            encoding = seven_bit.encoding_of(piece, self._declared)
            return (encoding, "declared" if encoding == self._declared else "guessed") if encoding else None
        if _num_bad(piece, "utf-8", final) == 0 and not self._is_declared_double_byte(piece, final):
            return "utf-8", "valid"
        # What declares UTF-8 and is not mostly in it is not in it.
        if self._declared not in (None, "utf-8") and self._is_readable(piece, self._declared, final):
            return self._declared, "declared"
        return self._guess(piece, final), "guessed"

    def _guess(self, piece: bytes, final: bool) -> str:
        few_bad = _num_bad(piece, "utf-8", final) <= damage.most(len(piece))
        if _share_of_utf8(piece) > (0.5 if few_bad else 0.9):
            return "utf-8"
        found = detection.guess(_sample(piece, final))
        if found.encoding:
            return found.encoding
        if found.rivals:
            raise UndecodableError(
                f"The document says nothing of its encoding, and it cannot be told whether it is "
                f"{' or '.join(found.rivals)}; say it with input.encoding."
            )
        if self._is_strict or not few_bad:
            raise _broken(self._consumed + _first_bad_byte(piece), "UTF-8", ", and no other encoding fits")
        return "utf-8"

    def _is_readable(self, piece: bytes, encoding: str, final: bool) -> bool:
        bad = _num_bad(piece, encoding, final)
        return bad == 0 or (not self._is_strict and bad <= damage.most(len(piece)))

    def _is_declared_double_byte(self, piece: bytes, final: bool) -> bool:
        """Whether bytes that happen to be valid UTF-8 are in a declared encoding of Chinese, Japanese or Korean: a few
        pairs of bytes can be both, but such characters have three bytes in UTF-8."""
        if self._declared not in CJK or _num_bad(piece, self._declared, final):
            return False
        return max(piece.decode("utf-8", "ignore")) < "\u0800"


def _is_binary(text: str) -> bool:
    most = MAX_CONTROL_SHARE * len(text)
    # Counting bytes takes a tenth of the time, and nearly always tells.
    data = text.encode("utf-8", "surrogatepass")
    if len(data) - len(data.translate(None, CONTROL_IN_ASCII)) + data.count(CONTROL_BEYOND) <= most:
        return False
    num_control = len(CONTROL.findall(text))
    return num_control > most and num_control - len(TERMINAL.findall(text)) > most


def _name(encoding: str | None) -> str:
    """As messages write it."""
    return (encoding or "utf-8").upper() if (encoding or "utf-8").startswith("utf") else str(encoding)


def _broken(offset: int, encoding: str, more: str = "") -> UndecodableError:
    return UndecodableError(f"The document is not readable text: byte {offset} is not valid {encoding}{more}.")


def _mark(piece: bytes) -> bytes:
    """The byte order mark that a document begins with."""
    return next((mark for mark in BOMS if piece.startswith(mark)), b"")


def _num_bad(piece: bytes, encoding: str, final: bool) -> int:
    """Number of bytes that are not valid."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(piece, final)
    except UnicodeDecodeError:
        decoder = codecs.getincrementaldecoder(encoding)("ignore")
        valid = decoder.decode(piece, final).encode(encoding, "ignore")
        return max(1, len(piece) - len(valid) - len(decoder.getstate()[0]))
    return 0


def _sample(piece: bytes, final: bool) -> bytes:
    """The surroundings of the first byte beyond ASCII, up to the end or to white space so that no character is cut."""
    first = HIGH.search(piece)
    start = max(0, (first.start() if first else 0) - SAMPLE_BYTES // 8)
    sample = piece[start : start + SAMPLE_BYTES].replace(b"\0", b"")
    if final and len(piece) <= start + SAMPLE_BYTES:
        return sample
    end = max(sample.rfind(blank) for blank in (b"\n", b"\r", b" ")) + 1
    return sample[:end] if end > len(sample) / 2 else sample


def _first_bad_byte(piece: bytes) -> int:
    try:
        piece.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return len(piece)


def _share_of_utf8(piece: bytes) -> float:
    """Share of the bytes beyond ASCII that make valid UTF-8: if most do, the rest is damage, not another encoding."""
    sample = piece[:SAMPLE_BYTES]
    beyond = len(HIGH.findall(sample))
    return len(HIGH.findall(sample.decode("utf-8", "ignore").encode())) / max(1, beyond)


def _require_plausible(sample: bytes, mark: bytes) -> None:
    """Raises UndecodableError if bytes begin with a mark of UTF-16 or UTF-32 but are not in that encoding."""
    encoding = BOMS[mark]
    text = codecs.getincrementaldecoder(encoding)("replace").decode(sample[len(mark) :])
    if not detection.is_plausible(text):
        raise UndecodableError(
            f"The document is not readable text: it has the mark of {encoding.upper()}, but the rest is not in it."
        )
