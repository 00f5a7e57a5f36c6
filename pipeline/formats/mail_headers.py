"""Headers of mail as text: words in other alphabets are encoded in them in many ways."""

from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import collapse_rfc2231_value

from pipeline.formats import encoding

LONGEST_ENCODED = 16 * 1024
"""The time that it takes to decode words grows with the square of their number."""
FIELDS = ("From", "To", "Cc", "Date", "Subject")
"""Those that belong to the text, in the order in which they are written."""


def text_of(value: str) -> str:
    """A header's value as a line. Bytes beyond ASCII, which are not allowed in it, are read as UTF-8 or Latin-1."""
    raw = value.encode("utf-8", "surrogateescape")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")
    try:
        words = decode_header(text) if "=?" in text and len(text) <= LONGEST_ENCODED else [(text, None)]
    except (HeaderParseError, ValueError):
        words = [(text, None)]
    return " ".join("".join(_decoded(*word) for word in words).split())


def file_name(part: Message) -> str:
    """The name that an attachment has for its reader; empty if it has none."""
    try:
        name = part.get_param("filename", None, "content-disposition") or part.get_param("name")
        text = collapse_rfc2231_value(name) if name else ""
    except (LookupError, ValueError):
        return ""
    return text_of(text).replace("\\", "/").rpartition("/")[2]


def _decoded(word: bytes | str, charset: str | None) -> str:
    if isinstance(word, str):
        return word
    # Where some words are encoded, the module escapes the others in this way.
    codec = "raw-unicode-escape" if charset is None else encoding.codec_of(charset) or "utf-8"
    return word.decode(codec, "replace")
