"""What an archive or a table holds is listed and read as if each document lay outside."""

import gzip
import io
import json
import random
import tarfile
import time
import tracemalloc
import uuid
import zipfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs.core
import zstandard

from configs.errors import ChangedError, DocumentError
from configs.settings import InputSettings
from pipeline.documents import content, members, pinned
from pipeline.documents.extract import Extractor
from pipeline.documents.sources import list_documents
from pipeline.schemas.document import Document
from pipeline.storage import objects
from tests.containers import arrow_of, parquet_of, tar_of, zip_of
from tests.documents_of_every_format import SENTENCE, all_containers, all_documents

PLAIN = {"a.txt": b"Text of a.\n", "folder/b.html": b"<p>Text of b</p>", "c.txt.gz": gzip.compress(b"Text of c.\n")}
PACKED = {
    "x.zip": zip_of,
    "x.tar": tar_of,
    "x.tar.gz": lambda parts: tar_of(parts, "w:gz"),
    "x.tgz": lambda parts: tar_of(parts, "w:gz"),
    "x.tar.bz2": lambda parts: tar_of(parts, "w:bz2"),
    "x.txz": lambda parts: tar_of(parts, "w:xz"),
    "x.tar.zst": lambda parts: zstandard.compress(tar_of(parts)),
    "x.zip.gz": lambda parts: gzip.compress(zip_of(parts)),
    "X.ZIP": zip_of,
}
ROWS: dict[str, Any] = {
    "id": ["one", "two", None, "one"],
    "text": ["Text of 1", "Text of 2\nin lines", None, "Text of 4"],
    "title": ["Minutes of May", None, None, None],
    "amount": [1.5, 2.5, 3.5, 4.5],
}


def settings(*sources: object, **values: Any) -> InputSettings:
    return InputSettings(sources=tuple(map(str, sources)), **values)


def listed(*sources: object, **values: Any) -> list[Document]:
    return list_documents(settings(*sources, **values))


def names(documents: Sequence[Document], path: Path | str) -> list[str]:
    return [document.document_id.removeprefix(str(path)) for document in documents]


def text(document: Document, extractor: Extractor | None = None) -> str:
    with closing((extractor or Extractor(settings("unused"))).read(document)) as extracted:
        return "".join(extracted.text)


def texts(path: Path | str, **values: Any) -> dict[str, str]:
    """By what follows the path in the ids; an error's class and message where there is no text."""
    extractor, found = Extractor(settings("unused", **values)), {}
    for document in listed(path, **values):
        name = document.document_id.removeprefix(str(path))
        try:
            found[name] = text(document, extractor)
        except DocumentError as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """URIs that are opened from now on."""
    uris: list[str] = []
    original = objects.open_read

    def open_read(uri: str, *more: Any) -> Any:
        uris.append(uri)
        return original(uri, *more)

    monkeypatch.setattr(objects, "open_read", open_read)
    return uris


