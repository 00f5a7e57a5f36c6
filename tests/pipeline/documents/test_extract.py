"""Text and title come out of each format as they went in, and what cannot be read says what is wrong with it."""

import bz2
import gzip
import json
import lzma
import os
import random
import time
import tracemalloc
import zlib
from collections import deque
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import lz4.frame
import pytest
import zstandard

from configs.errors import (
    ChangedError,
    CorruptError,
    DocumentError,
    EmptyDocumentError,
    EncryptedError,
    TooLargeError,
    UndecodableError,
    UnreadableError,
)
from configs.settings import InputSettings
from pipeline.documents import content as reading
from pipeline.documents import tokenize
from pipeline.documents.extract import Extractor
from pipeline.documents.sources import list_documents
from pipeline.schemas.document import Document
from pipeline.storage import objects
from tests.cpu_limit import cpu_limit
from tests.pdf import pdf


def settings(**values: Any) -> InputSettings:
    return InputSettings(sources=("unused",), **values)


def document(uri: object) -> Document:
    return Document(str(uri), str(uri), objects.stat(str(uri)).etag or "etag", 0)


def read(path: Path, content: bytes | None = None, **values: Any) -> tuple[str, str]:
    """(title, text)"""
    if content is not None:
        path.write_bytes(content)
    extracted = Extractor(settings(**values)).read(document(path))
    return extracted.title, "".join(extracted.text)


def failure(path: Path, content: bytes, **values: Any) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        read(path, content, **values)
    assert str(caught.value).endswith(".") and len(str(caught.value)) > 20
    return caught.value


# Plain text


def test_plain_text_comes_out_as_it_is_with_one_kind_of_line_end(tmp_path: Path) -> None:
    title, text = read(tmp_path / "a.txt", b"A title\r\n\r\nmore \xc3\xa9\rend\n")
    assert text == "A title\n\nmore é\nend\n"
    assert title == "A title"


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("\n\n  # The heading #\n\ntext", "The heading"),
        ("short first line\nmore", "short first line"),
        ("a long first line " * 20, "name.md"),
        ("#hashtag is no heading", "#hashtag is no heading"),
        ("---\ntitle: 'A guide'\ndate: 2026-03-02\n---\n\n# Another\n", "A guide"),
        ("---\ndate: 2026-03-02\n---\n\n# A guide\n", "A guide"),
    ],
)
def test_titles_of_text(tmp_path: Path, content: str, title: str) -> None:
    assert read(tmp_path / "name.md", content.encode()) == (title, content)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp932", "euc_jp", "gb18030"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_characters_and_line_ends_survive_the_ends_of_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, line_end: str
) -> None:
    sentence = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"
    text = "".join(f"{sentence[: number % 30]}{sentence}{line_end}" for number in range(60))
    for size in (501, 502, 503):
        monkeypatch.setattr(reading, "PIECE_BYTES", size)
        _, out = read(tmp_path / "a.txt", text.encode(encoding))
        assert out == text.replace(line_end, "\n")


PROSE = {
    "latin-1": "Le garçon déjà fatigué s'est assis près de la fenêtre; où était passé l'été?",
    "cp1252": "“It’s a café,” she said — naïve, perhaps, but the weather was fine and the coffee warm…",
    "iso8859-15": "Über den Wäldern hängt größerer Nebel; die Straße führt zum Schloß.",
    "shift_jis": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
    "euc_jp": "何でも薄暗いじめじめした所でニャーニャー泣いていた事だけは記憶している。吾輩は猫である。",
    "gb18030": "道可道，非常道。名可名，非常名。无名天地之始，有名万物之母。故常无欲以观其妙。",
    "big5": "道可道，非常道。名可名，非常名。無名天地之始，有名萬物之母。故常無欲以觀其妙。",
    "cp949": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "cp1251": "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.",
    "koi8-r": "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.",
    "cp1253": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
}


@pytest.mark.parametrize("encoding", PROSE)
@pytest.mark.parametrize("times", [1, 50])
def test_prose_in_legacy_encodings_is_read(tmp_path: Path, encoding: str, times: int) -> None:
    text = (PROSE[encoding] + "\n") * times
    assert read(tmp_path / "a.txt", text.encode(encoding))[1] == text


