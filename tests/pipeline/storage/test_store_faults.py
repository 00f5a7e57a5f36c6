"""A real store that throttles, fails, hangs up and stalls costs time and no byte; one that is gone for good says so."""

import os
import random
import uuid
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
import structlog

from configs.errors import ConfigError, StorageError
from configs.settings import OutputSettings
from pipeline.driver.run import _refuse_unsafe_store
from pipeline.storage import objects, remote
from pipeline.storage import s3 as s3_files
from tests.faulty_store import FAULTS, FaultyStore

DATA = random.Random(1).randbytes(300_000)
MIX = {
    "slow_down": 0.05,
    "internal_error": 0.03,
    "too_many_requests": 0.02,
    "reset": 0.05,
    "lost": 0.05,
    "cut": 0.05,
}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_files, "FIRST_PAUSE_SECONDS", 0.01)


def read(place: str) -> None:
    assert objects.read_bytes(f"{place}/object") == DATA


def read_part(place: str) -> None:
    with objects.open_read(f"{place}/object") as stream:
        stream.seek(1000)
        assert stream.read(5) == DATA[1000:1005]


def read_as_the_warehouse_does(place: str) -> None:
    files, path = objects.filesystem(f"{place}/object")
    assert files.cat_file(path, start=10, end=20) == DATA[10:20]
    assert files.cat_file(path) == DATA


def list_all(place: str) -> None:
    assert objects.list_files(place) == [f"{place}/object"]


def list_shallow(place: str) -> None:
    assert [entry.size_bytes for entry in objects.walk(place, depth=1)] == [len(DATA)]


def look(place: str) -> None:
    assert objects.stat(f"{place}/object").size_bytes == len(DATA)
    assert objects.exists(f"{place}/object")
    assert not objects.exists(f"{place}/nothing")


def publish(place: str) -> None:
    objects.publish(f"{place}/object", DATA)
    assert objects.read_bytes(f"{place}/object") == DATA


def create(place: str) -> None:
    uri, mine = f"{place}-others/{uuid.uuid4()}", uuid.uuid4().bytes
    assert objects.create(uri, mine)
    assert not objects.create(uri, uuid.uuid4().bytes)
    assert objects.read_bytes(uri) == mine


def delete(place: str) -> None:
    uri = f"{place}-others/{uuid.uuid4()}"
    objects.publish(uri, b"x")
    objects.delete(uri)
    assert not objects.exists(uri)


def write_and_read_a_table(place: str) -> None:
    uri, table = f"{place}-others/{uuid.uuid4()}.parquet", pa.table({"n": list(range(1000))})
    objects.publish_table(uri, table)
    assert objects.read_table(uri).equals(table)
    assert objects.list_files(uri) == [uri]


OPERATIONS = {
    "GET": [read, read_part, read_as_the_warehouse_does, list_all, list_shallow],
    "HEAD": [read_part, look],
    "PUT": [publish, create],
    "DELETE": [delete],
}


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - {"stall"}))
def test_any_fault_costs_every_operation_only_time(faulty_s3: FaultyStore, bucket: str, fault: str) -> None:
    objects.publish(f"{bucket}/place/object", DATA)
    for method, operations in OPERATIONS.items():
        for operation in operations if method in FAULTS[fault] else ():
            faulty_s3.injected.clear()
            faulty_s3.plan(fault, [method])
            operation(f"{bucket}/place")
            assert faulty_s3.injected == {fault: 1}


def test_a_stalled_body_is_asked_for_again(
    faulty_s3: FaultyStore, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_files, "READ_SECONDS", 1.0)
    objects.publish(f"{bucket}/place/object", DATA)
    for operation in (read, read_part, list_all):
        faulty_s3.injected.clear()
        faulty_s3.plan("stall")
        operation(f"{bucket}/place")
        assert faulty_s3.injected == {"stall": 1}


