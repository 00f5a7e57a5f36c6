"""A reader hands short documents on with their tokens and long ones as handles, after no more than it takes to know."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import zstandard

from configs.settings import InputSettings, ModelSettings, SectionSettings
from models.weights.tokenizer import Tokenizer
from pipeline.documents import content as reading
from pipeline.documents import pinned, tokenize
from pipeline.documents.handover import READ_ROW, read_rows
from pipeline.documents.reader import Reader, ReaderSettings
from pipeline.documents.sections import Section
from pipeline.documents.token_feed import TokenFeed
from pipeline.documents.tokenize import Position
from pipeline.schemas.document import Document, Place
from tests.pdf import pdf


@pytest.fixture
def model(tmp_path: Path) -> ModelSettings:
    (tmp_path / "model").mkdir()
    Tokenizer.train(["some words of the documents below"], vocab_size=270).save(tmp_path / "model")
    return ModelSettings(uri=str(tmp_path / "model"))


def rows(model: ModelSettings, *documents: Document, **settings: Any) -> list[dict[str, Any]]:
    return read(model, [each.as_row() for each in documents], **settings)


def read(
    model: ModelSettings, given: list[dict[str, Any]], sections: SectionSettings | None = None, **settings: Any
) -> list[dict[str, Any]]:
    reader = Reader(ReaderSettings(InputSettings(sources=("unused",), **settings), model, sections))
    return read_rows(pa.Table.from_pylist([reader.read({"state_uri": None} | row) for row in given], READ_ROW))


def document(path: Path, content: bytes, place: Place | None = None) -> Document:
    path.write_bytes(content)
    read = content[place.offset :].rstrip() if place else content
    return Document(str(path), str(path), pinned.hash_of(read), len(content), (place,) if place else ())


def test_the_limit_is_of_text_and_exact(tmp_path: Path, model: ModelSettings) -> None:
    documents = [
        document(tmp_path / "fits.txt", "é".encode() * 500),
        document(tmp_path / "long.txt", "é".encode() * 500 + b"."),
        document(tmp_path / "fits.txt.gz", gzip.compress(b"x" * 1000)),
        document(tmp_path / "long.txt.gz", gzip.compress(b"x" * 1001)),
        document(tmp_path / "utf-16.txt", ("x" * 1000).encode("utf-16")),
        document(tmp_path / "fits.html", b"<p>" + b"x" * 990 + b"<script>" + b"y" * 5000 + b"</script>"),
        document(tmp_path / "long.html", b"<title>T</title><p>" + b"x" * 1001),
        document(tmp_path / "long.json", b'{"title": "J", "text": "' + b"x" * 1001 + b'"}'),
    ]
    found = rows(model, *documents, inline_bytes=1000)
    assert [row["is_streamed"] for row in found] == ["long" in each.source_uri for each in documents]
    assert all((row["tokens"] is None) == row["is_streamed"] and row["error_class"] is None for row in found)
    assert [row["title"] for row in found[-2:]] == ["T", "J"]
    tokenizer = Tokenizer.load(Path(model.uri))
    assert np.array_equal(found[0]["tokens"], tokenize.tokens(["é" * 500], tokenizer))


def test_a_long_document_is_read_no_further_than_the_limit(
    tmp_path: Path, model: ModelSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is broken far behind it is for the actor to find."""
    monkeypatch.setattr(reading, "PIECE_BYTES", 1000)
    content = b"# A title\n" + b"some words\n" * 2000
    (row,) = rows(model, document(tmp_path / "a.md", content + b"\xff\0" * 50), inline_bytes=5000)
    assert (row["title"], row["tokens"], row["is_streamed"], row["error_class"]) == ("A title", None, True, None)
    (row,) = rows(model, document(tmp_path / "a.md", content + b"\xff\0" * 50), inline_bytes=len(content) + 200)
    assert (row["title"], row["tokens"], row["error_class"]) == (None, None, "UndecodableError")


def test_a_long_record_becomes_a_handle(tmp_path: Path, model: ModelSettings) -> None:
    line = b'{"text": "' + b"word " * 500 + b'"}\n'
    record = document(tmp_path / "a.jsonl", b"\n" + line, Place("jsonl", None, 1, len(line)))
    assert [row["is_streamed"] for limit in (2499, 2500) for row in rows(model, record, inline_bytes=limit)] == [
        True,
        False,
    ]


def paragraphs(count: int) -> str:
    return "".join(f"# Chapter {number}\n{'some words of it ' * 30}\n" for number in range(count))


@pytest.mark.parametrize(
    ("name", "encoding", "line_end"),
    [("a.txt", "utf-8", "\n"), ("a.txt", "utf-16", "\r\n"), ("a.txt.gz", "utf-8", "\r"), ("a.html", "utf-8", "\n")],
)
def test_cuts_and_sections_are_those_that_a_feed_finds(
    tmp_path: Path, model: ModelSettings, monkeypatch: pytest.MonkeyPatch, name: str, encoding: str, line_end: str
) -> None:
    monkeypatch.setattr(reading, "PIECE_BYTES", 9_001)
    text = paragraphs(100) + "où " + paragraphs(30)
    if name == "a.html":
        text = "".join(f"<p>{line}</p>" for line in text.splitlines())
    content = text.replace("\n", line_end).encode(encoding)
    source = document(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content)
    sections = SectionSettings(least_tokens=64)
    (row,) = read(model, [source.as_row()], sections)
    inputs = InputSettings(sources=("unused",))
    feed = TokenFeed(source, inputs, Tokenizer.load(Path(model.uri)), ahead_tokens=1 << 30, sections=sections)
    seen = []
    while not feed.ended or feed.ready:
        if feed.ready and feed.take(1) is not None and feed.position() not in (Position(), *seen[-1:]):
            seen.append(feed.position())
    feed.close()
    assert [Position(**cut) for cut in row["cuts"]] == seen and len(seen) > 10
    assert [Section(**section) for section in row["sections"]] == feed.sections
    ends = [cut.tokens for cut in (*seen[1:], Position(len(row["tokens"])))]
    assert all(end > start.tokens for start, end in zip(seen, ends, strict=True))


