"""The bytes of a document: fetched, decompressed, decoded, a piece at a time."""

import codecs
import gzip
import io
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import zstandard
from charset_normalizer import CharsetMatch, from_bytes
from charset_normalizer.md import mess_ratio

from configs.errors import CorruptError, TooLargeError, UndecodableError, UnreadableError
from pipeline import storage

PIECE_BYTES = 1024 * 1024
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
COMPRESSION_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
MAX_ZSTD_WINDOW = 2**27
# One fed byte can come out as tens of thousands.
ZSTD_FEED_BYTES = 1024

BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SAMPLE_BYTES = 64 * 1024
MULTIBYTE = ("cp932", "euc_jp", "gb18030", "big5", "cp949")
LATIN = ("cp1252", "cp1250", "iso8859_2", "cp1254")
# Without cp850 and mac_roman, in which every byte is a character and so nothing is ever wrong.
LEGACY = [*LATIN, *MULTIBYTE, "cp1251", "koi8_r", "cp1253", "cp1255", "cp1256"]
CLEARLY_BETTER = 0.05
MAX_MESS = 0.5
MAX_CJK_MESS = 0.1
MAX_CONTROL_SHARE = 0.1
MAX_ACCENT_SHARE = 0.3
MAX_CLUMP_SHARE = 0.25
MAX_UNASSIGNED_SHARE = 0.02
HIRAGANA = re.compile("[\u3041-\u309f]")
CONTROL = re.compile(r"[\x01-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
# Signs of Latin text read in the wrong encoding: accented letters in clumps, and symbols inside words.
CLUMP = re.compile(r"[^\x00-\x7f]{3,}")
SYMBOL_IN_WORD = re.compile(r"(?<=[^\W\d_])(?:[^\w\s\x00-\x7f\xad·‘’‐–—…]|[¹²³¼½¾])(?=[^\W\d_])")


def compression_of(name: str) -> str | None:
    """By the suffix of a name."""
    return next((kind for suffix, kind in COMPRESSIONS.items() if name.lower().endswith(suffix)), None)


def open_document(uri: str) -> BinaryIO:
    """The decompressed bytes; the stream is seekable where they are stored as they are.

    Raises UnreadableError here; reading raises CorruptError, or OSError from the store.
    """
    try:
        raw = storage.open_read(uri)
        head = raw.read(4)
        raw.seek(0)
    except OSError as error:
        raise unreadable(error) from error
    by_content = (kind for magic, kind in COMPRESSION_MAGIC.items() if head.startswith(magic))
    compression = compression_of(uri) or next(by_content, None)
    return io.BufferedReader(_Decompressed(raw, compression), PIECE_BYTES) if compression else raw


def unreadable(error: OSError) -> UnreadableError:
    """What the store says, as a sentence about the document."""
    if isinstance(error, FileNotFoundError):
        return UnreadableError("The document is not there any more.")
    if isinstance(error, PermissionError):
        return UnreadableError("There is no permission to read the document.")
    if isinstance(error, IsADirectoryError):
        return UnreadableError("This is a directory, not a document.")
    return UnreadableError(f"The document cannot be read: {error.strerror or error}.")


def pieces(stream: BinaryIO, max_bytes: int) -> Iterator[bytes]:
    """All of a stream. Raises TooLargeError at the first byte over the limit, UnreadableError, CorruptError."""
    total = 0
    try:
        while piece := stream.read(PIECE_BYTES):
            total += len(piece)
            if total > max_bytes:
                raise TooLargeError(
                    f"The document has more than {max_bytes} bytes after decompression, the limit that "
                    "input.max_document_bytes sets."
                )
            yield piece
    except OSError as error:
        raise unreadable(error) from error


def decode(parts: Iterable[bytes], declared: str | None = None) -> Iterator[str]:
    """Bytes as text with `\\n` line ends, however they are cut. `declared` is an encoding the document names itself.

    In order: a byte order mark, UTF-8, `declared`, detection. Raises UndecodableError; nothing is ever replaced.
    """
    decoder = _Decoder(declared)
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    held = b""
    for part in parts:
        if held and (text := newlines.decode(decoder.decode(held))):
            yield text
        held = part
    # The last piece is decoded as such, so that an accent at the very end takes part in choosing the encoding.
    if text := newlines.decode(decoder.decode(held, final=True), final=True):
        yield text


class RecordReader:
    """Reads records of JSON lines files. In file order, a compressed file is decompressed once."""

    def __init__(self) -> None:
        self._uri = ""
        self._stream: BinaryIO | None = None
        self._position = 0

    def read(self, uri: str, offset: int, length: int) -> bytes:
        """One record by its place in the decompressed file. Raises UnreadableError, CorruptError."""
        try:
            stream = self._stream_at(uri, offset)
            record = stream.read(length)
        except (OSError, CorruptError) as error:
            self._close()
            if isinstance(error, OSError):
                raise unreadable(error) from error
            raise
        self._position += len(record)
        if len(record) < length:
            raise UnreadableError("The file has become shorter since it was listed.")
        return record

    def _stream_at(self, uri: str, offset: int) -> BinaryIO:
        if self._stream is None or uri != self._uri or (offset < self._position and not self._stream.seekable()):
            self._close()
            self._stream, self._uri, self._position = open_document(uri), uri, 0
        if self._stream.seekable():
            self._position = self._stream.seek(offset)
        while self._position < offset and (skipped := self._stream.read(min(PIECE_BYTES, offset - self._position))):
            self._position += len(skipped)
        return self._stream

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = None

    __del__ = _close


class _Decompressed(io.RawIOBase):
    """The content of a gzip or zstd stream, each error of the container translated."""

    def __init__(self, raw: BinaryIO, compression: str) -> None:
        self._raw = raw
        self._compression = compression
        self._chunks = _gunzip(raw) if compression == "gzip" else _unzstd(raw)
        self._held = memoryview(b"")
        self._total = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._held:
            self._held = memoryview(self._next())
        size = min(len(buffer), len(self._held))
        buffer[:size], self._held = self._held[:size], self._held[size:]
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()

    def _next(self) -> bytes:
        try:
            chunk = next(self._chunks, b"")
        except EOFError as error:
            raise CorruptError(
                f"The {self._compression} data breaks off before its end, after {self._total} bytes of content: "
                "the file is cut short."
            ) from error
        except (gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
            raise CorruptError(
                f"The {self._compression} data is damaged after {self._total} bytes of content ({error})."
            ) from error
        self._total += len(chunk)
        return chunk


def _gunzip(raw: BinaryIO) -> Iterator[bytes]:
    # Unlike the plain read, read1 hands out what came before a break.
    with gzip.GzipFile(fileobj=raw) as content:
        while chunk := content.read1(PIECE_BYTES):
            yield chunk


def _unzstd(raw: BinaryIO) -> Iterator[bytes]:
    """Frame after frame. zstandard's own stream reader takes a file that is cut short for a whole one."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW)
    frame, fed = decompressor.decompressobj(), b""
    unfinished = False
    while fed := fed or raw.read(ZSTD_FEED_BYTES):
        unfinished = True
        if chunk := frame.decompress(fed):
            yield chunk
        fed = b""
        if frame.eof:
            frame, fed, unfinished = decompressor.decompressobj(), frame.unused_data, False
    if unfinished:
        raise EOFError


class _Decoder:
    """Takes bytes for ASCII up to the piece with the first other one, and chooses the encoding there."""

    def __init__(self, declared: str | None) -> None:
        self._declared = declared
        self._encoding = "ascii"
        self._codec: codecs.IncrementalDecoder | None = None
        self._consumed = 0

    def decode(self, piece: bytes, final: bool = False) -> str:
        if self._codec is None and (encoding := self._choose(piece, final)):
            self._encoding, self._codec = encoding, codecs.getincrementaldecoder(encoding)()
        try:
            text = self._codec.decode(piece, final) if self._codec else piece.decode("ascii")
        except UnicodeDecodeError as error:
            # What was decoded began with the bytes that the codec had held back of the piece before.
            raise self._broken(self._consumed + len(piece) - len(error.object) + error.start, self._encoding) from error
        if (place := text.find("\0")) >= 0:
            raise UndecodableError(
                f"The document is binary, not text: a NUL about {place} characters after byte {self._consumed}."
            )
        if len(CONTROL.findall(text)) > MAX_CONTROL_SHARE * len(text):
            raise UndecodableError(f"The document is binary, not text: control characters after byte {self._consumed}.")
        self._consumed += len(piece)
        return text

    def _choose(self, piece: bytes, final: bool) -> str | None:
        """None while all is ASCII."""
        if self._consumed == 0 and (mark := next((mark for mark in BOMS if piece.startswith(mark)), None)):
            if mark != codecs.BOM_UTF8:
                _require_plausible(piece[:SAMPLE_BYTES], BOMS[mark])
            return BOMS[mark]
        if piece.isascii():
            return None
        if _is_valid(piece, "utf-8", final):
            return "utf-8"
        if self._declared and _is_valid(piece, self._declared, final):
            return self._declared
        bad = _first_bad_byte(piece)
        encoding = None if b"\0" in piece or _is_mostly_utf8(piece) else _detect(_sample(piece))
        if encoding is None:
            raise self._broken(self._consumed + bad, "UTF-8", ", and no other encoding fits")
        return encoding

    def _broken(self, offset: int, encoding: str, more: str = "") -> UndecodableError:
        return UndecodableError(f"The document is no readable text: byte {offset} is not valid {encoding}{more}.")


def _is_valid(piece: bytes, encoding: str, final: bool) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(piece, final)
    except (UnicodeError, LookupError):
        return False
    return True


def _sample(piece: bytes) -> bytes:
    """What surrounds the first byte beyond ASCII, up to a blank so that no character is cut."""
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


def _require_plausible(sample: bytes, encoding: str) -> None:
    """Raises UndecodableError where bytes begin with a mark of UTF-16 or UTF-32 but go on as anything else."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError as error:
        raise UndecodableError(
            f"The document is no readable text: it begins with the mark of {encoding.upper()}, but byte {error.start} "
            "is not valid in it."
        ) from error
    unassigned = sum(unicodedata.category(character) in ("Cn", "Co") for character in text)
    too_many = unassigned > MAX_UNASSIGNED_SHARE * len(text)
    if too_many or "\ufeff" in text or mess_ratio(text[:4096], 1.0) >= MAX_MESS:
        raise UndecodableError(
            f"The document is no readable text: it has the mark of {encoding.upper()}, but what follows is none."
        )


def _detect(sample: bytes) -> str | None:
    """The legacy encoding in which a sample reads as language.

    Western European wins unless another is clearly better: most texts are, and a few accents tell no more.
    """
    found = from_bytes(sample, cp_isolation=LEGACY)
    western = max((match.coherence for match in found if "cp1252" in match.could_be_from_charset), default=0.0)
    # Kana are as sure a sign as there is, and bytes that are kana are valid in every CJK encoding.
    matches = sorted((match for match in found if _is_language(sample, match)), key=_kana_share, reverse=True)
    if _is_latin(sample, "cp1252"):
        matches = [match for match in matches if match.coherence > western + CLEARLY_BETTER]
        return matches[0].encoding if matches else "cp1252"
    return matches[0].encoding if matches else None


def _is_language(sample: bytes, match: CharsetMatch) -> bool:
    # Frequent letters give a language away, but not among the thousands of CJK.
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
