"""Objects appear whole under the names they were given, and what fails says what to do, on disk and on a real S3."""

import errno
import os
import pickle
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import ConfigError, StorageError
from pipeline.storage import objects, remote

HARD_NAMES = [
    "a b.txt",
    "quo'te\".txt",
    "h#ash.txt",
    "p%20c.txt",
    "qu?ery.txt",
    "br[ack]et*.txt",
    "ünï漢字.txt",
    "new\nline.txt",
    "c::d&e+f.txt",
    "~tilde.txt",
]


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "disk" else request.getfixturevalue("bucket")


@pytest.mark.parametrize("name", HARD_NAMES)
def test_any_name_survives_publishing_listing_and_reading(place: str, name: str) -> None:
    uri = objects.join(place, "some dir#1", name)
    objects.publish(uri, name.encode())
    assert objects.list_files(place) == [uri]
    assert objects.read_bytes(uri) == name.encode()
    assert objects.exists(uri)
    assert objects.stat(uri).size_bytes == len(name.encode())
    objects.delete(uri)
    assert not objects.exists(uri)
    assert objects.list_files(place) == []


def test_a_listing_is_sorted_fresh_and_filtered_by_suffix(place: str) -> None:
    assert objects.list_files(objects.join(place, "parts"), ".parquet") == []
    for name in ("b.parquet", "a.parquet", "c.txt", "deep/d.parquet"):
        objects.publish(objects.join(place, "parts", name), b"x")
        expected = sorted(uri for uri in objects.list_files(place) if uri.endswith(".parquet"))
        assert objects.list_files(objects.join(place, "parts"), ".parquet") == expected
    assert [uri.removeprefix(place) for uri in objects.list_files(objects.join(place, "parts"), ".parquet")] == [
        "/parts/a.parquet",
        "/parts/b.parquet",
        "/parts/deep/d.parquet",
    ]
    objects.publish(objects.join(place, "parts-other/x.parquet"), b"x")
    assert len(objects.list_files(objects.join(place, "parts"), ".parquet")) == 3


def test_publishing_again_replaces_and_readers_only_ever_see_one_version_whole(place: str) -> None:
    uri = objects.join(place, "object")
    versions = [bytes([letter]) * 300_000 for letter in b"abcdef"]
    objects.publish(uri, versions[0])
    seen: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(objects.read_bytes(uri) if objects.is_local(uri) else objects.filesystem(uri)[0].cat_file(uri))

    reader = threading.Thread(target=read)
    reader.start()
    for version in versions:
        objects.publish(uri, version)
    done.set()
    reader.join()
    assert seen and set(seen) <= set(versions)
    assert objects.read_bytes(uri) == versions[-1]


def test_a_publish_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(StorageError, match="taken"):
        objects.publish(str(tmp_path / "taken"), b"data")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file/below"):
        objects.publish(str(tmp_path / "file" / "below"), b"data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken"]


def test_a_table_comes_back_as_it_was_with_zstd_and_statistics(place: str) -> None:
    table = pa.table({"n": [3, 1, 2], "name": ["x", None, "z"]})
    uri = objects.join(place, "t.parquet")
    objects.publish_table(uri, table)
    assert objects.read_table(uri).equals(table)
    column = pq.ParquetFile(pa.BufferReader(objects.read_bytes(uri))).metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"
    assert (column.statistics.min, column.statistics.max) == (1, 3)


def test_a_broken_table_is_named(place: str) -> None:
    uri = objects.join(place, "t.parquet")
    objects.publish(uri, b"PAR1 and then nothing")
    with pytest.raises(StorageError, match=r"t\.parquet is not a readable Parquet"):
        objects.read_table(uri)


def create_by_many(uri: str, contents: list[bytes]) -> list[bool]:
    start = threading.Barrier(len(contents))

    def create(data: bytes) -> bool:
        start.wait()
        return objects.create(uri, data)

    with ThreadPoolExecutor(len(contents)) as threads:
        return list(threads.map(create, contents))


@pytest.mark.parametrize(("size", "writers"), [(100, 20), (20_000_000, 4)])
def test_of_many_who_create_a_name_one_wins_and_its_content_stays(place: str, size: int, writers: int) -> None:
    uri = objects.join(place, "claims", "claim")
    contents = [uuid.uuid4().bytes + bytes(size) for _ in range(writers)]
    won = create_by_many(uri, contents)
    assert won.count(True) == 1
    assert objects.read_bytes(uri) == contents[won.index(True)]
    assert objects.list_files(place) == [uri]