def test_a_mix_of_faults_gives_no_wrong_byte(faulty_s3: FaultyStore, bucket: str) -> None:
    objects.publish(f"{bucket}/place/object", DATA)
    faulty_s3.rates = MIX
    operations = [read, read_part, read_as_the_warehouse_does, look, create, delete, write_and_read_a_table]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: operations[number % len(operations)](f"{bucket}/place"), range(200)))
    assert set(faulty_s3.injected) == set(MIX)
    assert faulty_s3.injected.total() > 0.1 * faulty_s3.requests.total() > 40


def test_each_page_of_a_listing_is_tried_again_by_itself(faulty_s3: FaultyStore, bucket: str) -> None:
    uris = [f"{bucket}/{number}" for number in range(5)]
    for uri in uris:
        objects.publish(uri, b"x")
    objects.filesystem(bucket)[0].s3_additional_kwargs = {"MaxKeys": 2}
    faulty_s3.requests.clear()
    faulty_s3.plan("cut", times=3)
    assert objects.list_files(bucket) == uris
    assert faulty_s3.requests == {"GET": 3 + 3}


def test_a_large_object_survives_cuts_in_several_blocks(faulty_s3: FaultyStore, bucket: str) -> None:
    data = os.urandom(3 * remote.BLOCK_BYTES + 17)
    objects.publish(f"{bucket}/large", data)
    faulty_s3.rates = {"cut": 0.5}
    assert objects.read_bytes(f"{bucket}/large") == data
    assert faulty_s3.injected["cut"]


@pytest.mark.parametrize("data", [b"mine", DATA * 70], ids=["small", "21 MB"])
def test_a_creation_whose_answer_was_lost_is_known_as_ours(faulty_s3: FaultyStore, bucket: str, data: bytes) -> None:
    faulty_s3.requests.clear()
    faulty_s3.plan("lost", ["PUT"], 2)
    assert objects.create(f"{bucket}/claim", data)
    assert faulty_s3.injected == {"lost": 2}
    assert faulty_s3.requests["PUT"] == 3
    faulty_s3.plan("reset", ["PUT"])
    assert not objects.create(f"{bucket}/claim", b"another's")
    assert objects.read_bytes(f"{bucket}/claim") == data


def test_of_many_who_create_among_faults_one_wins(faulty_s3: FaultyStore, bucket: str) -> None:
    faulty_s3.rates = {"lost": 0.4, "slow_down": 0.1, "conflict": 0.1}
    contents = [uuid.uuid4().bytes for _ in range(20)]
    with ThreadPoolExecutor(20) as threads:
        won = list(threads.map(lambda data: objects.create(f"{bucket}/claim", data), contents))
    assert won.count(True) == 1
    assert objects.read_bytes(f"{bucket}/claim") == contents[won.index(True)]
    assert faulty_s3.injected["lost"]


def test_a_store_that_writes_over_what_it_was_asked_not_to_is_noticed(faulty_s3: FaultyStore, bucket: str) -> None:
    assert objects.can_create(f"{bucket}/out")
    faulty_s3.ignores_conditions = True
    assert not objects.can_create(f"{bucket}/out")
    # Neither a fault at the same time nor its own object makes it believe otherwise.
    faulty_s3.plan("lost", ["PUT"], 2)
    assert not objects.can_create(f"{bucket}/out")
    faulty_s3.ignores_conditions = False
    faulty_s3.plan("lost", ["PUT"], 2)
    assert objects.can_create(f"{bucket}/out")
    assert objects.list_files(bucket) == []


def test_a_run_into_such_a_store_is_refused_unless_the_user_says_so(faulty_s3: FaultyStore, bucket: str) -> None:
    _refuse_unsafe_store(OutputSettings(uri=f"{bucket}/out"))
    faulty_s3.ignores_conditions = True
    with pytest.raises(ConfigError, match=r"If-None-Match.*output\.allow_unsafe_store=true"):
        _refuse_unsafe_store(OutputSettings(uri=f"{bucket}/out"))
    with structlog.testing.capture_logs() as logged:
        _refuse_unsafe_store(OutputSettings(uri=f"{bucket}/out", allow_unsafe_store=True))
    assert [entry["event"] for entry in logged] == ["unsafe_store"]


