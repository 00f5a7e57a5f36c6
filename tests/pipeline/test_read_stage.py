"""A reader hands short documents on with their tokens and long ones as handles, after no more than it takes to know."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from configs.settings import InputSettings, ModelSettings, SectionSettings
from models.tokenizer import Tokenizer
from pipeline import pinned, reading, tokenise
from pipeline.assignment import READ_ROW, read_rows
from pipeline.documents import MANIFEST, Document
from pipeline.read_stage import read_batch
from pipeline.sections import Section
from pipeline.token_feed import TokenFeed
from pipeline.tokenise import Position

TODO = pa.schema([*MANIFEST, ("state_uri", pa.string())])


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
    batch = pa.Table.from_pylist(given, TODO)
    table = read_batch(batch, InputSettings(sources=("unused",), **settings), model, sections)
    assert table.schema == READ_ROW
    return read_rows(table)


def document(path: Path, content: bytes, **place: Any) -> Document:
    path.write_bytes(content)
    read = content[place["record_offset"] :].rstrip() if place else content
    return Document(str(path), str(path), pinned.hash_of(read), len(content), **place)


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
    assert np.array_equal(found[0]["tokens"], tokenise.tokens(["é" * 500], tokenizer))


def test_a_long_document_is_read_no_further_than_the_limit(
    tmp_path: Path, model: ModelSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is broken far behind it is for the actor to find."""
    monkeypatch.setattr(reading, "PIECE_BYTES", 1000)
    content = b"# A title\n" + b"some words\n" * 2000
    (row,) = rows(model, document(tmp_path / "a.md", content + b"\xff\0"), inline_bytes=5000)
    assert (row["title"], row["tokens"], row["is_streamed"], row["error_class"]) == ("A title", None, True, None)
    (row,) = rows(model, document(tmp_path / "a.md", content + b"\xff\0"), inline_bytes=len(content) + 10)
    assert (row["title"], row["tokens"], row["error_class"]) == (None, None, "UndecodableError")


def test_a_long_record_becomes_a_handle(tmp_path: Path, model: ModelSettings) -> None:
    line = b'{"text": "' + b"word " * 500 + b'"}\n'
    record = document(tmp_path / "a.jsonl", b"\n" + line, record_offset=1, record_length=len(line))
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


def test_a_document_with_a_state_to_go_on_from_passes_unread(tmp_path: Path, model: ModelSettings) -> None:
    gone = Document("gone", str(tmp_path / "gone.txt"), "etag", 9).as_row()
    broken = gone | {"error_class": "UnreadableError", "error_message": "It is gone."}
    found = read(model, [gone | {"state_uri": "s3://states/gone"}, gone, broken | {"state_uri": "s3://states/gone"}])
    assert [row["error_class"] for row in found] == [None, "UnreadableError", "UnreadableError"]
    assert [row["error_message"] for row in found[1:]] == ["The document is not there any more.", "It is gone."]
    expected = {"title": None, "tokens": None, "is_streamed": True, "cuts": None, "state_uri": "s3://states/gone"}
    assert expected.items() <= found[0].items()
