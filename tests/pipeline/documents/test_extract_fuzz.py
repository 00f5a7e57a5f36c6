"""Whatever its bytes are, a document gives text or a DocumentError, in time that grows with its length alone.

HYPOTHESIS_PROFILE=long tries 25 times as many, others each time.
"""

import gzip
import json
import os
import re
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs.errors import DocumentError
from configs.settings import InputSettings, SectionSettings
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.documents.extract import Extractor
from pipeline.documents.sections import SectionFinder, headings
from pipeline.schemas.document import Document
from tests.cpu_limit import cpu_limit
from tests.pdf import operators, pdf

IS_LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
EXAMPLES = 5000 if IS_LONG else 200
SCALED_CHARS = 4_000_000 if IS_LONG else 200_000
SLACK_SECONDS = 0.1
MOST_SECONDS = 20
"""Of CPU time for any example: a tenth of a second is usual."""
NAMES = [
    "a",
    "a.txt",
    "a.md",
    "a.log",
    "a.xml",
    "a.html",
    "a.xhtml",
    "a.pdf",
    "a.json",
    "a.txt.gz",
    "a.html.zst",
    "a.gz",
]
SECTIONS = SectionSettings()
INPUT = InputSettings(sources=("unused",), max_document_bytes=8 << 20)
TOKENIZER = Tokenizer.load(checkpoint.resolve("default"))
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not IS_LONG,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

PAGE = """<!DOCTYPE html><html><head><meta charset="utf-8"><title>A title</title></head><body><!-- a comment -->
<h1>Heading</h1><p>Some &amp; text, naïf<br>and more</p><ul><li>one<li>two</ul><pre> a\n b</pre><table><tr><td>1</table>
<script>var x = "<p>";</script><p hidden>no</p></body></html>"""
PDFS = [pdf("Some text", "More", title="T"), operators(20, num_pages=2)]
SEEDS = {
    "page": PAGE.encode(),
    "latin page": PAGE.replace("utf-8", "iso-8859-1").encode("latin-1"),
    "xml": b'<?xml version="1.0" encoding="koi8-r"?>\n<!-- a --><!-- b -->\n<html><p>\xc1\xc2\xd7</p></html>',
    "markdown": "# Title\n\nSome *text*, “quoted”.\n\n## Chapter 2 ##\n\n1.2 Numbered\n\n| a | b |\n".encode(),
    "json": json.dumps({"title": "T", "text": "Some text \ud83d\ude42\r\nand more", "n": [1, 2.5, None]}).encode(),
    **{f"pdf {number}": content for number, content in enumerate(PDFS)},
    "gzip": gzip.compress(PAGE.encode()),
    "zstd": zstandard.compress(b"Some text\n" * 100),
    "utf-16": "Some text, naïf".encode("utf-16"),
    "shift_jis": "吾輩は猫である。名前はまだ無い。".encode("cp932"),
}
UNITS = [
    *("<!--", "<!-- a -->\n", "-->", "<", "<a", "<a ", "<p>", "<div>", "</p>", "<b><i>", "<table><td>", "<![CDATA["),
    *("<meta", "<meta charset=", "<?xml ", "<!doctype", "<html", "<script>", "<pre>", "<title>", "<h1>", "<svg>"),
    *("&", "&amp;", "&#", "&#x", "&lt", "=", '"', "'", "a=b ", "#", "# ", "# a", "\t", " ", "\n", "\r", "\r\n", "\n# "),
    *("1.", "1 A", "chapter ", "a", "ab ", "\x0b", "\u2028", "é", "\u3042", "🙂", "{", "[", '{"text":', '"a",', "\\"),
    *("\\u0000", "%PDF-", "obj\n", "<<", "/Length ", "stream\n", "\x1f\x8b", "\ufeff", "\0", "\x01"),
]


CONTEXTS = {
    "a.txt": "{}",
    "b.txt": "# a{}b",
    "a": "{}",
    "b": "<!-- a -->{}b",
    "a.html": "{}",
    "b.html": "<html><body><p>{}</p></body></html>",
    "c.html": "<html><body><p a{}>text</p></body></html>",
    "a.json": '{{"text": "text{}"}}',
    "b.json": '{{"text": "text", "more": {}}}',
}