@pytest.mark.parametrize("text", ["un café", "Naïve café", "x" * 3_000_000 + " café\n"])
def test_a_few_accents_at_the_end_are_latin(tmp_path: Path, text: str) -> None:
    assert read(tmp_path / "a.txt", text.encode("latin-1"))[1] == text


GARBAGE = {
    "mark of UTF-16 and noise": b"\xff\xfe\xfa" + random.Random(0).randbytes(501),
    "mark of UTF-16 and repeats": b"\xff\xfe\xfa\xfb" * 100,
    "odd length after a mark": b"\xff\xfe\xfa",
    "noise": random.Random(1).randbytes(2000),
    "noise without NUL": random.Random(2).randbytes(2000).replace(b"\0", b""),
    "high bytes": bytes(range(128, 256)) * 3,
    "repeated": b"\xff" * 50,
    "continuation bytes": b"\x80\x81\x82\x83" * 20,
    "bytes of no encoding in text": b"Hello world this is text \x80\x81\xfe\xff and more text",
    "damage in UTF-8": "Größe und Übermut, häßlich und schön. ".encode() * 10 + b"\xff" * 4 + "Größe".encode(),
    "a NUL": b"text\0text",
    "control characters": b"\x01\x02\x03abc" * 10,
    "a program": b"\x7fELF\x02\x01\x01" + bytes(100),
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("name", ["a.txt", "noname", "a.html"])
def test_what_is_no_text_is_a_failure(tmp_path: Path, content: bytes, name: str) -> None:
    assert isinstance(failure(tmp_path / name, content), UndecodableError)


def test_the_first_bad_byte_is_named_however_late(tmp_path: Path) -> None:
    good = "Größe und Übermut. ".encode() * 150_000
    assert len(good) > 3 * reading.PIECE_BYTES
    for bad, values in ((b"\xff", {"errors": "strict"}), (b"\xff" * 10_000, {})):
        error = failure(tmp_path / "a.txt", good + bad + good, **values)
        assert isinstance(error, UndecodableError) and f"byte {len(good)} " in str(error)


@pytest.mark.parametrize(("magic", "word"), [(b"PK\x03\x04", "ZIP"), (b"%PDF-1.7", "PDF"), (b"PAR1\x15\0", "Parquet")])
def test_known_binary_formats_are_called_by_their_names(tmp_path: Path, magic: bytes, word: str) -> None:
    assert word in str(failure(tmp_path / "a.txt", magic + b" and more text"))


def test_plain_text_is_read_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Zeile für Zeile.\n".encode() * 3_000_000)
    tracemalloc.start()
    try:
        extracted = Extractor(settings()).read(document(tmp_path / "a.txt"))
        assert sum(map(len, extracted.text)) == 17 * 3_000_000
        assert tracemalloc.get_traced_memory()[1] < 25_000_000
    finally:
        tracemalloc.stop()


# What there is none of


@pytest.mark.parametrize("name", ["a.txt", "a.html", "a.pdf", "a.json", "a", "a.txt.gz", "a.txt.zst"])
def test_no_bytes_are_an_empty_document(tmp_path: Path, name: str) -> None:
    assert isinstance(failure(tmp_path / name, b""), EmptyDocumentError)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b" \n\t\r\n" * 1000),
        ("a.txt", b"\xef\xbb\xbf"),
        ("a.txt.gz", gzip.compress(b"\n", mtime=0)),
        ("a.html", b"<html><head><title>T</title></head><body><script>x()</script> </body></html>"),
        ("a.html", b"<!-- only a comment -->"),
        ("a.json", b'{"text": " "}'),
        ("a.json", b'{"text": ""}'),
    ],
)
def test_blanks_are_an_empty_document(tmp_path: Path, name: str, content: bytes) -> None:
    assert isinstance(failure(tmp_path / name, content), EmptyDocumentError)