def test_there_are_no_cuts_where_there_are_no_tokens(tmp_path: Path, model: ModelSettings) -> None:
    found = rows(
        model,
        document(tmp_path / "short.txt", b"a word"),
        document(tmp_path / "long.txt", b"a word " * 2000),
        document(tmp_path / "empty.txt", b""),
        inline_bytes=10_000,
    )
    assert [row["cuts"] for row in found] == [[], None, None]


def test_plain_text_with_a_state_to_go_on_from_passes_unread(tmp_path: Path, model: ModelSettings) -> None:
    """After a look at its first bytes, whatever its name says."""
    gone = Document("gone", str(tmp_path / "gone.txt"), "etag", 9).as_row()
    log = document(tmp_path / "app.log", b"a line\n" * 100).as_row()
    with_state = {"state_uri": "s3://states/one"}
    found = read(model, [log | with_state, gone | with_state, gone])
    assert [(row["is_streamed"], row["tokens"], row["cuts"], row["title"]) for row in found] == [
        (True, None, None, "a line"),
        (None, None, None, None),
        (None, None, None, None),
    ]
    assert [row["error_message"] for row in found] == [None, *2 * ["The document does not exist any more."]]
    assert found[0]["state_uri"] == "s3://states/one"


@pytest.mark.parametrize("name", ["a.html", "page", "a.json", "a.jsonl", "a.pdf"])
def test_what_must_be_parsed_is_read_here_also_where_there_is_a_state(
    tmp_path: Path, model: ModelSettings, name: str
) -> None:
    """No parser runs beside the model, and what breaks one breaks here."""
    text = "some words of it\n" * 600
    line = json.dumps({"text": text}).encode()
    content = {
        ".html": f"<html>{text}</html>".encode(),
        "": f"<html>{text}</html>".encode(),
        ".json": line,
        ".jsonl": line,
        ".pdf": b"%PDF-1.4 of no use",
    }[Path(name).suffix]
    place = Place("jsonl", None, 0, len(line)) if name == "a.jsonl" else None
    (row,) = read(model, [document(tmp_path / name, content, place).as_row() | {"state_uri": "s3://states/one"}])
    if name == "a.pdf":
        assert row["error_class"] == "CorruptError"
        return
    assert row["is_streamed"] is False and len(row["tokens"]) > 1000
    assert [cut["parts"] for cut in row["cuts"]] == list(range(1, 1 + len(row["cuts"])))
    assert row["state_uri"] == "s3://states/one"


def test_what_must_be_parsed_and_is_too_long_to_travel_has_been_parsed_to_its_end(
    tmp_path: Path, model: ModelSettings
) -> None:
    """The actor that parses it again meets nothing for the first time."""
    good, bad = (pdf("one " * 250, "two " * 1000, last * 100) for last in ("six ", "/g119/g107 "))
    found = rows(model, document(tmp_path / "a.pdf", good), document(tmp_path / "b.pdf", bad), inline_bytes=1000)
    assert [(row["is_streamed"], row["error_class"]) for row in found] == [(True, None), (None, "UndecodableError")]


def test_whatever_a_document_raises_is_its_reason(
    tmp_path: Path, model: ModelSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With class, message and the place in our code. Memory is the process's affair."""
    source = document(tmp_path / "a.txt", b"some words")

    def stumble(error: type[BaseException]) -> None:
        def pieces(*_: object) -> None:
            raise error("this \ud83d cannot be")

        monkeypatch.setattr(reading, "pieces", pieces)

    stumble(ZeroDivisionError)
    (row,) = rows(model, source)
    assert row["error_class"] == "UnexpectedError"
    assert row["error_message"].startswith(
        "ZeroDivisionError: this \\ud83d cannot be (at pipeline/documents/extract.py:"
    )
    stumble(MemoryError)
    with pytest.raises(MemoryError):
        rows(model, source)


def test_more_tokens_than_the_limit_are_a_failure(tmp_path: Path, model: ModelSettings) -> None:
    source = document(tmp_path / "a.txt", b"some words of it\n" * 3000)
    (row,) = rows(model, source)
    count = len(row["tokens"])
    assert [
        row["error_class"] for most in (count, count - 1) for row in rows(model, source, max_document_tokens=most)
    ] == [None, "TooLargeError"]


def test_without_a_tokenizer_that_is_the_reason(tmp_path: Path) -> None:
    (row,) = rows(ModelSettings(uri=str(tmp_path)), document(tmp_path / "a.txt", b"some words"))
    assert row["error_class"] == "ModelError" and "tokenizer.json" in row["error_message"]


@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt.zst"])
def test_a_bomb_is_found_before_it_becomes_a_handle(tmp_path: Path, model: ModelSettings, name: str) -> None:
    pack = gzip.compress if name.endswith(".gz") else zstandard.compress
    (row,) = rows(model, document(tmp_path / name, pack(b"0" * (16 << 20))))
    assert row["error_class"] == "TooLargeError" and "input.max_expansion" in row["error_message"]