def packed(name: str, content: bytes) -> bytes:
    """As its name says, so that what is changed is inside."""
    if name.endswith(".gz"):
        return gzip.compress(content)
    return zstandard.compress(content) if name.endswith(".zst") else content


def go_through(path: Path, content: bytes, tokenizer: Tokenizer | None = None) -> None:
    """As a reader does, to the sections and, with a tokenizer, the tokens. Raises DocumentError."""
    path.write_bytes(content)
    with cpu_limit(MOST_SECONDS):
        passages = tokenize.passages(Extractor(INPUT).read(Document(str(path), str(path), "e", len(content))).pieces)
        if tokenizer is None:
            deque((deque(headings(passage.text), maxlen=0) for passage in passages), maxlen=0)
        else:
            assert sum(len(part.tokens) for part in tokenize.parts(passages, tokenizer, SectionFinder(SECTIONS))) > 0


def survives(path: Path, content: bytes) -> None:
    with suppress(DocumentError):
        go_through(path, packed(path.name, content), TOKENIZER)
    if path.suffix in (".gz", ".zst"):
        with suppress(DocumentError):
            go_through(path, content, TOKENIZER)


@fuzzed
@given(st.sampled_from(NAMES), st.binary(max_size=3000))
def test_any_bytes(tmp_path: Path, name: str, content: bytes) -> None:
    survives(tmp_path / name, content)


@fuzzed
@given(st.data())
def test_real_documents_with_some_bytes_changed(tmp_path: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(SEEDS)))
    content = bytearray(SEEDS[kind])
    for _ in range(data.draw(st.integers(1, 8))):
        start, length = data.draw(st.integers(0, len(content))), data.draw(st.integers(0, 20))
        new = data.draw(st.binary(max_size=20) | st.sampled_from(UNITS).map(str.encode))
        content[start : start + length] = new * data.draw(st.sampled_from([1, 1, 2, 100]))
    survives(tmp_path / data.draw(st.sampled_from(["a", *NAMES])), bytes(content))


@fuzzed
@given(st.data())
def test_pdfs_with_words_of_theirs_changed(tmp_path: Path, data: st.DataObject) -> None:
    """Numbers, names and operators, so that most of it stays a PDF."""
    words = re.split(rb"(\s+|(?<=[>\])])|(?=[<\[(/]))", data.draw(st.sampled_from(PDFS)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(words) - 1))
        words[place] = data.draw(st.sampled_from(words) | st.integers(-2, 10**10).map(lambda number: b"%d" % number))
    survives(tmp_path / "a.pdf", b"".join(word or b"" for word in words))


@fuzzed
@given(st.sampled_from(NAMES), st.lists(st.tuples(st.sampled_from(UNITS), st.integers(1, 300)), max_size=6))
def test_units_repeated_one_after_another(tmp_path: Path, name: str, runs: list[tuple[str, int]]) -> None:
    survives(tmp_path / name, "".join(unit * count for unit, count in runs).encode())


@pytest.mark.parametrize("name", CONTEXTS)
def test_four_times_as_long_takes_four_times_as_long(tmp_path: Path, name: str) -> None:
    """Of CPU time, the least of several; quadratic would be sixteen times."""

    def seconds(unit: str, num_chars: int, tries: int) -> float:
        content = CONTEXTS[name].format(unit * (num_chars // len(unit))).encode()
        found = []
        for _ in range(tries):
            started = time.process_time()
            with suppress(DocumentError):
                go_through(tmp_path / name, content)
            found.append(time.process_time() - started)
        return min(found)

    for unit in UNITS:
        if seconds(unit, SCALED_CHARS, 1) > SLACK_SECONDS:
            once, four_times = (seconds(unit, num_chars, 3) for num_chars in (SCALED_CHARS // 4, SCALED_CHARS))
            assert four_times < 8 * once + SLACK_SECONDS, f"{unit!r}: {once:.3f} s, then {four_times:.3f} s"