def test_creating_leaves_alone_what_is_there_and_knows_its_own(place: str) -> None:
    uri = objects.join(place, "claim")
    assert objects.create(uri, b"mine")
    assert not objects.create(uri, b"ours")
    assert not objects.create(uri, b"another's")
    assert objects.create(uri, memoryview(b"mine"))
    assert objects.read_bytes(uri) == b"mine"
    assert objects.list_files(place) == [uri]


def test_a_table_is_created_once(place: str) -> None:
    tables = [pa.table({"writer": [name]}) for name in "ab"]
    uri, written = objects.join(place, "t.parquet"), objects.join(place, "written.parquet")
    contents = []
    for table in tables:
        objects.publish_table(written, table)
        contents.append(objects.read_bytes(written))
    assert [objects.create(uri, content) for content in contents] == [True, False]
    assert objects.read_table(uri).equals(tables[0])
    assert objects.create(uri, contents[0])


def test_a_disk_without_hard_links_has_one_winner_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    uri = str(tmp_path / "claim")
    contents = [uuid.uuid4().bytes for _ in range(20)]
    won = create_by_many(uri, contents)
    assert won.count(True) == 1
    assert objects.read_bytes(uri) == contents[won.index(True)]
    assert objects.list_files(str(tmp_path)) == [uri]


def test_creating_where_nothing_can_be_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file/below"):
        objects.create(str(tmp_path / "file" / "below"), b"data")
    (tmp_path / "directory").mkdir()
    assert not objects.create(str(tmp_path / "directory"), b"data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directory", "file"]


def test_another_store_of_fsspec_creates_once() -> None:
    uri = f"memory://{uuid.uuid4().hex}/claim"
    assert [objects.create(uri, b"mine"), objects.create(uri, b"another's")] == [True, False]
    assert objects.read_bytes(uri) == b"mine"


def test_a_missing_object_is_a_file_not_found_error(place: str) -> None:
    uri = objects.join(place, "nothing")
    with pytest.raises(FileNotFoundError):
        objects.read_bytes(uri)
    assert objects.stat(uri).problem
    objects.delete(uri)


def test_a_stream_seeks_and_reads_across_blocks(bucket: str) -> None:
    data = os.urandom(remote.BLOCK_BYTES + 1000)
    uri = objects.join(bucket, "big")
    objects.publish(uri, data)
    with objects.open_read(uri) as stream:
        stream.seek(remote.BLOCK_BYTES - 10)
        assert stream.read(20) == data[remote.BLOCK_BYTES - 10 : remote.BLOCK_BYTES + 10]
        stream.seek(3)
        assert stream.read() == data[3:]


def test_the_etag_changes_with_the_content(bucket: str) -> None:
    uri = objects.join(bucket, "object")
    etags = []
    for data in (b"one", b"two"):
        objects.publish(uri, data)
        assert objects.stat(uri).etag == next(objects.walk(bucket)).etag
        etags.append(objects.stat(uri).etag)
    assert etags[0] and etags[1] and etags[0] != etags[1] and '"' not in etags[0]


@pytest.mark.parametrize(
    ("uri", "parts", "joined"),
    [
        ("/a/b", ["c", "d.txt"], "/a/b/c/d.txt"),
        ("/a/b", ["../c#1.txt"], "/a/c#1.txt"),
        ("/a/b", ["/x"], "/x"),
        ("s3://bucket/a", ["b", "c"], "s3://bucket/a/b/c"),
        ("s3://bucket/a/", ["../b?.txt"], "s3://bucket/b?.txt"),
        ("s3://bucket", ["s3://other/x"], "s3://other/x"),
        ("s3://bucket", ["x"], "s3://bucket/x"),
        ("s3://bucket/in", ["../../other/key"], "s3://bucket/other/key"),
        ("s3://bucket/in", ["..", "..", "..", "other"], "s3://bucket/other"),
        ("s3://bucket", [".."], "s3://bucket"),
        ("S3://bucket/in", ["../../../other"], "s3://bucket/other"),
        ("abfs://box@account/in", ["../../../x"], "abfs://box@account/x"),
        ("gs://bucket", ["./a/../../../b"], "gs://bucket/b"),
        ("file:///a/b", ["c"], "/a/b/c"),
        ("/a", ["../../../b"], "/b"),
        ("relative", ["x"], "relative/x"),
    ],
)
def test_joining(uri: str, parts: list[str], joined: str) -> None:
    assert objects.join(uri, *parts) == joined


def test_a_uri_has_one_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert objects.resolve("x/../a b/") == f"{tmp_path}/a b"
    assert objects.resolve(f"file://{tmp_path}/a%20b") == f"{tmp_path}/a%20b"
    assert objects.resolve("s3://bucket/prefix/") == "s3://bucket/prefix"