EVERY_OPERATION = [
    lambda uri: objects.read_bytes(uri),
    lambda uri: objects.publish(uri, b"x"),
    lambda uri: objects.create(uri, b"x"),
    lambda uri: objects.list_files(uri),
    lambda uri: objects.stat(uri),
    lambda uri: objects.exists(uri),
    lambda uri: objects.delete(uri),
]


@pytest.mark.parametrize("fault", ["slow_down", "reset"])
def test_a_store_that_stays_down_is_named_when_the_tries_are_used_up(
    faulty_s3: FaultyStore, bucket: str, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(s3_files, "TRIES", 2)
    faulty_s3.rates = {fault: 1.0}
    for operation in EVERY_OPERATION:
        faulty_s3.requests.clear()
        with pytest.raises(StorageError, match=f"{bucket}.*does not answer.*2 tries.*AWS_ENDPOINT_URL_S3"):
            operation(f"{bucket}/object")
        # aiohttp sends what may be sent twice, which to it a PUT is, once more when the connection breaks.
        assert faulty_s3.requests.total() <= (2 if fault == "slow_down" else 4)


def test_trying_ends_in_time_too(faulty_s3: FaultyStore, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_files, "TRIES", 1000)
    monkeypatch.setattr(s3_files, "TRYING_SECONDS", 1.0)
    faulty_s3.rates = {"internal_error": 1.0}
    with pytest.raises(StorageError, match="does not answer"):
        objects.read_bytes(f"{bucket}/object")
    assert 1 < faulty_s3.requests.total() < 1000


def test_an_answer_that_trickles_without_end_is_given_up(
    faulty_s3: FaultyStore, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.publish(f"{bucket}/object", DATA)
    monkeypatch.setattr(s3_files, "TRY_SECONDS", 0.5)
    monkeypatch.setattr(s3_files, "UNKNOWN_BYTES", 0)
    faulty_s3.plan("stall", ["GET"])
    read(bucket)
    assert faulty_s3.injected == {"stall": 1}


def test_a_whole_object_in_place_of_a_part_is_no_part() -> None:
    with pytest.raises(OSError, match="asked for bytes=10-19 and sent all"):
        s3_files._check_range("bytes=10-19", "")
    s3_files._check_range("bytes=10-19", "bytes 10-19/300000")
    s3_files._check_range("bytes=-5", "bytes 95-99/100")
    s3_files._check_range("", "")


def test_a_missing_bucket_is_an_error_at_once(faulty_s3: FaultyStore) -> None:
    for operation in EVERY_OPERATION[:-1]:
        faulty_s3.requests.clear()
        with pytest.raises(StorageError, match="there is no such bucket"):
            operation("s3://no-such-bucket/object")
        assert faulty_s3.requests.total() <= 2


def test_an_object_that_is_read_whole_is_asked_for_once_whether_it_is_there_or_not(
    faulty_s3: FaultyStore, bucket: str
) -> None:
    faulty_s3.requests.clear()
    with pytest.raises(FileNotFoundError):
        objects.read_bytes(f"{bucket}/nothing")
    assert faulty_s3.requests == {"GET": 1}
    objects.publish(f"{bucket}/something", b"x")
    faulty_s3.requests.clear()
    assert objects.read_bytes(f"{bucket}/something") == b"x"
    assert faulty_s3.requests == {"GET": 1}


def test_the_log_says_when_a_store_is_tried_for_long(faulty_s3: FaultyStore, bucket: str) -> None:
    objects.publish(f"{bucket}/object", DATA)
    faulty_s3.plan("slow_down", times=4)
    with structlog.testing.capture_logs() as logged:
        read(bucket)
    expected = {"event": "store_tried_again", "log_level": "warning", "uri": f"{bucket}/object"}
    assert [entry | expected for entry in logged] == logged
    assert [entry["tries"] for entry in logged] == [3, 4]


def test_the_same_seed_brings_the_same_faults() -> None:
    def drawn(seed: int) -> list[str | None]:
        store = FaultyStore("http://127.0.0.1:9", MIX, seed)
        return [store.fault_for("GET") for _ in range(200)]

    assert drawn(7) == drawn(7) != drawn(8)
    assert 0.1 < sum(fault is not None for fault in drawn(7)) / 200 < 0.3
