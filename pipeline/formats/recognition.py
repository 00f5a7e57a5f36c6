"""Which format a document has: by its first bytes where they tell, else by its name."""

import codecs
import re
from pathlib import PurePosixPath

from configs.errors import EncryptedError, UndecodableError
from pipeline.formats import foreign

TEXT = "text"
"""Plain text, which alone is read piece by piece; all else is parsed as a whole."""
SUFFIXES = {
    ".txt": TEXT,
    ".md": TEXT,
    ".markdown": TEXT,
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".docx": "docx",
    ".docm": "docx",
    ".dotx": "docx",
    ".pptx": "pptx",
    ".pptm": "pptx",
    ".ppsx": "pptx",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
    ".odt": "odt",
    ".ods": "ods",
    ".odp": "odp",
    ".epub": "epub",
    ".rtf": "rtf",
    ".eml": "mail",
    ".mbox": "mbox",
    ".mht": "mhtml",
    ".mhtml": "mhtml",
    ".vtt": "vtt",
    ".srt": "srt",
    ".xml": "xml",
    ".nxml": "xml",
    ".ipynb": "notebook",
}
ZIPPED = {"docx", "pptx", "xlsx", "odt", "ods", "odp", "epub"}
BY_CONTENT_ALONE = ZIPPED | {"pdf", "rtf"}
"""Formats whose files cannot begin as text does: where one does, its name is wrong."""
HEAD_BYTES = 4096
"""Within this many bytes text must show its format."""
PDF_WITHIN_BYTES = 1024
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
ZIP_MIMETYPES = {
    b"application/epub+zip": "epub",
    b"application/vnd.oasis.opendocument.text": "odt",
    b"application/vnd.oasis.opendocument.spreadsheet": "ods",
    b"application/vnd.oasis.opendocument.presentation": "odp",
}
# The entries that tell what an archive is, after the 26 bytes of a local header behind its magic.
ZIP_ENTRY = re.compile(rb"PK\x03\x04.{26}(?:(word|ppt|xl)/|META-INF/(container)\.xml)", re.DOTALL)
ZIP_ENTRIES = {b"word": "docx", b"ppt": "pptx", b"xl": "xlsx", b"container": "epub"}
MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}

PDF_HEADER = re.compile(rb"%PDF-\d")
PDF_OBJECT = re.compile(rb"\d{1,10} \d{1,5} obj\b")
HTML_START = re.compile(rb"<(?:!doctype\s+html|html)\b", re.IGNORECASE)
# How fragments begin, which need a name of the web or none: Markdown begins with such elements too.
FRAGMENT_START = re.compile(
    rb"<(?:head|body|title|meta|div|p|h[1-6]|table|section|article|main|header|nav|ul|ol|center)\b[^<>]*>",
    re.IGNORECASE,
)
WEB_SUFFIXES = {"", ".php", ".asp", ".aspx", ".jsp", ".cgi", ".cfm", ".shtml", ".phtml", ".do"}
XML_DECLARATION = re.compile(rb"\s*<\?xml[^>]*>", re.IGNORECASE)
XML_START = re.compile(rb"<(?:!DOCTYPE\s+(?!html)[\w:.-]+|\?xml-stylesheet|TEI\b|rss\b|[\w.-]+:\w+ xmlns)")
COMMENT_START, COMMENT_END = b"<!--", b"-->"
NOTEBOOK_KEYS = re.compile(rb'"(?:nbformat|cell_type)"\s*:')
SRT_START = re.compile(rb"\d+[ \t]*\r?\n\d{1,2}:\d\d:\d\d[,.]\d{1,3}[ \t]*-->")
VTT_START = re.compile(rb"WEBVTT(?:[ \t\r\n]|$)")
MBOX_START = re.compile(rb"From \S[^\r\n]{0,200}\d{1,2}:\d\d[^\r\n]{0,20} \d{4}[^\r\n]{0,20}\r?\n(?=[\w-]+:)")
HEADER_LINE = re.compile(rb"([A-Za-z][\w-]*):[ \t]?|[ \t]+\S")
MAIL_HEADERS = {
    *(b"from", b"to", b"cc", b"date", b"subject", b"reply-to", b"sender", b"received", b"message-id", b"mime-version"),
    *(b"return-path", b"delivered-to", b"content-type", b"in-reply-to", b"references", b"x-mailer"),
    *(b"dkim-signature", b"content-transfer-encoding", b"x-mozilla-status", b"newsgroups"),
}
# What programs write and people do not, who also begin letters with From, To, Date and Subject.
MACHINE_HEADERS = {
    *(b"received", b"message-id", b"mime-version", b"return-path", b"delivered-to", b"content-type"),
    *(b"dkim-signature", b"x-mailer", b"x-mozilla-status"),
}
LEAST_MAIL_HEADERS = 3
# Submissions to the SEC: the whole, signed before 2001, or one document with the lines above it.
SUBMISSION_START = re.compile(
    rb"(?:-----BEGIN PRIVACY-ENHANCED MESSAGE-----[^<]*)?<(?:SEC|IMS)-(?:DOCUMENT|HEADER)>"
    rb"|<DOCUMENT>\s*<TYPE>|<SUBMISSION>\s*<ACCESSION-NUMBER>"
)
MULTIPART_RELATED = re.compile(rb"^content-type:[ \t\r\n]*multipart/related", re.IGNORECASE | re.MULTILINE)
SAVED_PAGE = re.compile(rb"^(?:from:[^\n]*<saved by|snapshot-content-location:)", re.IGNORECASE | re.MULTILINE)


