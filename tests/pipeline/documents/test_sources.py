"""Every document is listed once, in order, with what identifies its content; what cannot be read says why."""

import gzip
import json
import os
import random
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from structlog.testing import capture_logs

from configs.errors import ConfigError, StorageError
from configs.settings import InputSettings
from pipeline.documents import json_lines, pinned
from pipeline.documents.sources import list_documents
from pipeline.schemas.document import MANIFEST, Document
from pipeline.storage import objects

NOBODY = 65534


def listed(*sources: object, **settings: Any) -> list[Document]:
    return list_documents(InputSettings(sources=tuple(map(str, sources)), **settings))


def ids(documents: Sequence[Document], root: object = "") -> list[str]:
    return [document.document_id.removeprefix(f"{root}/") for document in documents]


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"content of {name}")


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def test_a_directory_is_read_with_all_below_it_but_not_hidden_files(tmp_path: Path) -> None:
    write(tmp_path, "b.txt", "a.md", "deep/er/c.html", ".hidden.txt", ".git/config", "deep/.x/y")
    documents = listed(tmp_path)
    assert ids(documents, tmp_path) == ["a.md", "b.txt", "deep/er/c.html"]
    assert documents[0].size_bytes == len("content of a.md")
    assert documents[0].source_uri == f"{tmp_path}/a.md"
    assert all(document.error_class is None for document in documents)


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("*.txt", ["a.txt", "b.txt"]),
        ("?.txt", ["a.txt", "b.txt"]),
        ("[!a].txt", ["b.txt"]),
        ("**/*.txt", ["a.txt", "b.txt", "x/c.txt", "x/y/d.txt"]),
        ("x/**", ["x/c.txt", "x/y/d.txt"]),
        ("*/c.*", ["x/c.txt"]),
        ("x*/y*/*", ["x/y/d.txt"]),
    ],
)
@pytest.mark.parametrize("place", ["disk", "s3"])
def test_globs(place: str, pattern: str, matched: list[str], tmp_path: Path, request: pytest.FixtureRequest) -> None:
    root = str(tmp_path) if place == "disk" else request.getfixturevalue("bucket")
    for name in ("a.txt", "b.txt", "c.md", "x/c.txt", "x/y/d.txt", ".e.txt"):
        objects.publish(f"{root}/{name}", b"text")
    assert ids(listed(f"{root}/{pattern}"), root) == matched


def test_a_file_whose_name_looks_like_a_glob_is_itself(tmp_path: Path) -> None:
    write(tmp_path, "[draft] a*.txt", "d a.txt", "d ab.txt")
    assert ids(listed(tmp_path / "[draft] a*.txt"), tmp_path) == ["[draft] a*.txt"]


def test_odd_names_are_listed_as_they_are(tmp_path: Path) -> None:
    names = sorted(["a b.txt", "c#d%20.txt", "e?f.txt", "g\nh.txt", "ü漢.txt", "quo'te\".txt", "x::y.txt"])
    write(tmp_path, *names)
    documents = listed(tmp_path)
    assert ids(documents, tmp_path) == names
    assert [objects.read_bytes(document.source_uri).decode() for document in documents] == [
        f"content of {name}" for name in names
    ]


