"""What was listed is what is read, from a disk and from a bucket, however the object changes in between."""

import gzip
import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from configs.errors import ChangedError, DocumentError
from configs.settings import InputSettings
from pipeline.documents import content as reading
from pipeline.documents import pinned
from pipeline.documents.extract import Extractor
from pipeline.documents.sources import list_documents
from pipeline.documents.token_feed import TokenFeed
from pipeline.schemas.document import Document
from pipeline.storage import objects, remote
from tests.one_actor import tokenizer

TEXT = "".join(f"line {number} of the report\n" for number in range(2000))
OTHER = TEXT.replace("line 1000 ", "lime 1000 ")


def listed(*sources: object) -> list[Document]:
    return list_documents(InputSettings(sources=tuple(map(str, sources))))


def read(document: Document) -> str:
    return "".join(Extractor(InputSettings(sources=("unused",))).read(document).text)


@pytest.fixture(params=["blake2b", "ends"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How a local file is known: whole, or as a large one by its ends."""
    if request.param == "ends":
        monkeypatch.setattr(pinned, "HASHED_WHOLE_BYTES", 100)
        monkeypatch.setattr(pinned, "END_BYTES", 64)
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "doc.txt"
    path.write_text(TEXT, encoding="utf-8")
    os.utime(path, ns=(1, 1))
    return path


def test_a_file_that_is_written_anew_between_listing_and_reading_has_changed(path: Path, kind: str) -> None:
    (document,) = listed(path)
    assert document.source_etag.startswith(f"{kind}:") and read(document) == TEXT
    path.write_text(OTHER, encoding="utf-8")
    with pytest.raises(ChangedError, match="since it was listed"):
        read(document)
    path.write_text(TEXT[:-9], encoding="utf-8")
    with pytest.raises(ChangedError, match="since it was listed"):
        read(document)
    # The next listing sees what it is then.
    assert read(listed(path)[0]) == TEXT[:-9]


def test_of_a_log_that_grows_what_was_listed_is_read(path: Path) -> None:
    (document,) = listed(path)
    with path.open("a", encoding="utf-8") as file:
        file.write("a line that came later\n")
    assert read(document) == TEXT
    assert listed(path)[0].source_etag != document.source_etag


def test_a_change_while_a_file_is_read_is_found_at_its_end(
    path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PIECE_BYTES", 4096)
    monkeypatch.setattr(pinned, "BUFFER_BYTES", 512)
    (document,) = listed(path)
    text = Extractor(InputSettings(sources=("unused",))).read(document).text
    begun = next(text)
    with path.open("a", encoding="utf-8") as file:
        file.write("a line that came later\n")
    assert begun + "".join(text) == TEXT

    text = Extractor(InputSettings(sources=("unused",))).read(listed(path)[0]).text
    next(text)
    path.write_text(OTHER + "a line that came later\n", encoding="utf-8")
    if kind == "blake2b":
        with pytest.raises(ChangedError):
            list(text)
    else:
        # Known by its ends, it has to shrink, or to be written to without growing.
        path.write_text(OTHER, encoding="utf-8")
        with pytest.raises(ChangedError):
            list(text)


def test_a_file_whose_content_stayed_is_read_whatever_its_times(tmp_path: Path) -> None:
    path = tmp_path / "doc.txt.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    (document,) = listed(path)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    assert read(document) == TEXT


@pytest.mark.parametrize("at", [0, 7, 5000, 40_000])
def test_a_document_that_is_gone_on_with_is_held_to_what_was_listed(tmp_path: Path, at: int) -> None:
    """Although only what lies behind is read: what lies before is in the state."""
    path = tmp_path / "doc.txt"
    path.write_text(TEXT, encoding="utf-8")
    (document,) = listed(path)
    extractor = Extractor(InputSettings(sources=("unused",)))
    with closing(extractor.open(document)) as opened:
        assert "".join(piece.text for piece in opened.pieces(at)) == TEXT[at:]
    path.write_text("L" + TEXT[1:], encoding="utf-8")
    with pytest.raises(ChangedError), closing(extractor.open(document)) as opened:
        list(opened.pieces(at))


def test_a_feed_breaks_off_where_its_document_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "doc.txt"
    path.write_text(TEXT, encoding="utf-8")
    (document,) = listed(path)
    path.write_text(OTHER, encoding="utf-8")
    feed = TokenFeed(document, InputSettings(sources=("unused",)), tokenizer())
    feed._thread.join(60)
    with pytest.raises(ChangedError):
        _ = feed.ready


RECORDS = [{"id": name, "text": f"text of {name}"} for name in ("a", "b", "c")]


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def append(content: bytes) -> bytes:
    return content + lines({"text": "later"})


def exchange(content: bytes) -> bytes:
    return content.replace(b"text of b", b"TEXT OF B")


@pytest.mark.parametrize("place", ["disk", "s3"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_line_is_read_as_it_was_listed_whatever_becomes_of_others(
    place: str, pack: Callable[[bytes], bytes], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = str(tmp_path) if place == "disk" else request.getfixturevalue("bucket")
    uri = f"{root}/d.jsonl" + (".gz" if pack is gzip.compress else "")
    objects.publish(uri, pack(lines(*RECORDS)))
    documents = listed(uri)
    extractor = Extractor(InputSettings(sources=("unused",)))
    assert "".join(extractor.read(documents[0]).text) == "text of a"
    # While the file is open, others write it anew.
    objects.publish(uri, pack(append(lines(*RECORDS))))
    assert "".join(extractor.read(documents[1]).text) == "text of b"
    objects.publish(uri, pack(exchange(lines(*RECORDS))))
    fresh = Extractor(InputSettings(sources=("unused",)))
    assert "".join(fresh.read(documents[2]).text) == "text of c"
    with pytest.raises(ChangedError):
        fresh.read(documents[1])
    objects.publish(uri, pack(lines(RECORDS[0])))
    with pytest.raises(DocumentError):
        Extractor(InputSettings(sources=("unused",))).read(documents[2])


def test_an_object_of_a_store_is_the_one_that_was_listed(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "BLOCK_BYTES", 4096)
    uri = f"{bucket}/doc.txt"
    objects.publish(uri, TEXT.encode())
    (document,) = listed(uri)
    assert read(document) == TEXT
    stream = reading.open_document(uri, 100, pinned.Pin(uri, document.source_etag, document.size_bytes))
    assert stream.read(10) == TEXT[:10].encode()
    objects.publish(uri, OTHER.encode())
    # Every range is asked for with If-Match.
    with pytest.raises(ChangedError):
        list(reading.pieces(stream))
    with pytest.raises(ChangedError):
        read(document)
    assert read(listed(uri)[0]) == OTHER