@pytest.mark.parametrize("name", PACKED)
def test_each_file_of_an_archive_is_a_document(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(PACKED[name](PLAIN))
    assert texts(path) == {"#a.txt": "Text of a.\n", "#folder/b.html": "Text of b\n", "#c.txt.gz": "Text of c.\n"}
    titles = [Extractor(settings("unused")).read(document).title for document in listed(path)]
    assert titles == ["Text of a.", "Text of b", "Text of c."]


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_a_document_of_every_format_has_the_text_that_it_has_outside(tmp_path: Path, name: str) -> None:
    parts = all_documents()
    inside, outside = tmp_path / name, tmp_path / "outside"
    inside.write_bytes(PACKED[name](parts))
    outside.mkdir()
    for part, data in parts.items():
        (outside / part).write_bytes(data)
    expected = {f"#{part}": text(document) for part in parts for document in listed(outside / part)}
    assert texts(inside) == expected


@pytest.mark.parametrize("name", all_containers())
def test_an_archive_or_a_table_of_every_kind_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(all_containers()[name])
    (read,) = texts(tmp_path / name).values()
    assert SENTENCE in read


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_what_programs_leave_in_archives_is_passed_over(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    left = {"__MACOSX/._a.txt": b"x", ".DS_Store": b"x", "d/.git/config": b"x", "_SUCCESS": b"", "d_$folder$": b""}
    path.write_bytes(PACKED[name](left | {"./a.txt": b"Text of a.", "report.txt": b""}))
    assert texts(path) == {
        "#a.txt": "Text of a.",
        "#report.txt": "EmptyDocumentError: The document is empty: there is no text in it.",
    }


def test_folders_links_and_devices_of_a_tar_archive_are_none(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, kind in [
            ("d", tarfile.DIRTYPE),
            ("l", tarfile.SYMTYPE),
            ("h", tarfile.LNKTYPE),
            ("p", tarfile.FIFOTYPE),
        ]:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "d/a.txt"
            archive.addfile(entry)
        entry = tarfile.TarInfo("d/a.txt")
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"a"))
    assert texts(tmp_path / "x.tar") == {"#d/a.txt": "a"}
    packed = zipfile.ZipInfo("link")
    packed.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
        zipped.mkdir("d")
        zipped.writestr(packed, "d/a.txt")
        zipped.writestr("d/a.txt", "a")
    assert texts(tmp_path / "x.zip") == {"#d/a.txt": "a"}


@pytest.mark.parametrize("style", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_style_of_tar_is_read_with_long_names_too(tmp_path: Path, style: int) -> None:
    long = "/".join(["folder" * 10] * 3) + "/ünïcode.txt"
    (tmp_path / "x.tar").write_bytes(tar_of({long: b"a", "b.txt": b"b"}, style=style))
    assert texts(tmp_path / "x.tar") == {f"#{long}": "a", "#b.txt": "b"}


def test_tar_archives_one_behind_the_other_are_read(tmp_path: Path) -> None:
    first, second = tar_of({"a.txt": b"a"}), tar_of({"b.txt": b"b", "c.txt": b"c"})
    (tmp_path / "x.tar").write_bytes(first + second)
    (tmp_path / "y.tgz").write_bytes(gzip.compress(first) + gzip.compress(second))
    for name in ("x.tar", "y.tgz"):
        assert texts(tmp_path / name) == {"#a.txt": "a", "#b.txt": "b", "#c.txt": "c"}
    (tmp_path / "z.tar").write_bytes(first + b"something else" * 100)
    a, rest = listed(tmp_path / "z.tar")
    assert (a.error_class, rest.error_class) == (None, "CorruptError")


def test_a_file_with_holes_in_a_tar_archive_fails_alone(tmp_path: Path) -> None:
    head = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "h.txt", "GNU.sparse.realsize": "9000"}
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for name, data, pax in [("h", b"1\n8999\n1\n".ljust(512, b"\0") + b"x", head), ("a.txt", b"Text of a.", {})]:
            entry = tarfile.TarInfo(name)
            entry.size, entry.pax_headers = len(data), pax
            archive.addfile(entry, io.BytesIO(data))
    holes, a = listed(tmp_path / "x.tar")
    assert holes.error_class == "UndecodableError" and holes.document_id.endswith("#h.txt")
    assert text(a) == "Text of a."


def test_a_tar_archive_from_before_there_was_a_magic_is_known_by_its_name(tmp_path: Path) -> None:
    data = bytearray(tar_of({"a.txt": b"Text of a."}, style=tarfile.USTAR_FORMAT))
    data[257:265] = bytes(8)
    data[148:156] = b"%06o\0 " % (256 + sum(data[:148]) + sum(data[156:512]))
    (tmp_path / "x.tar").write_bytes(data)
    assert texts(tmp_path / "x.tar") == {"#a.txt": "Text of a."}


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_containers_lie_in_archives(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    inner = {
        "a.txt": b"Text of a.",
        "in.zip": zip_of({"b.txt": b"Text of b.", "in.tgz": tar_of({"c.txt": b"Text of c."}, "w:gz")}),
        "lines.jsonl": b'{"text": "Line 1"}\n{"id": "l", "text": "Line 2"}\n',
        "t.parquet": parquet_of(ROWS),
        "t.csv": b"id;text\n7;Row 1\n",
        "plain.csv": b"id;amount\n7;1\n",
        "z.txt": b"Text of z.",
    }
    path.write_bytes(PACKED[name](inner))
    found = texts(path)
    assert found.pop("#t.parquet#3").startswith("EmptyDocumentError")
    assert found == {
        "#a.txt": "Text of a.",
        "#in.zip#b.txt": "Text of b.",
        "#in.zip#in.tgz#c.txt": "Text of c.",
        "#lines.jsonl#1": "Line 1",
        "#lines.jsonl#l": "Line 2",
        "#t.parquet#one": "Text of 1",
        "#t.parquet#two": "Text of 2\nin lines",
        "#t.parquet#one-row4": "Text of 4",
        "#t.csv#7": "Row 1",
        "#plain.csv": "id | amount\n7 | 1\n",
        "#z.txt": "Text of z.",
    }


def test_archives_do_not_lie_in_one_another_without_end(tmp_path: Path) -> None:
    data = zip_of({"a.txt": b"a"})
    for _ in range(6):
        data = zip_of({"in.zip": data})
    (tmp_path / "x.zip").write_bytes(data)
    (document,) = listed(tmp_path / "x.zip")
    assert document.error_class == "UndecodableError" and "unpack it" in str(document.error_message)


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_a_changed_archive_rereads_only_what_changed_in_it(tmp_path: Path, name: str) -> None:
    path, parts = tmp_path / name, {f"{n}.txt": f"Text of {n}".encode() for n in range(5)}
    path.write_bytes(PACKED[name](parts))
    before = {document.document_id: document.source_etag for document in listed(path)}
    path.write_bytes(
        PACKED[name](parts | {"0.txt": b"longer than it was " * 99, "3.txt": b"Text OF 3", "5.txt": b"new"})
    )
    after = {document.document_id: document.source_etag for document in listed(path)}
    assert [key.rpartition("#")[2] for key, etag in after.items() if before.get(key) != etag] == [
        "0.txt",
        "3.txt",
        "5.txt",
    ]


@pytest.mark.parametrize("name", [*PACKED, "x.jsonl.gz", "x.csv", "x.parquet"])
def test_in_order_a_container_is_opened_once(tmp_path: Path, name: str, opened: list[str]) -> None:
    path = tmp_path / name
    rows = [f"Text of {n}" for n in range(50)]
    tables = {
        "x.jsonl.gz": gzip.compress(b"".join(json.dumps({"text": each}).encode() + b"\n" for each in rows)),
        "x.csv": "\n".join(["text", *rows]).encode(),
        "x.parquet": parquet_of({"text": rows}, row_group_size=7),
    }
    path.write_bytes(tables[name] if name in tables else PACKED[name]({f"{row}.txt": row.encode() for row in rows}))
    documents = listed(path)
    opened.clear()
    extractor = Extractor(settings("unused"))
    assert [text(document, extractor) for document in documents] == rows
    assert len(opened) == 1
    # Nor does another order find anything else.
    assert [text(document, extractor) for document in documents[::-7]] == rows[::-7]


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_what_is_not_as_it_was_listed_is_not_read(tmp_path: Path, name: str) -> None:
    path, extractor = tmp_path / name, Extractor(settings("unused"))
    path.write_bytes(PACKED[name]({"a.txt": b"Text of a.", "b.txt": b"Text of b.", "c.txt": b"Text of c."}))
    documents = listed(path)
    assert text(documents[0], extractor) == "Text of a."
    path.unlink()
    path.write_bytes(PACKED[name]({"a.txt": b"Text of a.", "b.txt": b"Other text.", "c.txt": b"Text of c."}))
    (_, b, c) = listed(path)
    for changed in (documents[1], documents[1]):
        with pytest.raises(ChangedError):
            text(changed, Extractor(settings("unused")))
    # What was opened is what it was before.
    assert text(documents[2], extractor) == "Text of c."
    assert text(b, extractor) == "Other text." and text(c, extractor) == "Text of c."


def test_an_archive_that_is_written_anew_in_place_is_not_called_damaged(tmp_path: Path) -> None:
    path, extractor = tmp_path / "x.zip", Extractor(settings("unused"))
    path.write_bytes(zip_of({"a.txt": b"Text of a.", "b.txt": b"Text of b."}))
    a, b = listed(path)
    assert text(a, extractor) == "Text of a."
    path.write_bytes(zip_of({"a.txt": b"A longer text. " * 50, "c.txt": b"c", "b.txt": b"Text of b."}))
    assert text(b, extractor) == "Text of b."


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_a_long_text_in_an_archive_is_streamed_and_goes_on_from_an_offset(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    lines = "".join(f"line {n} with ümlauts\n" for n in range(150_000))
    path.write_bytes(PACKED[name]({"a.txt": b"a", "long.txt": lines.encode(), "z.txt": b"z"}))
    document = listed(path)[1]
    with closing(Extractor(settings("unused")).open(document)) as opened:
        pieces = list(opened.pieces())
    assert "".join(piece.text for piece in pieces) == lines and len(pieces) > 2
    with closing(Extractor(settings("unused")).open(document)) as opened:
        rest = "".join(piece.text for piece in opened.pieces(pieces[2].offset, pieces[2].encoding))
    assert rest == "".join(piece.text for piece in pieces[2:])
    if name != "x.zip":
        other = Document(document.document_id, str(path), pinned.hash_of(b"?"), document.size_bytes, document.within)
        with pytest.raises(ChangedError):
            text(other)


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_long_texts_are_read_in_little_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(PACKED[name]({"long.txt": b"".join(b"line %d of it\n" % n for n in range(3_000_000))}))
    tracemalloc.start()
    try:
        (document,) = listed(path, max_expansion=10_000)
        with closing(Extractor(settings("unused", max_expansion=10_000)).open(document)) as opened:
            assert sum(len(piece.text) for piece in opened.pieces()) > 40_000_000
        assert tracemalloc.get_traced_memory()[1] < 24_000_000
    finally:
        tracemalloc.stop()


def test_a_damaged_archive_keeps_what_was_found_and_fails_once(tmp_path: Path) -> None:
    parts = {f"{n}.txt": random.Random(n).randbytes(1000).hex().encode() for n in range(20)}
    tar = tar_of(parts)
    cases = {
        "cut.tar": (tar[: len(tar) // 2], "cut short"),
        "header.tar": (tar[:30_000] + tar_of({})[:0] + b"junk" * 5000, "damaged"),
        "no-end.tar": (tar[: len(tar.rstrip(b"\0")) // 512 * 512 + 512], "cut short"),
        "cut.tar.gz": (gzip.compress(tar)[:-700], "cut short"),
    }
    for name, (data, message) in cases.items():
        (tmp_path / name).write_bytes(data)
        *good, bad = listed(tmp_path / name)
        assert bad.document_id == str(tmp_path / name) and bad.error_class == "CorruptError", name
        assert message in str(bad.error_message) and not any(document.error_class for document in good)
        assert 3 < len(good) <= 20, name
    whole = zip_of(parts)
    (tmp_path / "cut.zip").write_bytes(whole[:-50])
    (document,) = listed(tmp_path / "cut.zip")
    assert document.error_class == "CorruptError" and "damaged or cut short" in str(document.error_message)
    (tmp_path / "bad.zip").write_bytes(whole[:60] + b"\xff" * 8 + whole[68:])
    found = texts(tmp_path / "bad.zip")
    assert len(found) == 20 and [name for name, each in found.items() if each.startswith("CorruptError")] == ["#0.txt"]


def test_a_file_with_a_password_or_an_unknown_method_fails_alone(tmp_path: Path) -> None:
    data = bytearray(zip_of({"a.txt": b"a" * 50, "b.txt": b"b" * 50, "c.txt": b"c"}))
    first, second = data.find(b"PK\1\2"), data.find(b"PK\1\2", data.find(b"PK\1\2") + 4)
    data[first + 8] |= 1
    data[second + 10] = 9
    (tmp_path / "x.zip").write_bytes(data)
    a, b, c = listed(tmp_path / "x.zip")
    assert (a.error_class, b.error_class, c.error_class) == ("EncryptedError", "UndecodableError", None)
    assert "password" in str(a.error_message) and "Deflate64" in str(b.error_message) and text(c) == "c"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_every_method_of_a_zip_archive(tmp_path: Path, method: int) -> None:
    (tmp_path / "x.zip").write_bytes(zip_of(PLAIN, method))
    assert list(texts(tmp_path / "x.zip").values()) == ["Text of a.\n", "Text of b\n", "Text of c.\n"]


def test_bombs_fail_alone(tmp_path: Path) -> None:
    bomb = bytes(50_000_000)
    (tmp_path / "x.zip").write_bytes(zip_of({"bomb.txt": bomb, "in.zip": zip_of({"b.txt": bomb}), "a.txt": b"a"}))
    bombed, inner, good = listed(tmp_path / "x.zip")
    assert [each.error_class for each in (bombed, inner, good)] == ["TooLargeError", "TooLargeError", None]
    assert "input.max_expansion" in str(bombed.error_message) and inner.document_id.endswith("x.zip#in.zip#b.txt")
    (tmp_path / "x.tgz").write_bytes(tar_of({"a.txt": b"a", "bomb.txt": bomb}, "w:gz"))
    a, failed = listed(tmp_path / "x.tgz")
    assert a.error_class is None and failed.error_class == "TooLargeError"
    stored = zip_of({"page.html": b"<p>" + b"word " * 1000})
    (tmp_path / "y.zip").write_bytes(stored)
    assert "TooLargeError" in texts(tmp_path / "y.zip", max_document_bytes=1000)["#page.html"]


def test_files_of_a_zip_archive_that_overlap_are_a_bomb(tmp_path: Path) -> None:
    data = bytearray(zip_of({"a.txt": b"a" * 1000, "b.txt": b"b" * 1000}))
    second = data.rfind(b"PK\1\2")
    data[second + 42 : second + 46] = bytes(4)
    (tmp_path / "x.zip").write_bytes(data)
    assert "CorruptError" in {document.error_class for document in listed(tmp_path / "x.zip")}


@pytest.mark.parametrize(("field", "size"), [(24, 10), (24, 100_000), (20, 3), (20, 900_000)])
def test_a_directory_that_lies_about_sizes_does_no_harm(tmp_path: Path, field: int, size: int) -> None:
    """The size of the content at 24, that in the archive at 20."""
    data = bytearray(zip_of({"a.txt": b"".join(b"line %d\n" % n for n in range(1000)), "b.txt": b"b"}))
    place = data.find(b"PK\1\2") + field
    data[place : place + 4] = size.to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(data)
    found = texts(tmp_path / "x.zip")
    assert "Error" in found["#a.txt"] or found["#a.txt"].startswith("line 0\nline 1\n")
    assert size > 1_000 or "CorruptError" in found["#a.txt"]


def test_names_in_other_encodings(tmp_path: Path) -> None:
    data = bytearray(zip_of({"b\u00e4r.txt": b"a", "cafe.txt": b"b"}))
    # As programs write names that do not say that they are UTF-8, and in an older code page.
    for place in (data.find(b"PK\3\4") + 6, data.find(b"PK\1\2") + 8):
        data[place + 1] &= ~8 & 0xFF
    data = data.replace(b"cafe", b"caf\x82")
    (tmp_path / "x.zip").write_bytes(data)
    assert texts(tmp_path / "x.zip") == {"#b\u00e4r.txt": "a", "#caf\u00e9.txt": "b"}
    tar = tar_of({"cafe.txt": b"b"}, style=tarfile.USTAR_FORMAT)
    header = bytearray(tar[:512].replace(b"cafe", b"caf\xe9"))
    header[148:156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:512]))
    (tmp_path / "x.tar").write_bytes(bytes(header) + tar[512:])
    assert texts(tmp_path / "x.tar") == {"#caf\\xe9.txt": "b"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_a_name_that_is_there_twice_gets_a_suffix(tmp_path: Path, name: str) -> None:
    if name == "x.tar":
        with tarfile.open(tmp_path / name, "w") as archive:
            for data in (b"old", b"newer"):
                entry = tarfile.TarInfo("a.txt")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    else:
        with zipfile.ZipFile(tmp_path / name, "w") as zipped:
            zipped.writestr("a.txt", "old")
            zipped.writestr("a.txt", "newer")
    assert texts(tmp_path / name) == {"#a.txt": "old", "#a.txt-entry2": "newer"}


def test_names_with_the_slashes_of_windows(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zip_of({"d\\": b"", "d\\a.txt": b"a", ".git\\b.txt": b"b"}))
    assert texts(tmp_path / "x.zip") == {"#d/a.txt": "a"}


def test_archives_without_documents_are_failures(tmp_path: Path) -> None:
    for name, data in {"a.zip": zip_of({}), "b.tar": tar_of({}), "c.zip": zip_of({".DS_Store": b"x"})}.items():
        (tmp_path / name).write_bytes(data)
        (document,) = listed(tmp_path / name)
        assert (document.error_class, document.document_id) == ("EmptyDocumentError", str(tmp_path / name))
    (tmp_path / "d.zip").write_bytes(b"")
    assert texts(tmp_path / "d.zip")[""].startswith("EmptyDocumentError")


def test_documents_that_are_archives_are_documents(tmp_path: Path) -> None:
    parts = {name: data for name, data in all_documents().items() if data.startswith(b"PK") and name[-4:] != ".zip"}
    for name, data in parts.items():
        (tmp_path / f"{name}.zip").write_bytes(data)
    documents = listed(tmp_path)
    assert len(documents) == len(parts) >= 6 and not any(document.within for document in documents)
    stored = zip_of(parts | {"word/a.txt": b"a"}, zipfile.ZIP_STORED)
    (tmp_path / "all.zip").write_bytes(stored)
    assert len(listed(tmp_path / "all.zip")) == len(parts) + 1


def test_an_archive_under_another_name_says_what_it_is(tmp_path: Path) -> None:
    for name, data, remedy in [
        ("a.txt", zip_of(PLAIN), "ZIP archive; give it a name that ends in .zip"),
        ("b.dat", tar_of(PLAIN), "tar archive; give it a name that ends in .tar"),
        ("c", parquet_of(ROWS), "Parquet file; give it a name that ends in .parquet"),
        ("d.gz", tar_of(PLAIN, "w:gz"), "tar archive"),
    ]:
        (tmp_path / name).write_bytes(data)
        assert remedy in texts(tmp_path / name)[""]


def test_a_hundred_thousand_files_are_listed_in_seconds(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for number in range(100_000):
            archive.writestr(zipfile.ZipInfo(f"folder/{number}.txt"), b"x")
    before = time.process_time()
    assert len(listed(tmp_path / "x.zip")) == 100_000
    assert time.process_time() - before < 20


TABLES = {
    "t.parquet": parquet_of(ROWS, row_group_size=2),
    "t.pq": parquet_of(ROWS | {"text": pa.array(ROWS["text"], pa.large_string())}),
    "d.parquet": parquet_of(ROWS | {"text": pa.array(ROWS["text"]).dictionary_encode()}),
    "v.parquet": parquet_of(ROWS | {"text": pa.array(ROWS["text"], pa.string_view())}),
    "t.arrow": arrow_of(ROWS),
    "t.arrows": arrow_of(ROWS, as_stream=True),
    "t.feather.zst": zstandard.compress(arrow_of(ROWS)),
    "t.csv": b"id,text,title,amount\none,Text of 1,Minutes of May,1.5\n"
    b'two,"Text of 2\nin lines",,2.5\n,"",,3.5\none,Text of 4,,4.5\n',
    "t.tsv.gz": gzip.compress(
        b'id\ttext\ttitle\none\tText of 1\tMinutes of May\ntwo\t"Text of 2\nin lines"\n\t\none\tText of 4'
    ),
    "s.csv": b"sep=;\r\nid; text;title\r\none;Text of 1;Minutes of May\r\n"
    b'two;"Text of 2\r\nin lines";\r\n;;;\r\n\r\none;Text of 4;\r\n',
}


@pytest.mark.parametrize("name", TABLES)
def test_each_row_of_a_table_is_a_document(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(TABLES[name])
    documents = listed(path)
    assert names(documents, path) == ["#one", "#two", "#3", "#one-row4"]
    found = texts(path)
    assert found.pop("#3").startswith("EmptyDocumentError")
    assert found == {"#one": "Text of 1", "#two": "Text of 2\nin lines", "#one-row4": "Text of 4"}
    first = Extractor(settings("unused")).read(documents[0])
    assert (first.title, first.format) == (
        "Minutes of May",
        {"q": "parquet", "s": "arrow"}.get(name[-1], name.split(".")[1])
        .replace("feather", "arrow")
        .replace("pq", "parquet")
        .replace("tsv", "csv")
        .replace("arrows", "arrow"),
    )
    assert len({document.source_etag for document in documents}) == 4


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.csv"])
def test_a_null_is_a_failure_and_a_changed_row_rereads_only_itself(tmp_path: Path, name: str) -> None:
    path = tmp_path / name

    def write(*rows: str | None) -> dict[str, Document]:
        csv = "text\n" + "".join(f'"{row or ""}"\n' for row in rows)
        columns = {"text": pa.array(rows, pa.string())}
        path.write_bytes(
            {"t.parquet": parquet_of, "t.arrow": arrow_of}[name](columns) if name != "t.csv" else csv.encode()
        )
        return {document.document_id: document for document in listed(path)}

    before, after = write("one", None, "three"), write("one", None, "THREE", "four")
    assert [document.error_class for document in after.values()] == [None, "EmptyDocumentError", None, None]
    assert "input.text_field" in str(after[f"{path}#2"].error_message)
    changed = [
        key[-2:]
        for key, document in after.items()
        if document.source_etag != getattr(before.get(key), "source_etag", "")
    ]
    assert changed == ["#3", "#4"]
    with pytest.raises(ChangedError):
        text(before[f"{path}#3"])


@pytest.mark.parametrize("make", [parquet_of, arrow_of])
def test_a_table_without_the_column_is_one_failure_that_names_those_it_has(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "t.parquet"
    for columns, field in [({"body": ["x"], "n": [1]}, "text"), ({"text": [1, 2], "body": ["x", "y"]}, "text")]:
        path.write_bytes(make(columns))
        (document,) = listed(path)
        assert document.error_class == "UndecodableError" and document.document_id == str(path)
        assert f"{field!r}, which input.text_field names" in str(document.error_message)
        assert "body (string)" in str(document.error_message)
        assert texts(path, text_field="body")["#1"] == "x"


def test_ids_of_other_types_are_text(tmp_path: Path) -> None:
    for name, column, expected in [
        ("int", pa.array([7, None]), ["#7", "#2"]),
        ("float", pa.array([7.0, None]), ["#7", "#2"]),
        (
            "uuid",
            pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uuid.UUID(int=5).bytes, None], pa.binary(16))),
            [f"#{uuid.UUID(int=5)}", "#2"],
        ),
        ("bool", pa.array([True, False]), ["#1", "#2"]),
        ("list", pa.array([[1], [2]]), ["#1", "#2"]),
    ]:
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(parquet_of({"id": column, "text": ["a", "b"]}))
        assert names(listed(path), path) == expected


def test_of_a_parquet_file_only_what_is_needed_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "t.parquet", 0
    noise = [random.Random(n).randbytes(10_000) for n in range(200)]
    path.write_bytes(parquet_of({"text": [f"Text of {n}" for n in range(200)], "noise": noise}, row_group_size=20))
    assert path.stat().st_size > 1_900_000
    original = objects.open_read

    class Counted(io.RawIOBase):
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        readable = seekable = lambda self: True

        def seek(self, offset: int, whence: int = 0) -> int:
            return int(self._stream.seek(offset, whence))

        def tell(self) -> int:
            return int(self._stream.tell())

        def readinto(self, buffer: Any) -> int:
            nonlocal read
            data = self._stream.read(len(buffer))
            buffer[: len(data)] = data
            read += len(data)
            return len(data)

        def close(self) -> None:
            self._stream.close()
            super().close()

    monkeypatch.setattr(
        content.objects, "open_read", lambda uri, *more: io.BufferedReader(Counted(original(uri, *more)), 512)
    )
    monkeypatch.setattr("pipeline.documents.container.BUFFER_BYTES", 512)
    documents = listed(path)
    extractor = Extractor(settings("unused"))
    assert [text(document, extractor) for document in documents] == [f"Text of {n}" for n in range(200)]
    assert read < 300_000


def test_a_long_parquet_file_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with pq.ParquetWriter(path, pa.schema([("text", pa.string())]), compression="zstd") as writer:
        for number in range(12):
            rows = [f"{number} {n} " * 5000 for n in range(100)]
            writer.write_table(pa.table({"text": rows}), row_group_size=100)
    before = pa.total_allocated_bytes()
    pool, most = pa.default_memory_pool(), 0
    for _ in members.documents(str(path), objects.stat(str(path)), settings("unused")) or ():
        most = max(most, pool.bytes_allocated() - before)
    assert most < 60_000_000


def test_a_damaged_parquet_file_keeps_the_rows_before(tmp_path: Path) -> None:
    data = bytearray(
        parquet_of(
            {"text": [f"Text of {n} " * 50 for n in range(100)]},
            row_group_size=10,
            compression="zstd",
            use_dictionary=False,
        )
    )
    place = data.find(b"\x28\xb5\x2f\xfd", len(data) // 2)
    data[place : place + 40] = b"\xff" * 40
    (tmp_path / "t.parquet").write_bytes(data)
    *good, bad = listed(tmp_path / "t.parquet")
    assert good and len(good) % 10 == 0 and not any(document.error_class for document in good)
    assert bad.error_class == "CorruptError" and bad.document_id == str(tmp_path / "t.parquet")
    (tmp_path / "u.parquet").write_bytes(data[:-9])
    (document,) = listed(tmp_path / "u.parquet")
    assert document.error_class == "CorruptError" and "Parquet" in str(document.error_message)


def test_csv_in_other_encodings_with_quotes(tmp_path: Path) -> None:
    prose = "Der Ausschuß tagte am Montag; er beschloß, die Brücke über den Fluß für Fußgänger zu schließen. " * 5
    for name, encoding in [("a.csv", "cp1252"), ("b.csv", "utf-16"), ("c.csv", "utf-8-sig")]:
        rows = f'nr;text\n1;"{prose}\n""Ende"" der Sitzung"\n2;"{prose}"\n'
        (tmp_path / name).write_bytes(rows.encode(encoding))
        found = texts(tmp_path / name, id_field="nr")
        assert found == {"#1": f'{prose}\n"Ende" der Sitzung', "#2": prose}


def test_a_csv_row_that_does_not_fit_fails_alone_and_a_quotation_without_end_once(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text\nfine\nHello, world\nfine too\n")
    found = texts(tmp_path / "a.csv")
    assert [each[:5] for each in found.values()] == ["fine", "Corru", "fine "] and "2 cells" in found["#2"]
    (tmp_path / "b.csv").write_bytes(b'id,text\n1,one\n2,"two\n3,three\n')
    assert names(listed(tmp_path / "b.csv"), tmp_path) == ["/b.csv#1", "/b.csv"]
    assert "does not end" in str(listed(tmp_path / "b.csv")[1].error_message)
    # Without the column it is a document, and so it is under another name.
    (tmp_path / "c.csv").write_bytes(b"id,body\n1,one\n")
    assert texts(tmp_path / "c.csv") == {"": "id | body\n1 | one\n"}


def test_where_tabs_separate_cells_quotes_may_be_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b'id\ttext\n1\t"No," he said\n2\tthe 5" pipe\n3\t"so be it\n4\tfine\n')
    found = texts(tmp_path / "a.tsv")
    assert found == {"#1": '"No," he said', "#2": 'the 5" pipe', "#3": '"so be it', "#4": "fine"}
    (tmp_path / "b.tsv").write_bytes(b'id\ttext\n1\t"a ""cell"" in quotes"\n2\t"fine"\n')
    assert texts(tmp_path / "b.tsv") == {"#1": 'a "cell" in quotes', "#2": "fine"}


def test_the_files_of_a_table_in_many_are_read_and_what_indexes_them_is_passed_over(tmp_path: Path) -> None:
    for name in ("t.parquet/day=1/part-0.parquet", "t.parquet/day=2/part-0.snappy.parquet", "t.parquet/_metadata"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(parquet_of({"text": [f"Text of {name}"]}))
    for name in ("t.parquet/_SUCCESS", "t.parquet/day=1/.part-0.parquet.crc"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "_metadata").write_bytes(b"A text with this name")
    found = names(listed(tmp_path / "t.parquet"), tmp_path)
    assert found == ["/t.parquet/day=1/part-0.parquet#1", "/t.parquet/day=2/part-0.snappy.parquet#1"]
    assert names(listed(tmp_path / "_metadata", tmp_path / "t.parquet"), tmp_path) == ["/_metadata", *found]


def test_an_archive_and_a_table_in_a_store(bucket: str, opened: list[str]) -> None:
    objects.publish(f"{bucket}/x.zip", zip_of(PLAIN))
    objects.publish(f"{bucket}/y.tar.gz", tar_of(PLAIN, "w:gz"))
    objects.publish(f"{bucket}/z.parquet", parquet_of(ROWS))
    objects.publish(f"{bucket}/z.txt", b"Text")
    documents = listed(bucket)
    assert opened == [f"{bucket}/{name}" for name in ("x.zip", "y.tar.gz", "z.parquet")]
    assert names(documents, bucket)[-2:] == ["/z.parquet#one-row4", "/z.txt"] and len(documents) == 11
    opened.clear()
    extractor = Extractor(settings("unused"))
    read = [text(document, extractor) for document in documents if document.error_class is None]
    assert read[:6] == ["Text of a.\n", "Text of b\n", "Text of c.\n"] * 2 and read[-1] == "Text" and len(opened) == 4
    objects.publish(f"{bucket}/x.zip", zip_of(PLAIN | {"a.txt": b"Another text of a."}))
    assert text(documents[1]) == "Text of b\n"
    with pytest.raises(ChangedError):
        text(documents[0])


def test_an_archive_that_is_replaced_while_it_is_open_is_opened_again(bucket: str) -> None:
    objects.publish(
        f"{bucket}/x.tar", tar_of({"a.txt": b"Text of a.", "b.txt": bytes(9_000_000), "c.txt": b"Text of c."})
    )
    a, _, c = listed(bucket)
    extractor = Extractor(settings("unused"))
    assert text(a, extractor) == "Text of a."
    objects.publish(
        f"{bucket}/x.tar", tar_of({"0.txt": b"Text of a.", "b.txt": bytes(9_000_000), "c.txt": b"Text of c."})
    )
    assert text(c, extractor) == "Text of c."


def test_damage_raises_nothing_but_our_errors(tmp_path: Path) -> None:
    whole = {name: PACKED[name](PLAIN | {"t.parquet": parquet_of(ROWS)}) for name in ("x.zip", "x.tar", "x.tar.gz")}
    whole |= {name: TABLES[name] for name in ("t.parquet", "t.arrow", "t.arrows", "t.csv")}
    for name, data in whole.items():
        chance = random.Random(name)
        path = tmp_path / name
        for _ in range(60):
            damaged = bytearray(data[: chance.randrange(len(data))] if chance.random() < 0.3 else data)
            for _ in range(chance.randrange(1, 6)):
                if damaged:
                    damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            path.write_bytes(damaged)
            for document in listed(path):
                assert document.error_class != "UnexpectedError", (name, document.error_message)
            texts(path)


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.parquet"])
def test_in_a_store_a_container_is_fetched_about_once(bucket: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [random.Random(n).randbytes(150_000).hex() for n in range(80)]
    data = (
        parquet_of({"text": rows, "noise": rows}, row_group_size=10)
        if name == "x.parquet"
        else PACKED[name]({f"{n}.txt": row.encode() for n, row in enumerate(rows)})
    )
    objects.publish(f"{bucket}/{name}", data)
    fetched: list[int] = []
    original = s3fs.core.S3File._fetch_range

    def fetch_range(self: Any, start: int, end: int) -> Any:
        fetched.append(end - start)
        return original(self, start, end)

    monkeypatch.setattr(s3fs.core.S3File, "_fetch_range", fetch_range)
    documents = listed(bucket)
    assert len(fetched) < 20 and sum(fetched) < 1.2 * len(data)
    fetched.clear()
    extractor = Extractor(settings("unused"))
    assert [text(document, extractor) for document in documents] == rows
    assert len(fetched) < 20 and sum(fetched) < 1.4 * len(data)
