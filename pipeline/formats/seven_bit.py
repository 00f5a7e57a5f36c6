"""Encodings of Chinese, Japanese and Korean whose bytes are all ASCII: escape sequences tell what they mean."""

import re

from configs.errors import UndecodableError
from pipeline.formats import detection

ENCODINGS = {"iso2022_jp_ext", "iso2022_kr", "hz"}
"""Decoding them depends on what came before: reading can be resumed nowhere within a document."""
JAPANESE = re.compile(rb"\x1b(?:\$[@B]|\$\(D|\([IJ])")
KOREAN = b"\x1b$)C"
CHINESE = re.compile(rb"\x1b\$(?:\)[AEG]|\*H)")
HZ = re.compile(rb"~\{(?:[!-w][!-~]){2,2000}~\}")
MIN_SHARE_OF_COMMON = 0.7


def encoding_of(piece: bytes, declared: str | None) -> str | None:
    """The encoding of bytes that are all ASCII, if they are no mere ASCII. Raises UndecodableError for one that cannot
    be read."""
    if b"\x1b" not in piece and b"~{" not in piece:
        return None
    if JAPANESE.search(piece):
        return "iso2022_jp_ext" if declared == "iso2022_jp_ext" or _is_east_asian(piece, "iso2022_jp_ext") else None
    if KOREAN in piece:
        return "iso2022_kr" if declared == "iso2022_kr" or _is_east_asian(piece, "iso2022_kr") else None
    if CHINESE.search(piece) and b"\x0e" in piece:
        raise UndecodableError("The document is in ISO-2022-CN, which cannot be read; convert it to UTF-8.")
    if declared == "hz":
        return "hz" if b"~{" in piece else None
    return "hz" if _is_hz(piece) else None


def _is_east_asian(piece: bytes, encoding: str) -> bool:
    text = piece.decode(encoding, "ignore")
    return any(character >= "\u3000" for character in text)


def _is_hz(piece: bytes) -> bool:
    """Whether what `~{` and `~}` enclose is Chinese: they also occur in program text."""
    enclosed = b"".join(HZ.findall(piece[: 1024 * 1024]))
    if len(enclosed) < 16:
        return False
    try:
        text = enclosed.decode("hz")
    except UnicodeDecodeError:
        return False
    return detection.share_of_common(text, "gb18030") >= MIN_SHARE_OF_COMMON
