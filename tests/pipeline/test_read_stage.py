"""A reader hands short documents on with their tokens and long ones as handles, after no more than it takes to know."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from configs.settings import InputSettings, ModelSettings
from models.tokenizer import Tokenizer
from pipeline import reading, tokenise
from pipeline.assignment import READ_ROW, read_rows
from pipeline.documents import MANIFEST, Document
from pipeline.read_stage import read_batch

TODO = pa.schema([*MANIFEST, ("attempt", pa.int32())])


@pytest.fixture
def model(tmp_path: Path) -> ModelSettings:
    (tmp_path / "model").mkdir()
    Tokenizer.train(["some words of the documents below"], vocab_size=270).save(tmp_path / "model")
    return ModelSettings(uri=str(tmp_path / "model"))


def rows(model: ModelSettings, *documents: Document, **settings: Any) -> list[dict[str, Any]]:
    batch = pa.Table.from_pylist([each.as_row() | {"attempt": 1} for each in documents], TODO)
    table = read_batch(batch, InputSettings(sources=("unused",), **settings), model)
    assert table.schema == READ_ROW
    return read_rows(table)


def document(path: Path, content: bytes, **place: Any) -> Document:
    path.write_bytes(content)
    return Document(str(path), str(path), "etag", len(content), **place)


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