def test_a_name_that_is_no_utf8_is_a_failure_that_a_manifest_can_hold(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("x")
    [document] = listed(tmp_path)
    assert document.error_message == "The file's name is not valid UTF-8; rename it."
    pa.Table.from_pylist([document.as_row()], MANIFEST)


def test_an_object_seen_through_two_sources_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.txt", "b.txt")
    monkeypatch.chdir(tmp_path)
    documents = listed(tmp_path, "a.txt", "./*.txt", f"file://{tmp_path}/b.txt", tmp_path / "x" / "..")
    assert ids(documents, tmp_path) == ["a.txt", "b.txt"]


def test_symbolic_links_are_followed_and_loops_are_failures(tmp_path: Path) -> None:
    write(tmp_path, "docs/a.txt", "elsewhere/b.txt")
    docs = tmp_path / "docs"
    (docs / "link.txt").symlink_to("a.txt")
    (docs / "outside").symlink_to(tmp_path / "elsewhere")
    (docs / "self").symlink_to("self")
    (docs / "ping").symlink_to("pong")
    (docs / "pong").symlink_to("ping")
    (docs / "up").symlink_to(docs)
    (docs / "dangling.txt").symlink_to("nowhere.txt")
    (tmp_path / "elsewhere" / "back").symlink_to(docs)
    found = {document.document_id.removeprefix(f"{docs}/"): document for document in listed(docs)}
    good = {name for name, document in found.items() if not document.error_class}
    assert good == {"a.txt", "link.txt", "outside/b.txt"}
    assert found["link.txt"].source_etag == found["a.txt"].source_etag
    messages = {name: document.error_message for name, document in found.items() if document.error_class}
    assert messages == {
        "self": "This symbolic link leads in a circle.",
        "ping": "This symbolic link leads in a circle.",
        "pong": "This symbolic link leads in a circle.",
        "up": "This symbolic link leads back to a directory that holds it.",
        "outside/back": "This symbolic link leads back to a directory that holds it.",
        "dangling.txt": "This symbolic link leads to nowhere.txt, which does not exist.",
    }
    assert {document.error_class for document in found.values()} == {None, "UnreadableError"}


def test_a_pipe_or_a_socket_is_a_failure_and_does_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        documents = listed(tmp_path)
    assert [document.error_class for document in documents] == ["UnreadableError"] * 2
    assert "not a file" in str(documents[0].error_message)


@contextmanager
def never_root() -> Iterator[None]:
    """Root may read everything; as anybody else this changes nothing."""
    before = os.geteuid()
    os.seteuid(before or NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_file_or_directory_without_permission_is_a_failure() -> None:
    with TemporaryDirectory() as directory:
        folder = Path(directory)
        folder.chmod(0o755)
        write(folder, "a.txt", "closed/b.txt")
        listed(folder)  # so that what it imports late is there, for root's Python may be closed to others
        (folder / "a.txt").chmod(0)
        (folder / "closed").chmod(0)
        try:
            with never_root():
                documents = listed(folder)
        finally:
            (folder / "closed").chmod(0o700)
    assert [document.error_class for document in documents] == ["UnreadableError"] * 2


@pytest.mark.parametrize("source", ["missing", "missing/", "*.nothing", "**/*.nothing", "empty", "a.txt/b", "a**"])
def test_a_source_that_holds_nothing_is_refused_with_its_value(tmp_path: Path, source: str) -> None:
    write(tmp_path, "a.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"input\.sources") as caught:
        listed(tmp_path / "a.txt", f"{tmp_path}/{source}")
    assert repr(f"{tmp_path}/{source}") in str(caught.value)


def test_an_etag_is_of_the_content(tmp_path: Path) -> None:
    write(tmp_path, "a.txt")
    [before] = listed(tmp_path)
    os.utime(tmp_path / "a.txt", (1, 1))
    assert listed(tmp_path) == [before]
    (tmp_path / "a.txt").write_text("content of b.txt")
    [after] = listed(tmp_path)
    assert before.source_etag.startswith("blake2b:") and after.source_etag != before.source_etag


def test_a_large_file_is_known_by_its_size_its_time_and_its_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a" * 1000 + "b" * 1000)
    (whole,) = listed(tmp_path)
    monkeypatch.setattr(pinned, "HASHED_WHOLE_BYTES", 1999)
    monkeypatch.setattr(pinned, "END_BYTES", 10)
    (large,) = listed(tmp_path)
    assert (whole.source_etag[:8], large.source_etag[:5]) == ("blake2b:", "ends:")
    assert listed(tmp_path) == [large]

    time = path.stat().st_mtime_ns
    seen = {large.source_etag}
    for content in ("x" + "a" * 999 + "b" * 1000, "a" * 1000 + "b" * 999 + "x", "a" * 1001 + "b" * 1000):
        path.write_text(content)
        os.utime(path, ns=(time, time))
        seen.add(listed(tmp_path)[0].source_etag)
    path.write_text("a" * 1000 + "b" * 1000)
    os.utime(path, ns=(time, time + 1))
    seen.add(listed(tmp_path)[0].source_etag)
    assert len(seen) == 5
    os.utime(path, ns=(time, time))
    assert listed(tmp_path) == [large]


def test_objects_of_a_store_are_listed_below_a_prefix_with_their_etags(bucket: str) -> None:
    for name in ("docs/a b#c?.txt", "docs/x/b.txt", "docs-2/c.txt", "docs/.hidden"):
        objects.publish(f"{bucket}/{name}", name.encode())
    documents = listed(f"{bucket}/docs/")
    assert ids(documents, bucket) == ["docs/a b#c?.txt", "docs/x/b.txt"]
    assert documents[0].size_bytes == len("docs/a b#c?.txt")
    assert documents[0].source_etag and not documents[0].source_etag.startswith("blake2b")
    assert ids(listed(f"{bucket}/docs/x/b.txt", bucket), bucket) == ["docs-2/c.txt", *ids(documents, bucket)]
    with pytest.raises(ConfigError, match="no such file"):
        listed(f"{bucket}/nothing")
    with pytest.raises(StorageError, match="no such bucket"):
        listed("s3://no-such-bucket/docs/*.txt")


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("place", ["disk", "s3"])
def test_a_manifest_names_documents(kind: str, place: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    root = str(tmp_path) if place == "disk" else request.getfixturevalue("bucket")
    for name in ("in/a b.txt", "in/x/c.txt", "in/.hidden"):
        objects.publish(f"{root}/{name}", name.encode())
    rows = [
        {"document_id": "one", "uri": "a b.txt", "note": 1},
        {"document_id": "two", "uri": "x/../x/c.txt", "note": 2},
        {"document_id": "three", "uri": f"{root}/in/.hidden", "note": 3},
        {"document_id": "gone", "uri": "gone.txt", "note": 4},
        {"document_id": "directory", "uri": "x", "note": 5},
    ]
    manifest = f"{root}/in/list.manifest.{kind}"
    if kind == "jsonl":
        objects.publish(manifest, lines(*rows))
    else:
        objects.publish_table(manifest, pa.Table.from_pylist(rows))
    for source in (manifest, f"{root}/*/*.manifest.{kind}"):
        found = {document.document_id: document for document in listed(source)}
        assert found.keys() == {"one", "two", "three", "gone", "directory"}
        assert found["one"].source_uri == f"{root}/in/a b.txt" and found["one"].size_bytes == 10
        assert found["two"].source_uri == f"{root}/in/x/c.txt"
        assert {name for name, document in found.items() if document.error_class} == {"gone", "directory"}
        assert found["gone"].error_class == "UnreadableError" and "no such" in str(found["gone"].error_message)


@pytest.mark.parametrize("pattern", ["", "/*", "/**", "/*.jsonl", "/x*", "/*.manifest.*"])
def test_a_manifest_that_is_only_found_is_passed_over_and_the_log_says_so(tmp_path: Path, pattern: str) -> None:
    folder = tmp_path / "xs"
    write(folder, "a.txt", "a.jsonl", "a.manifest.txt")
    outside = tmp_path / "outside.txt"
    outside.write_text("secret", encoding="utf-8")
    for name in ("x.manifest.jsonl", "X.MANIFEST.JSONL"):
        (folder / name).write_bytes(lines({"document_id": "x", "uri": str(outside)}, {"document_id": "y", "uri": "b"}))
    with capture_logs() as logged:
        documents = listed(f"{tmp_path}/xs{pattern}", folder / "a.txt")
    assert not [each for each in documents if "x.m" in each.source_uri.lower() or each.document_id == "x"]
    passed_over = [event for event in logged if event["event"] == "manifest_skipped"]
    expected = {"x.manifest.jsonl"} | ({"X.MANIFEST.JSONL"} if pattern in ("", "/*", "/**") else set())
    assert {event["uri"] for event in passed_over} == {f"{folder}/{name}" for name in expected}
    assert all("input.sources" in event["remedy"] for event in passed_over)


def test_a_folder_with_the_name_of_a_manifest_makes_none_of_what_is_below_it(tmp_path: Path) -> None:
    folder = tmp_path / "x.manifest.jsonl"
    write(folder, "a.txt")
    (folder / "y.manifest.jsonl").write_bytes(lines({"document_id": "y", "uri": "a.txt"}))
    assert ids(listed(folder), folder) == ["a.txt"]
    with pytest.raises(ConfigError, match="only manifests below it"):
        listed(f"{folder}/*.jsonl")
    assert ids(listed(folder, folder / "y.manifest.jsonl")) == ["y"]


OUTSIDE = [
    "/etc/hostname",
    "../outside.txt",
    "x/../../outside.txt",
    "file:///etc/hostname",
    "FILE:///etc/hostname",
    "file://~/.ssh/id_rsa",
    "link.txt",
    "folder/outside.txt",
    "s3://other/key",
    "S3://other/key",
    "sample://python-reference/assert.txt",
]
NEVER = [
    "http://169.254.169.254/latest/meta-data/",
    "https://example.com/x",
    "ftp://example.com/x",
    "memory://x",
    "github://org:repo@/x",
    "zip://x::http://example.com",
    "s3://key:hidden@bucket/x",
    "s3://bucket/x?X-Amz-Signature=hidden",
    "half \ud83d of a pair",
    "nul\0.txt",
]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is looked at or opened from now on, by way of the functions that do it; not by threads that were there."""
    paths: list[str] = []
    others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}

    def watched(original: Callable[..., Any], uri: str, *more: Any) -> Any:
        if threading.get_ident() not in others:
            paths.append(uri)
        return original(uri, *more)

    for name in ("stat", "open_read", "walk"):
        monkeypatch.setattr(objects, name, partial(watched, getattr(objects, name)))
    return paths


@pytest.mark.parametrize(("uris", "allow_outside"), [(OUTSIDE + NEVER, False), (NEVER, True)])
def test_what_a_manifest_may_not_name_is_a_failure_and_is_not_looked_at(
    tmp_path: Path, uris: list[str], allow_outside: bool, opened: list[str]
) -> None:
    folder = tmp_path / "in"
    write(tmp_path, "in/a.txt", "outside.txt")
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    (folder / "folder").symlink_to(tmp_path)
    rows = [{"document_id": str(number), "uri": uri} for number, uri in enumerate(uris)]
    (folder / "m.manifest.jsonl").write_bytes(lines(*rows, {"document_id": "good", "uri": "a.txt"}))
    documents = {
        document.document_id: document for document in listed(folder / "m.manifest.jsonl", allow_outside=allow_outside)
    }
    assert documents.pop("good").error_class is None
    pa.Table.from_pylist([document.as_row() for document in documents.values()], MANIFEST)
    assert len(documents) == len(uris)
    for document in documents.values():
        assert document.error_class == "UnreadableError" and "m.manifest.jsonl" in str(document.error_message)
        assert "hidden" not in f"{document.source_uri} {document.error_message}"
    assert set(opened) - {f"{folder}/m.manifest.jsonl"} <= {f"{folder}/a.txt", *(f"{folder}/{uri}" for uri in NEVER)}


def test_a_manifest_that_is_trusted_may_name_other_places(tmp_path: Path) -> None:
    write(tmp_path, "in/a.txt", "outside.txt")
    (tmp_path / "in" / "link.txt").symlink_to(tmp_path / "outside.txt")
    uris = ["../outside.txt", "link.txt", "sample://python-reference/assert.txt"]
    manifest = tmp_path / "in" / "m.manifest.jsonl"
    manifest.write_bytes(lines(*({"document_id": uri, "uri": uri} for uri in uris)))
    assert [document.error_class for document in listed(manifest, allow_outside=True)] == [None] * 3
    # A directory that is itself reached by a link has both names.
    (tmp_path / "alias").symlink_to(tmp_path / "in")
    manifest.write_bytes(lines({"document_id": "a", "uri": str(tmp_path / "in" / "a.txt")}))
    assert listed(tmp_path / "alias" / "m.manifest.jsonl")[0].error_class is None


def test_a_manifest_in_a_bucket_names_what_is_in_that_bucket(s3: Any, opened: list[str]) -> None:
    here, there = s3.new_bucket(), s3.new_bucket()
    for bucket in (here, there):
        objects.publish(f"{bucket}/key.txt", b"text")
    uris = ["../key.txt", f"{here}/key.txt", f"{there}/key.txt", f"../../{there[5:]}/key.txt", "/etc/hostname"]
    objects.publish(f"{here}/in/m.manifest.jsonl", lines(*({"document_id": uri, "uri": uri} for uri in uris[:1])))
    objects.publish(f"{here}/in/n.manifest.jsonl", lines(*({"document_id": uri, "uri": uri} for uri in uris[2:])))
    (inside,) = listed(f"{here}/in/m.manifest.jsonl")
    assert (inside.source_uri, inside.error_class) == (f"{here}/key.txt", None)
    assert [document.error_class for document in listed(f"{here}/in/n.manifest.jsonl")] == ["UnreadableError"] * 3
    assert not [uri for uri in opened if uri.startswith(there) or uri.startswith("/etc")]


@pytest.mark.parametrize(
    "source", ["http://127.0.0.1:9/x.txt", "memory://x/*.txt", "simplecache::s3://b/x", "ftp://h/x"]
)
def test_a_source_of_another_scheme_is_refused(source: str) -> None:
    with pytest.raises(ConfigError, match=r"input\.sources = .*(documents are not read from|no such file)"):
        listed(source)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"document_id": "x"}\n', "row 1"),
        (b"[]\n", "row 1"),
        (b"nonsense\n", "is no JSON"),
        (lines({"document_id": "x", "uri": "a.txt"}, {"document_id": "x", "uri": "b.txt"}), "same document_id 'x'"),
        (lines({"document_id": "x", "uri": "a.txt"}, {"document_id": "y", "uri": "./a.txt"}), "both 'x' and 'y'"),
    ],
)
def test_a_manifest_that_cannot_be_followed_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    write(tmp_path, "a.txt", "b.txt")
    (tmp_path / "m.manifest.jsonl").write_bytes(content)
    with pytest.raises(ConfigError, match=r"input\.sources") as caught:
        listed(tmp_path / "m.manifest.jsonl")
    assert problem in str(caught.value)


PACK = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress, ".zstd": zstandard.compress}


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("name", ["d.jsonl", "d.ndjson"])
def test_each_json_line_is_a_document(tmp_path: Path, suffix: str, name: str) -> None:
    records = [
        {"id": "one", "text": "first"},
        {"text": "no id"},
        {"id": 7, "text": "a number"},
        {"id": "one", "text": "a repeated id"},
        {"id": None, "text": "no name"},
    ]
    content = b"\xef\xbb\xbf" + lines(*records[:2]) + b"\n  \r\n" + lines(*records[2:]).rstrip(b"\n")
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(PACK[suffix](content))
    documents = listed(path)
    assert ids(documents, tmp_path) == [f"{path.name}#{end}" for end in ("one", "2", "7", "one-line6", "7-line7")]
    places = [document.within[0] for document in documents]
    kept = [content[place.offset : place.offset + place.length] for place in places]
    assert [json.loads(line.removeprefix(b"\xef\xbb\xbf"))["text"] for line in kept] == [r["text"] for r in records]
    assert [document.size_bytes for document in documents] == [len(line) for line in kept]
    assert len({document.source_etag for document in documents}) == 5
    assert {document.source_uri for document in documents} == {str(path)}


def test_appending_a_line_leaves_the_documents_before_it_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(lines({"text": "a"}, {"text": "b"}).rstrip(b"\n"))
    before = listed(path)
    path.write_bytes(lines({"text": "a"}, {"text": "b"}, {"text": "c"}))
    after = listed(path)
    identity = [(document.document_id, document.source_etag) for document in after]
    assert identity[:2] == [(document.document_id, document.source_etag) for document in before]
    assert len(after) == 3


def test_a_line_that_is_no_document_fails_alone_and_is_named(tmp_path: Path) -> None:
    content = b'{"text": "good"}\n{"text": \n[1]\n{"body": "x"}\n{"text": 5}\n\xff\xfe\n{"text": "fine"}\n'
    (tmp_path / "d.jsonl").write_bytes(content + b"[" * 100_000 + b"\n" + b'{"text": "' + b"x" * 200_000 + b'"}\n')
    documents = listed(tmp_path, max_document_bytes=150_000)
    assert [document.error_class for document in documents] == [
        None,
        *["CorruptError"] * 5,
        None,
        "CorruptError",
        "TooLargeError",
    ]
    for number, document in enumerate(documents, start=1):
        assert document.document_id.endswith(f"#{number}")
        if document.error_message:
            assert f"ine {number}" in document.error_message
    assert "'text'" in str(documents[3].error_message) and "input.text_field" in str(documents[3].error_message)
    assert "input.max_document_bytes" in str(documents[8].error_message)
    assert documents[8].size_bytes == 200_013


def test_what_nobody_foresaw_of_a_line_or_a_file_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, lines_of = json_lines.parse_record, json_lines._lines

    def parse(line: bytes, *more: Any) -> Any:
        return original(line, *more) if b"bug" not in line else 1 / 0

    def broken(stream: Any, max_bytes: int) -> Any:
        for line in lines_of(stream, max_bytes):
            yield line
            if b"break" in line[3]:
                raise MemoryError("no more")

    monkeypatch.setattr(json_lines, "parse_record", parse)
    monkeypatch.setattr(json_lines, "_lines", broken)
    texts = ("fine", "bug", "fine too", "break", "never seen")
    (tmp_path / "d.jsonl").write_bytes(lines(*({"text": text} for text in texts)))
    write(tmp_path, "e.txt")
    documents = listed(tmp_path)
    assert [document.error_class for document in documents] == [
        None,
        "UnexpectedError",
        None,
        None,
        "UnexpectedError",
        None,
    ]
    assert "ZeroDivisionError" in str(documents[1].error_message) and "MemoryError" in str(documents[4].error_message)
    assert ids(documents, tmp_path)[4:] == ["d.jsonl", "e.txt"]


def test_a_bomb_of_lines_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "bomb.jsonl.gz").write_bytes(
        gzip.compress(lines({"text": "good"}) + bytes(40_000_000), compresslevel=1)
    )
    (tmp_path / "good.jsonl").write_bytes(lines({"text": "good"}))
    before, bomb, good = listed(tmp_path)
    assert (before.error_class, bomb.error_class, good.error_class) == (None, "TooLargeError", None)
    assert "input.max_expansion" in str(bomb.error_message)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_compressed_file_that_breaks_off_keeps_the_lines_before(tmp_path: Path, suffix: str) -> None:
    content = lines(*({"id": f"r{number}", "text": os.urandom(2000).hex()} for number in range(40)))
    packed = PACK[suffix](content[: len(content) // 2]) + PACK[suffix](content[len(content) // 2 :])
    (tmp_path / f"d.jsonl{suffix}").write_bytes(packed[: len(packed) * 3 // 4])
    *good, broken = listed(tmp_path)
    assert len(good) >= 20
    assert [document.document_id.rpartition("#")[2] for document in good] == [f"r{n}" for n in range(len(good))]
    assert all(document.error_class is None for document in good)
    assert broken.error_class == "CorruptError" and "cut short" in str(broken.error_message)
    assert broken.document_id == broken.source_uri


def test_json_lines_in_a_store_and_the_names_of_their_fields(bucket: str) -> None:
    objects.publish(f"{bucket}/d.jsonl.gz", gzip.compress(lines({"key": "k", "body": "b"}, {"text": "t"})))
    good, bad = listed(bucket, text_field="body", id_field="key")
    assert good.document_id == f"{bucket}/d.jsonl.gz#k" and good.error_class is None
    assert bad.error_class == "CorruptError"


def test_documents_of_a_listing_are_sorted_with_the_lines_of_a_file_in_order(tmp_path: Path) -> None:
    write(tmp_path, "b.txt", "z/a.txt", "A.txt")
    (tmp_path / "m.jsonl").write_bytes(lines(*({"text": "x"} for _ in range(12))))
    documents = listed(tmp_path / "z", tmp_path / "m.jsonl", tmp_path)
    names = ["A.txt", "b.txt", *(f"m.jsonl#{number}" for number in range(1, 13)), "z/a.txt"]
    assert ids(documents, tmp_path) == names


def test_listing_a_long_file_of_lines_needs_little_memory(tmp_path: Path) -> None:
    line = lines({"text": random.Random(0).randbytes(500_000).hex()})
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(line * 40, compresslevel=1))
    tracemalloc.start()
    try:
        assert len(listed(tmp_path)) == 40
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_a_bad_row_of_a_manifest_is_a_failure_and_the_others_are_read(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", "b.txt")
    manifest = tmp_path / "m.manifest.jsonl"
    good = lines({"document_id": "x", "uri": "a.txt"}, {"document_id": 7, "uri": "b.txt"})
    manifest.write_bytes(good + b'{"document_id": null, "uri": "b.txt"}\nnonsense\n[7]\n{"document_id": true}\n')
    documents = {document.document_id: document for document in listed(manifest)}
    assert {name for name, document in documents.items() if document.error_class is None} == {"x", "7"}
    failed = {f"{manifest}#row{number}" for number in (3, 4, 5, 6)}
    assert {name for name, document in documents.items() if document.error_class == "UnreadableError"} == failed
    assert f"Row 4 of the manifest {manifest} is no JSON" in str(documents[f"{manifest}#row4"].error_message)


def test_a_scheme_without_a_bucket_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'s3://': name a bucket, as in s3://bucket/folder/"):
        list_documents(InputSettings(sources=("s3://",)))
