import pytest

from configs.errors import EncryptedError, UndecodableError
from pipeline.formats.recognition import recognized

OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
MAIL = b"From: a@x.example\nTo: b@x.example\nSubject: Vote\nMIME-Version: 1.0\n\nDear all,\n"
PAGE = b"From: <Saved by Blink>\nMIME-Version: 1.0\nContent-Type: multipart/related; boundary=x\n\n--x\n"


def zip_head(*names: str, first: bytes = b"") -> bytes:
    return first + b"".join(b"PK\x03\x04" + bytes(26) + name.encode() + b"\0" * 9 for name in names)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"%PDF-1.7\n", "pdf"),
        (b"junk\r\n%PDF-1.7\r\n%\xb5\xb5\r\n1 0 obj", "pdf"),
        (b"\n\n%PDF-1.4", "pdf"),
        (b"{\\rtf1\\ansi Text}", "rtf"),
        (b"\xef\xbb\xbfWEBVTT\n\n", "vtt"),
        ("WEBVTT - title\n".encode("utf-16"), "vtt"),
        (b"WEBVTTs are files", "text"),
        (b"1\r\n00:00:01,000 --> 00:00:02,000\r\nSo.", "srt"),
        (b"1\n2 --> 3\n", "text"),
        (b'{"cells": [{"cell_type": "code"}]}', "notebook"),
        (b"<!doctype html><p>", "html"),
        (b"<?xml version='1.0'?>\n<!-- a --><html>", "html"),
        (b"<?xml version='1.0'?>\n<article>", "xml"),
        (b'<!DOCTYPE article PUBLIC "-//NLM//DTD JATS//EN" "x.dtd"><article>', "xml"),
        (b"From a@x.example Mon Mar  2 10:00:00 2026\nFrom: a@x.example\n", "mbox"),
        (b"From here on it is Monday, 10:00 of 2026\nand later\n", "text"),
        (MAIL, "mail"),
        (b"Received: from x\n\tby y\nMessage-ID: <1>\nDate: today\n\nText", "mail"),
        (PAGE, "mhtml"),
        (b"From: the board\nTo: all members\nSubject: heating\n\nIt is cold.\n", "text"),
        (b"From: the beginning it was clear that\n\nall else", "text"),
        (b"Date: 2026-03-02 ERROR Message-ID: 7\nplain log line\n", "text"),
        (zip_head("[Content_Types].xml", "word/document.xml"), "docx"),
        (zip_head("[Content_Types].xml", "_rels/.rels", "ppt/presentation.xml"), "pptx"),
        (zip_head("xl/workbook.xml"), "xlsx"),
        (b"PK\x03\x04" + bytes(26) + b"mimetypeapplication/epub+zip", "epub"),
        (b"PK\x03\x04" + bytes(26) + b"mimetypeapplication/vnd.oasis.opendocument.text", "odt"),
        (b"GIF87 is what the old ones begin with", "text"),
        (b"MZ is how programs begin", "text"),
        (b"", "text"),
    ],
)
@pytest.mark.parametrize("name", ["noname", "a.txt", "a.pdf", "a.docx"])
def test_content_decides_whatever_the_name(head: bytes, expected: str, name: str) -> None:
    if head or name in ("noname", "a.txt"):
        assert recognized(name, head) == expected


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.csv", b"a,b\n", "csv"),
        ("a.txt", b"A PDF begins with\n%PDF-1.7\n1 0 obj", "text"),
        ("a.eml", b"Subject: x\n\ntext", "mail"),
        ("a.eml", b"no header\n", "mail"),
        ("page.php", b"<div class='x'><h1>Title</h1>", "html"),
        ("page.php", b"<?php echo 1;", "text"),
        ("readme.md", b"<h1 align='center'>Title</h1>", "text"),
        ("fragment", b"<p>One</p>", "html"),
        ("a.py", b"import re\n", "text"),
        ("a.pdf", bytes(10), "pdf"),
        ("a.docx", b"PK\x03\x04" + bytes(100), "docx"),
        ("data.xml", b"<doc/>", "xml"),
        ("A.HTM", b"words", "html"),
    ],
)
def test_the_name_decides_where_the_content_does_not(name: str, head: bytes, expected: str) -> None:
    assert recognized(name, head) == expected


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b"\xff\xd8\xff\xe0", "a JPEG picture"),
        (b"II*\0\x08\0", "a TIFF picture"),
        (b"MM\0*\0\0", "a TIFF picture"),
        (b"GIF89a\0", "a GIF picture"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "a WebP picture"),
        (b"RIFF\0\0\0\0WAVEfmt ", "a WAV recording"),
        (b"BM\x36\x10\0\0\0\0\0\0", "a BMP picture"),
        (b"\0\0\0\x18ftypheic", "a HEIC picture"),
        (b"\0\0\0\x18ftypisom", "an MPEG-4 video"),
        (b"ID3\4\0", "an MP3 recording"),
        (b"OggS\0", "an Ogg recording"),
        (b"fLaC\0", "a FLAC recording"),
        (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!\x1a\x07\1\0", "a RAR archive"),
        (b"\x7fELF\2\1", "a program"),
        (b"MZ\x90\0", "a Windows program"),
        (b"\xca\xfe\xba\xbe\0\0", "a compiled Java class"),
        (b"SQLite format 3\0", "a SQLite database"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"wOF2\0", "a font"),
        (b"AT&TFORM\0\0", "a DjVu scan"),
        (b"%!PS-Adobe-3.0\n", "PostScript"),
        (bytes(60) + b"BOOKMOBI", "a Kindle book"),
        (b"PK\x03\x04" + bytes(50), "a ZIP archive"),
        (OLE2 + "WordDocument".encode("utf-16-le") + b"\0\0", "an old Word document; save it as .docx"),
        (OLE2 + "Workbook".encode("utf-16-le") + b"\0\0", "an old Excel workbook; save it as .xlsx"),
        (OLE2, "an old Microsoft Office file"),
    ],
)
@pytest.mark.parametrize("name", ["noname", "a.txt", "a.html"])
def test_what_nobody_reads_is_refused_by_its_name(name: str, head: bytes, says: str) -> None:
    with pytest.raises(UndecodableError, match=f"not text but {says}"):
        recognized(name, head)


def test_office_with_a_password_says_so() -> None:
    with pytest.raises(EncryptedError, match="password"):
        recognized("a.docx", OLE2)
    with pytest.raises(EncryptedError, match="password"):
        recognized("noname", OLE2 + "EncryptedPackage".encode("utf-16-le") + b"\0\0")
