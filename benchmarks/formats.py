"""`python -m benchmarks.formats [megabytes=10] [kinds=text,paragraphs,table,pages,pdf]`: what reading a format costs.

Prints JSON: megabytes of text per CPU-second, and peak memory of a process that reads documents of each kind, made
here: plain text, a web page of paragraphs, one of a single table, many web pages with style sheets, and a PDF. Of each
there are so many megabytes, of the PDF so many of text. Each kind is read in a fresh process, three times.
"""

import io
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from pydoc_data.topics import topics

import pypdf
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from benchmarks import measure
from benchmarks.length import peak_bytes
from configs.settings import InputSettings
from pipeline.documents.extract import Extractor
from pipeline.schemas.document import Document

MEGABYTE = 1_000_000
ROUNDS = 3
LINES_ON_A_PAGE = 50
RULES = 150
PAGE_BYTES = 100_000
FONT = {"Type": "Font", "Subtype": "Type1", "BaseFont": "Helvetica"}


def text(num_bytes: int) -> Iterator[bytes]:
    """A plain text."""
    yield "".join(f"{line}\n" for line in _lines(num_bytes)).encode()


def paragraphs(num_bytes: int) -> Iterator[bytes]:
    """A web page with nothing but paragraphs."""
    yield _page("".join(_paragraph(line) for line in _lines(num_bytes)))


def table(num_bytes: int) -> Iterator[bytes]:
    """A web page that is one table, as of a statement."""
    row = "<tr><td>Net sales</td><td>$</td><td>412.5</td><td></td><td>$</td><td>385.1</td></tr>\n"
    yield _page(f"<table>{row * (num_bytes // len(row))}</table>")


def pages(num_bytes: int) -> Iterator[bytes]:
    """Web pages with style sheets, some rules of which hide something."""
    names = [f"name-{number}" for number in range(RULES)]
    rules = "".join(
        f".{name} .{other}{' > li a' * (number % 3 == 0)} {{ color: #333; margin: 0 auto; display: {shown}; }}\n"
        for number, (name, other) in enumerate(zip(names, reversed(names), strict=True))
        for shown in ("inline", "none")[: 1 + number % 2]
    )
    draw = random.Random(0)
    for _ in range(max(1, num_bytes // PAGE_BYTES)):
        body = "".join(
            f'<div class="{draw.choice(names)}"><ul class="{draw.choice(names)}"><li><a href="#">A link</a></li></ul>'
            f"{_paragraph(line)}</div>"
            for line in _lines(PAGE_BYTES - len(rules))
        )
        yield _page(body, f"<style>{rules}</style>")


def pdf(num_bytes: int) -> Iterator[bytes]:
    """A PDF of pages full of text."""
    writer = pypdf.PdfWriter()
    font = DictionaryObject({NameObject(f"/{key}"): NameObject(f"/{value}") for key, value in FONT.items()})
    words = " ".join(_lines(num_bytes)).translate(dict.fromkeys(map(ord, "()\\")))
    lines = [words[start : start + 90] for start in range(0, len(words), 90)]
    for start in range(0, len(lines), LINES_ON_A_PAGE):
        shown = "".join(f"({line}) Tj T*\n" for line in lines[start : start + LINES_ON_A_PAGE])
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 10 Tf 14 TL 50 750 Td\n{shown}ET".encode("ascii", "replace"))
        page = writer.add_blank_page(612, 792)
        page[NameObject("/Contents")] = writer._add_object(stream)
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    file = io.BytesIO()
    writer.write(file)
    yield file.getvalue()


def _lines(num_bytes: int) -> Iterator[str]:
    """Real words in ever new order, a paragraph a line."""
    words, draw = " ".join(topics.values()).split(), random.Random(0)
    made = 0
    while made < num_bytes:
        line = " ".join(draw.choices(words, k=draw.randint(10, 80)))
        made += len(line)
        yield line


def _paragraph(line: str) -> str:
    first, _, rest = line.replace("&", "&amp;").replace("<", "&lt;").partition(" ")
    return f"<p><b>{first}</b> {rest}</p>\n"


def _page(body: str, head: str = "") -> bytes:
    return f"<!DOCTYPE html><html><head><title>A page</title>{head}</head><body>{body}</body></html>".encode()


KINDS: dict[str, tuple[Callable[[int], Iterator[bytes]], str]] = {
    "text": (text, ".txt"),
    "paragraphs": (paragraphs, ".html"),
    "table": (table, ".html"),
    "pages": (pages, ".html"),
    "pdf": (pdf, ".pdf"),
}


def read_one(kind: str, directory: Path) -> dict[str, object]:
    """In this process."""
    extractor = Extractor(InputSettings(sources=(str(directory),)))
    documents = [Document(str(path), str(path), "", path.stat().st_size) for path in sorted(directory.iterdir())]
    num_bytes, before = 0, peak_bytes()

    def read() -> None:
        nonlocal num_bytes
        num_bytes = sum(len(text.encode()) for document in documents for text in extractor.read(document).text)

    seconds = min(measure.cpu_seconds(read) for _ in range(ROUNDS))
    return {
        "kind": kind,
        "documents": len(documents),
        "megabytes": round(sum(document.size_bytes for document in documents) / MEGABYTE, 2),
        "megabytes_of_text": round(num_bytes / MEGABYTE, 2),
        "cpu_seconds": round(seconds, 3),
        "megabytes_of_text_per_cpu_second": round(num_bytes / MEGABYTE / seconds, 2),
        "peak_rss_bytes_before": before,
        "peak_rss_bytes": peak_bytes(),
    }


def in_a_fresh_process(kind: str, num_bytes: int) -> dict[str, object]:
    make, suffix = KINDS[kind]
    with tempfile.TemporaryDirectory() as directory:
        for number, data in enumerate(make(num_bytes)):
            (Path(directory) / f"{number}{suffix}").write_bytes(data)
        command = [sys.executable, "-m", "benchmarks.formats", f"kinds={kind}", f"one={directory}"]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main(megabytes: str, kinds: str, one: str) -> None:
    if one:
        print(json.dumps(read_one(kinds, Path(one))))
        return
    num_bytes = round(float(megabytes) * MEGABYTE)
    measure.publish("formats", readings=[in_a_fresh_process(kind, num_bytes) for kind in kinds.split(",")])


if __name__ == "__main__":
    main(**measure.arguments(megabytes="10", kinds=",".join(KINDS), one=""))