def test_a_missing_file_and_a_directory_are_unreadable(tmp_path: Path, bucket: str) -> None:
    for uri in (tmp_path / "gone.txt", tmp_path, f"{bucket}/gone.txt"):
        with pytest.raises(UnreadableError):
            Extractor(settings()).read(document(uri))


def test_an_error_found_by_listing_is_raised_again() -> None:
    listed = Document("a", "a", "", 0, error_class="CorruptError", error_message="Line 3 is not valid JSON.")
    with pytest.raises(CorruptError, match="Line 3"):
        Extractor(settings()).read(listed)


# Compression

PACK: dict[str, Any] = {
    **{".gz": gzip.compress, ".zst": zstandard.compress, ".zstd": zstandard.compress},
    **{".bz2": partial(bz2.compress, compresslevel=1), ".xz": lzma.compress, ".lz4": lz4.frame.compress},
}
TEXT = "".join(f"line {random.Random(number).random()}\n" for number in range(40_000))


@pytest.mark.parametrize("suffix", PACK)
def test_compressed_text_is_read_also_from_several_members(tmp_path: Path, suffix: str) -> None:
    pack = PACK[suffix]
    for content in (pack(TEXT.encode()), pack(TEXT[:777].encode()) + pack(b"") + pack(TEXT[777:].encode())):
        assert read(tmp_path / f"a.md{suffix}", content)[1] == TEXT
        assert read(tmp_path / "without-suffix", content)[1] == TEXT


@pytest.mark.parametrize("window_log", [27, 28, 31])
def test_zstd_is_read_with_any_window(tmp_path: Path, window_log: int) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log)
    content = zstandard.ZstdCompressor(compression_params=parameters).compress(TEXT.encode())
    assert read(tmp_path / "a.zst", content)[1] == TEXT


@pytest.mark.parametrize("name", ["a.txt", "a.txt.zst", "a.txt.lz4"])
def test_a_frame_without_content_may_come_first(tmp_path: Path, name: str) -> None:
    pack = PACK[".lz4" if name.endswith(".lz4") else ".zst"]
    content = b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + pack(TEXT.encode())
    assert read(tmp_path / name, content)[1] == TEXT


@pytest.mark.parametrize("name", ["a.txt.gz", "a.md.BZ2", "a.xz", "a.txt.lzma", "a.lz4"])
def test_a_suffix_of_what_is_not_compressed_counts_for_nothing(tmp_path: Path, name: str) -> None:
    assert read(tmp_path / name, TEXT.encode())[1] == TEXT
    assert read(tmp_path / name, gzip.compress(TEXT.encode()))[1] == TEXT


def test_lzma_alone_and_padded_xz_are_read(tmp_path: Path) -> None:
    assert read(tmp_path / "a.txt.lzma", lzma.compress(TEXT.encode(), lzma.FORMAT_ALONE))[1] == TEXT
    padded = lzma.compress(TEXT.encode()) + bytes(4)
    assert read(tmp_path / "a.txt.xz", padded + padded + bytes(4096))[1] == TEXT * 2


def test_letters_of_a_mark_are_text(tmp_path: Path) -> None:
    assert read(tmp_path / "a.txt", b"BZh9 is how bzip2 begins")[1] == "BZh9 is how bzip2 begins"