def by_name(name: str) -> str | None:
    """The format that a name's suffix tells, without a suffix of compression."""
    return SUFFIXES.get(_suffix(name))


def recognized(name: str, head: bytes) -> str:
    """The format by the first bytes, else by the name (without a suffix of compression), else plain text.

    Raises UndecodableError for formats that nobody can read as text, EncryptedError for an Office document with a
    password.
    """
    suffix = _suffix(name)
    if found := _container(suffix, head) or (_marked_up(suffix, _plain(head[:HEAD_BYTES]), head)):
        return found
    if what := foreign.name_of(head):
        raise UndecodableError(f"The document is not text but {what}.")
    named = SUFFIXES.get(suffix, TEXT)
    if named in BY_CONTENT_ALONE and head and b"\0" not in head and _is_utf8(head):
        return TEXT
    return named


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _container(suffix: str, head: bytes) -> str | None:
    """Formats that are no text within: PDF and what lies in ZIP and OLE2 files."""
    if _is_pdf(suffix, head):
        return "pdf"
    if head.startswith(ZIP_MAGIC):
        return _in_zip(suffix, head)
    if head.startswith(foreign.OLE2_MAGIC):
        if foreign.is_encrypted_office(head, suffix):
            raise EncryptedError("The document is protected by a password.")
        raise UndecodableError(f"The document is not text but {foreign.ole2_name(head, suffix)}.")
    return None


def _is_pdf(suffix: str, head: bytes) -> bool:
    """Whether a PDF's header is within the first bytes, and not in a text that speaks of PDF."""
    header = PDF_HEADER.search(head[:PDF_WITHIN_BYTES])
    if header is None:
        return False
    if not head[: header.start()].strip():
        return True
    return PDF_OBJECT.search(head, header.end()) is not None and (suffix == ".pdf" or not _is_utf8(head))


def _in_zip(suffix: str, head: bytes) -> str:
    if head[30:38] == b"mimetype":
        for mimetype, found in ZIP_MIMETYPES.items():
            if head[38:].startswith(mimetype):
                return found
    if entry := ZIP_ENTRY.search(head):
        return ZIP_ENTRIES[entry[1] or entry[2]]
    named = SUFFIXES.get(suffix)
    if named in ZIPPED:
        return named
    raise UndecodableError(
        "The document is not text but a ZIP archive; give it a name that ends in .zip, or unpack it."
    )


def _marked_up(suffix: str, start: bytes, head: bytes) -> str | None:
    """Formats that are text with marks, by how they begin."""
    if start.startswith(b"{\\rtf"):
        return "rtf"
    if VTT_START.match(start):
        return "vtt"
    if SRT_START.match(start):
        return "srt"
    if start.startswith(b"{") and NOTEBOOK_KEYS.search(head) and (b'"cells"' in head or b'"worksheets"' in head):
        return "notebook"
    if SUBMISSION_START.match(start):
        return "edgar"
    if start.startswith(b"<"):
        return _in_tags(suffix, start)
    if MBOX_START.match(start):
        return "mbox"
    return _as_mail(suffix, start)


def _in_tags(suffix: str, start: bytes) -> str | None:
    declaration = XML_DECLARATION.match(start)
    rest = _after_comments(start[declaration.end() if declaration else 0 :])
    if HTML_START.match(rest):
        return "html"
    if declaration or XML_START.match(rest):
        return "xml"
    if suffix in WEB_SUFFIXES and FRAGMENT_START.match(rest):
        return "html"
    return None


def _after_comments(rest: bytes) -> bytes:
    """Without the comments and white space at the start."""
    # One comment at a time: a pattern for any number of comments would backtrack exponentially.
    rest = rest.lstrip()
    while rest.startswith(COMMENT_START):
        _, _, rest = rest[len(COMMENT_START) :].partition(COMMENT_END)
        rest = rest.lstrip()
    return rest


def _as_mail(suffix: str, start: bytes) -> str | None:
    """Mail, or a web page saved as one, if the first lines are headers of which enough are known."""
    names: set[bytes] = set()
    for line in start.splitlines():
        header = HEADER_LINE.match(line)
        if header is None:
            if line.strip():
                return None
            break
        names.add((header[1] or b"").lower())
    known = names & MAIL_HEADERS
    is_named = SUFFIXES.get(suffix) in ("mail", "mhtml")
    if not known or (not is_named and (len(known) < LEAST_MAIL_HEADERS or not known & MACHINE_HEADERS)):
        return None
    is_page = MULTIPART_RELATED.search(start) and (SAVED_PAGE.search(start) or b"from" not in known)
    return "mhtml" if is_page or (SUFFIXES.get(suffix) == "mhtml" and is_named) else "mail"


def _plain(head: bytes) -> bytes:
    """The head of a text in UTF-8, whatever its mark says, without white space at its start."""
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return head[len(mark) :].decode(encoding, "ignore").encode().lstrip()
    return head.lstrip()


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True