OPERATIONS = ["list_files", "read_bytes", "publish", "create", "stat", "exists"]
PROGRAM = """
import sys
from configs.errors import StorageError
from pipeline.storage import objects, s3
s3.TRIES = 2
for operation in sys.argv[2:]:
    try:
        getattr(objects, operation)(sys.argv[1], *([b"x"] if operation in ("publish", "create") else []))
        print("fine")
    except StorageError as error:
        print(type(error.__cause__).__name__, "|", error)
"""


def outcomes(uri: str, *operations: str, **environment: str | None) -> list[str]:
    """What operations print in a fresh process, since a process looks for its credentials once."""
    settings = {name: value for name, value in (os.environ | environment).items() if value is not None}
    command = [sys.executable, "-c", PROGRAM, uri, *operations]
    ended = subprocess.run(command, env=settings, capture_output=True, text=True)
    assert not ended.stderr, ended.stderr
    return ended.stdout.splitlines()


def test_a_missing_bucket_says_so_in_every_operation(s3: object) -> None:
    said = outcomes("s3://no-such-bucket/object", *OPERATIONS)
    assert len(said) == len(OPERATIONS)
    assert all("there is no such bucket" in line for line in said), said


def test_a_wrong_secret_names_the_settings_and_not_itself_in_every_operation(bucket: str) -> None:
    said = outcomes(f"{bucket}/object", *OPERATIONS, AWS_SECRET_ACCESS_KEY="not-the-secret")
    assert len(said) == len(OPERATIONS)
    assert all("SignatureDoesNotMatch" in line and "AWS_SECRET_ACCESS_KEY" in line for line in said), said
    assert "not-the-secret" not in str(said)


def test_no_credentials_at_all_says_what_to_set(bucket: str, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "none")
    [said] = outcomes(
        bucket,
        "list_files",
        AWS_ACCESS_KEY_ID=None,
        AWS_SECRET_ACCESS_KEY=None,
        AWS_EC2_METADATA_DISABLED="true",
        AWS_CONFIG_FILE=nowhere,
        AWS_SHARED_CREDENTIALS_FILE=nowhere,
    )
    assert "there are no credentials" in said and "AWS_PROFILE" in said


def test_credentials_without_permission_on_a_bucket_say_so(bucket: str) -> None:
    [said] = outcomes(bucket, "list_files", AWS_ACCESS_KEY_ID="longhaul-other-key")
    assert "no permission" in said and bucket in said


def test_an_endpoint_that_does_not_answer_is_named(bucket: str) -> None:
    [said] = outcomes(bucket, "list_files", AWS_ENDPOINT_URL_S3="http://127.0.0.1:9")
    assert "http://127.0.0.1:9" in said and "AWS_ENDPOINT_URL_S3" in said


def test_the_general_endpoint_variable_works_too(bucket: str) -> None:
    objects.publish(f"{bucket}/object", b"x")
    endpoint = os.environ["AWS_ENDPOINT_URL_S3"]
    variables = {"AWS_ENDPOINT_URL_S3": None, "AWS_ENDPOINT_URL": endpoint}
    assert outcomes(f"{bucket}/object", "read_bytes", **variables) == ["fine"]


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(StorageError, match="nosuch://"):
        objects.read_bytes("nosuch://x/y")


def test_nothing_secret_is_pickled_with_a_file_system(bucket: str) -> None:
    files, path = objects.filesystem(f"{bucket}/object")
    objects.publish(f"{bucket}/object", b"x")
    pickled = pickle.dumps((files, path, objects.stat(f"{bucket}/object")))
    assert os.environ["AWS_SECRET_ACCESS_KEY"].encode() not in pickled
    assert os.environ["AWS_ACCESS_KEY_ID"].encode() not in pickled


def test_folders_right_below_a_place_are_listed_and_nothing_deeper(place):
    assert objects.list_folders(objects.join(place, "runs")) == []
    for name in ("b/run.json", "a/run.json", "a/deep/er.json", "file.json"):
        objects.publish(objects.join(place, "runs", name), b"{}")
    assert objects.list_folders(objects.join(place, "runs")) == ["a", "b"]


def test_a_file_is_no_place_for_many_objects(tmp_path):
    path = tmp_path / "out"
    path.write_text("")
    for uri in (str(path), path.as_uri()):
        with pytest.raises(ConfigError, match=r"^output.uri = .* is a file: give a directory, or an s3:// prefix$"):
            objects.refuse_file("output.uri", uri)
    for uri in (str(tmp_path), str(tmp_path / "new"), "s3://bucket/out"):
        objects.refuse_file("output.uri", uri)