@pytest.mark.parametrize("suffix", PACK)
def test_broken_compression_says_how_far_it_came(tmp_path: Path, suffix: str) -> None:
    packed = PACK[suffix](TEXT.encode())
    path = tmp_path / f"a.txt{suffix}"
    for end in (3, 20, len(packed) // 2, len(packed) - 1):
        error = failure(path, packed[:end])
        assert isinstance(error, CorruptError) and "bytes of content" in str(error)
    count = int(str(failure(path, packed[: len(packed) // 2])).partition("after ")[2].split()[0])
    assert len(TEXT) / 4 < count < len(TEXT)
    half = len(packed) // 2
    assert isinstance(failure(path, packed[:half] + bytes(64) + packed[half + 64 :]), DocumentError)
    assert isinstance(failure(path, packed + b"garbage"), CorruptError)


@pytest.mark.parametrize("name", ["a.html.gz", "a.html.zst", "a.json.gz"])
def test_a_decompression_bomb_stops_at_the_limit(tmp_path: Path, name: str) -> None:
    size = 300_000_000
    packed = b"".join(_packed_spaces(size, name.endswith(".gz")))
    assert len(packed) < 2_000_000
    (tmp_path / name).write_bytes(packed)
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError, match=r"input\.max_document_bytes"):
            read(tmp_path / name, max_document_bytes=5_000_000, max_expansion=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 80_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["a.txt.zst", "a.txt.gz"])
def test_plain_text_has_no_limit_even_on_a_single_line(tmp_path: Path, name: str) -> None:
    size = 300_000_000
    (tmp_path / name).write_bytes(b"".join(_packed_spaces(size, name.endswith(".gz"))))
    tracemalloc.start()
    try:
        extracted = Extractor(settings(max_document_bytes=1, max_expansion=1_000_000)).read(document(tmp_path / name))
        assert sum(map(len, tokenize.cut(extracted.text))) == size
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


def test_blanks_without_end_are_not_held(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b" \n" * 40_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(EmptyDocumentError, match="only white space"):
            deque(Extractor(settings()).read(document(tmp_path / "a.txt")).text, maxlen=0)
        assert tracemalloc.get_traced_memory()[1] < 25_000_000
    finally:
        tracemalloc.stop()


def _packed_spaces(size: int, as_gzip: bool):
    packer = zlib.compressobj(9, wbits=31) if as_gzip else zstandard.ZstdCompressor().compressobj()
    for _ in range(size // 1_000_000):
        yield packer.compress(b"a " * 500_000)
    yield packer.flush()


def test_the_limit_counts_decompressed_bytes_exactly(tmp_path: Path) -> None:
    content = b'{"text": "' + b"x" * 988 + b'"}'
    assert read(tmp_path / "a.json", content, max_document_bytes=1000)[1] == "x" * 988
    error = failure(tmp_path / "a.json", content + b" ", max_document_bytes=1000)
    assert isinstance(error, TooLargeError) and "plain text has none" in str(error)


# HTML

PAGE = """<!DOCTYPE html><html><head><meta charset="{charset}"><title>The  é
 title</title><style>p {{}}</style></head><body><nav><a href=x>Home</a></nav><h1>Heading <em>one</em></h1>
<p>First   para<b>graph</b>,<br>second line. <!-- not this --></p>text between<ul><li>item 1<li>item 2</ul>
<script>var x = "<p>not this</p>";</script><p hidden>nor this</p>tail é
<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table><pre>a
  b   c</pre><p>x &lt; y &amp; z&nbsp;&#x1F642;</p></body></html>"""


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "nonsense"])
@pytest.mark.parametrize("name", ["a.html", "a.HTM", "a.html.gz", "page"])
def test_visible_text_of_html_has_a_line_for_each_block(tmp_path: Path, charset: str, name: str) -> None:
    content = PAGE.format(charset=charset).encode(charset if charset == "iso-8859-1" else "utf-8")
    title, text = read(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content)
    assert title == "The é title"
    assert text.splitlines() == [
        "# Heading one",
        "First paragraph,",
        "second line.",
        "text between",
        "- item 1",
        "- item 2",
        "tail é",
        "A | B",
        "1 | 2",
        "```",
        "a",
        "  b   c",
        "```",
        "x < y & z 🙂",
    ]


def test_odd_html_is_read_as_browsers_do(tmp_path: Path) -> None:
    assert read(tmp_path / "a.html", b"just text") == ("just text", "just text\n")
    deep = b"<div>" * 1_000 + b"deep" + b"</div>" * 1_000
    assert read(tmp_path / "a.html", b"<html><p>top</p>" + deep)[1] == "top\ndeep\n"
    too_deep = failure(tmp_path / "a.html", deep.replace(b"<div>", b"<div>" * 50))
    assert isinstance(too_deep, CorruptError)
    assert "nested too deeply" in str(too_deep)
    assert (
        read(tmp_path / "a.xhtml", '<?xml version="1.0" encoding="utf-8"?><html><p>é</p></html>'.encode())[1] == "é\n"
    )
    assert read(tmp_path / "a.html", '<meta charset="shift_jis"><p>日本</p>'.encode("shift_jis"))[1] == "日本\n"


PYTHON_ONLY = ("hex", "rot13", "zip", "bz2", "base64", "uu", "quopri", "idna", "punycode", "undefined")
PYTHON_ONLY += ("unicode_escape", "raw_unicode_escape", "utf-7", "utf-32", "charmap")
DECLARATIONS = {
    "a.html": '<html><head><meta charset="{}"></head><body><p>un café naïf</p></body></html>',
    "a.xhtml": '<?xml version="1.0" encoding="{}"?><html><body><p>un café naïf</p></body></html>',
}


@pytest.mark.parametrize("label", [*PYTHON_ONLY, "utf-16", "utf-16be", "replacement", "iso-2022-kr", "x-user-defined"])
@pytest.mark.parametrize("name", DECLARATIONS)
def test_a_name_that_is_no_encoding_of_the_web_is_passed_over(tmp_path: Path, name: str, label: str) -> None:
    content = DECLARATIONS[name].format(label)
    for encoding in ("utf-8", "cp1252"):
        assert read(tmp_path / name, content.encode(encoding))[1] == "un café naïf\n"


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("ISO-8859-1", "cp1252", "“naïf”"),
        ("us-ascii", "cp1252", "café"),
        ("iso-8859-2", "iso8859_2", "Łódź"),
        ("KOI8-U", "koi8_u", "Їжак"),
        ("x-sjis", "cp932", "①②日本"),
        ("gb2312", "gbk", "镕"),
        ("big5", "big5hkscs", "嘅"),
    ],
)
def test_a_declared_encoding_has_the_meaning_that_browsers_give_it(
    tmp_path: Path, label: str, codec: str, text: str
) -> None:
    assert read(tmp_path / "a.html", f'<meta charset="{label}"><p>{text}</p>'.encode(codec))[1] == f"{text}\n"


@pytest.mark.parametrize(
    ("head", "is_html"),
    [
        ("\n <!-- a -->\n<!-- b --> <html>", True),
        ('<?xml version="1.0"?>\n<!-- a --><!DOCTYPE  html>', True),
        ("<HTML lang=en>", True),
        ("<!-- a --> text <html>", False),
        ("<!-- never closed <html>", False),
        ("<htmlx>", False),
    ],
)
def test_html_without_a_suffix_begins_with_its_doctype_or_element(tmp_path: Path, head: str, is_html: bool) -> None:
    text = read(tmp_path / "page", f"{head}<p>words</p>".encode())[1]
    assert ("<p>" in text) is not is_html


def test_comments_before_something_else_are_passed_over_once(tmp_path: Path) -> None:
    content = b"<!-- license -->\n" * 60 + b"<svg>drawn</svg>"
    with cpu_limit(5):
        assert read(tmp_path / "a", content)[1] == content.decode()


# PDF


def test_a_pdf_is_read_page_by_page(tmp_path: Path) -> None:
    title, text = read(tmp_path / "a.pdf", pdf("Page one", "", "Page three", title="The title"))
    assert (title, text) == ("The title", "Page one\nPage three\n")
    assert read(tmp_path / "unnamed", pdf("Found by its first bytes"))[1] == "Found by its first bytes\n"
    assert read(tmp_path / "a.pdf.gz", gzip.compress(pdf("In gzip"))) == ("In gzip", "In gzip\n")


def test_a_pdf_without_text_is_empty_and_says_ocr(tmp_path: Path) -> None:
    error = failure(tmp_path / "a.pdf", pdf("", ""))
    assert isinstance(error, EmptyDocumentError) and "OCR" in str(error) and "2 page" in str(error)


def test_a_pdf_with_a_password_says_so_and_one_without_is_read(tmp_path: Path) -> None:
    error = failure(tmp_path / "a.pdf", pdf("secret", password="key"))
    assert isinstance(error, EncryptedError) and "password" in str(error)
    assert read(tmp_path / "a.pdf", pdf("locked only for editing", password=""))[1] == "locked only for editing\n"


def test_a_damaged_pdf_is_corrupt(tmp_path: Path) -> None:
    whole = pdf("some text")
    for content in (b"%PDF-1.7\n", b"no pdf\0", whole[:200], b"%PDF-1.4\n" + os.urandom(3000)):
        assert isinstance(failure(tmp_path / "a.pdf", content), CorruptError)


def test_no_damage_to_a_pdf_raises_anything_but_our_errors(tmp_path: Path) -> None:
    whole = pdf("some text", "more text", title="t")
    rng = random.Random(3)
    for _ in range(60):
        broken = bytearray(whole)
        for _ in range(rng.choice([1, 5, 50])):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        with suppress(DocumentError):
            read(tmp_path / "a.pdf", bytes(broken))


# JSON


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("place", ["disk", "s3"])
def test_records_are_read_by_their_place_in_any_order(
    place: str, suffix: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = str(tmp_path) if place == "disk" else request.getfixturevalue("bucket")
    records = [{"text": f"Ü text {number}\r\n" * 50, "title": f"T{number}"} for number in range(300)]
    content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    objects.publish(f"{root}/d.jsonl{suffix}", PACK.get(suffix, bytes)(content))
    objects.publish(f"{root}/other.txt", b"between")
    inputs = InputSettings(sources=(f"{root}/d.jsonl{suffix}",))
    documents = list_documents(inputs)
    assert len(documents) == 300
    extractor = Extractor(inputs)
    order = [*range(300), 7, 299, 0, 150, 151]
    for number in order:
        extracted = extractor.read(documents[number])
        assert extracted.title == f"T{number}"
        assert "".join(extracted.text) == f"Ü text {number}\n" * 50
        if number % 100 == 0:
            assert "".join(extractor.read(document(f"{root}/other.txt")).text) == "between"


def test_reading_all_records_of_a_compressed_file_decompresses_it_once(tmp_path: Path) -> None:
    line = json.dumps({"text": random.Random(5).randbytes(5_000).hex()}) + "\n"
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(line.encode() * 3_000, compresslevel=1))
    inputs = InputSettings(sources=(str(tmp_path),))
    started = time.process_time()
    documents = list_documents(inputs)
    once = time.process_time() - started
    extractor = Extractor(inputs)
    started = time.process_time()
    for each in documents:
        extractor.read(each)
    assert time.process_time() - started < 10 * once + 1


def test_a_record_without_a_title_has_its_first_line_or_its_id(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(
        json.dumps({"id": "a", "text": "# Heading\ntext"}) + "\n" + json.dumps({"id": "b", "text": "long " * 99}) + "\n"
    )
    inputs = InputSettings(sources=(str(tmp_path),))
    titles = [Extractor(inputs).read(each).title for each in list_documents(inputs)]
    assert titles == ["Heading", f"{tmp_path}/d.jsonl#b"]


def test_a_json_file_holds_one_document(tmp_path: Path) -> None:
    assert read(tmp_path / "a.json", b'{"title": "T", "text": "a\\r\\nb \\ud83d\\ude42"}') == ("T", "a\nb 🙂")
    assert read(tmp_path / "a.json", b'{"body": "x"}', text_field="body")[1] == "x"
    for content in (b"{", b"[]", b'{"body": "x"}', b'{"text": 1}', b'{"text": "\xff"}', b"[" * 100_000):
        assert isinstance(failure(tmp_path / "a.json", content), CorruptError)


def test_half_of_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    assert isinstance(failure(tmp_path / "a.json", b'{"text": "a \\ud83d b"}'), UndecodableError)
    assert read(tmp_path / "a.json", b'{"text": "fine", "title": "\\ud83d x"}')[0] == "fine"


def test_a_file_that_shrank_since_it_was_listed_has_changed(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    inputs = InputSettings(sources=(str(tmp_path),))
    documents = list_documents(inputs)
    (tmp_path / "d.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(ChangedError, match="since it was listed"):
        Extractor(inputs).read(documents[1])
