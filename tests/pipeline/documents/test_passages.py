"""Passages: the paragraph around a place in a text, within limits, of documents that are what they were."""

from pathlib import Path

import pytest

from configs.settings import InputSettings
from pipeline.documents import passages, pinned
from pipeline.documents.passages import AROUND_BYTES, PassageReader, PassageSettings
from pipeline.documents.reader_process import ReaderProcess
from pipeline.schemas.document import Document
from pipeline.schemas.tables import Row

INPUT = InputSettings(sources=("unused",))
TEXT = "Before.\n\nThe café opened.\nIt was näher\nthan thought. It closed.\n \nAfter.\n"
PAGE = "<!doctype html><title>A</title><p>First paragraph.<p>The second. It has two.<p>The third."


def row(path: Path, content: bytes, *sentences: str, text: str | None = None) -> Row:
    """A document whose text is its content, unless another is given, and the places of its sentences."""
    path.write_bytes(content)
    encoded = (text or content.decode()).encode()
    starts = [encoded.index(each.encode()) for each in sentences]
    spans = [(start, start + len(each.encode())) for start, each in zip(starts, sentences, strict=True)]
    document = Document(str(path), str(path), pinned.hash_of(content), len(content))
    return document.as_row() | {"spans": spans}


def read(wanted: Row) -> Row:
    return PassageReader(INPUT).read(wanted)


def test_a_paragraph_of_plain_text_ends_at_a_blank_line(tmp_path):
    found = read(row(tmp_path / "a.txt", TEXT.encode(), "It was näher\nthan thought.", "After."))
    assert found["error_class"] is None
    assert found["passages"] == [
        ("The café opened.\n", "It was näher\nthan thought.", " It closed."),
        ("", "After.", ""),
    ]
    assert found["text_bytes"] == len(TEXT.encode())


def test_a_paragraph_of_a_page_is_a_line(tmp_path):
    text = "First paragraph.\nThe second. It has two.\nThe third.\n"
    found = read(row(tmp_path / "a.html", PAGE.encode(), "It has two.", text=text))
    assert found["passages"] == [("The second. ", "It has two.", "")]


def test_a_long_paragraph_is_cut_between_words(tmp_path):
    text = "väter " * 1000 + "Here it is. " + "mütter " * 1000
    ((before, itself, after),) = read(row(tmp_path / "a.txt", text.encode(), "Here it is."))["passages"]
    assert itself == "Here it is."
    assert before.startswith("…väter ")
    assert after.endswith(" mütter…")
    assert all(AROUND_BYTES - 20 < len(each.encode()) <= AROUND_BYTES + 10 for each in (before, after))


@pytest.mark.parametrize("span", [(0, 100_000), (-1, 3), (4, 4), (5, 4)])
def test_places_outside_the_text_have_no_passage(tmp_path, span):
    found = read(row(tmp_path / "a.txt", TEXT.encode()) | {"spans": [span]})
    assert found["passages"] == [None]


def test_a_document_that_changed_is_not_shown(tmp_path):
    wanted = row(tmp_path / "a.txt", TEXT.encode(), "After.")
    (tmp_path / "a.txt").write_text(TEXT.replace("After", "Later"), encoding="utf-8")
    assert read(wanted)["error_class"] == "ChangedError"


def test_a_document_that_is_gone_says_so(tmp_path):
    wanted = row(tmp_path / "a.txt", TEXT.encode(), "After.")
    (tmp_path / "a.txt").unlink()
    assert read(wanted)["error_message"] == "The document does not exist any more."


def test_a_text_over_the_limit_is_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(passages, "MOST_TEXT_BYTES", 1024 * 1024)
    wanted = row(tmp_path / "a.txt", b"some words " * 200_000)
    assert read(wanted)["error_message"] == "The document has more than 1 MiB of text."


def test_a_process_reads_several_and_goes_on_after_what_cannot_be_read(tmp_path):
    wanted = [
        row(tmp_path / "a.txt", TEXT.encode(), "After."),
        row(tmp_path / "b.html", b"<p>" + b"\0" * 4),
        row(tmp_path / "c.txt", TEXT.encode(), "Before."),
    ]
    process = ReaderProcess()
    read = process.read(wanted, PassageSettings(INPUT))
    process.close()
    assert [found["error_class"] is None for found in read] == [True, False, True]
    assert read[2]["passages"] == [("", "Before.", "")]
