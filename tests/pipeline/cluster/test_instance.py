"""A cloud's machine is known by its firmware and by what the metadata service says; any other machine asks nobody."""

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from structlog.testing import capture_logs

from configs.labels import INSTANCE_LABEL, INSTANCE_TYPE_LABEL, PROVIDER_LABEL, REGION_LABEL
from pipeline.cluster import instance

DOCUMENT = {"instanceId": "i-0abc", "instanceType": "p5.48xlarge", "region": "us-east-1", "accountId": "1"}
AZURE = {"resourceId": "/subscriptions/1/x/virtualMachines/gpu-1", "vmSize": "Standard_ND96isr", "location": "westus"}
GCP_PATH, AZURE_PATH = "/computeMetadata/v1/instance", "/metadata/instance/compute?api-version=2021-02-01"
ANSWERS = {
    ("PUT", "/latest/api/token"): "a token",
    ("GET", "/latest/dynamic/instance-identity/document"): json.dumps(DOCUMENT),
    ("GET", f"{GCP_PATH}/id"): "7311",
    ("GET", f"{GCP_PATH}/zone"): "projects/5/zones/us-central1-a",
    ("GET", f"{GCP_PATH}/machine-type"): "projects/5/machineTypes/a3-highgpu-8g",
    ("GET", AZURE_PATH): json.dumps(AZURE),
}
NITRO = {"sys_vendor": "Amazon EC2", "product_name": "p5.48xlarge", "board_asset_tag": "i-0abc"}
HEADERS = {"X-aws-ec2-metadata-token": "a token", "Metadata-Flavor": "Google", "Metadata": "true"}


class Metadata(ThreadingHTTPServer):
    """All three clouds' services, as strict as they are about headers; `hangs` as for a pod that is kept from them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.hangs = False
        self.asked: list[str] = []


class Answer(BaseHTTPRequestHandler):
    server: Metadata

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.hangs:
            time.sleep(0.5)
        answer = ANSWERS.get((self.command, self.path), "")
        is_allowed = self.command == "PUT" or any(self.headers[name] == value for name, value in HEADERS.items())
        self.send_response(200 if answer and is_allowed else 401)
        self.end_headers()
        self.wfile.write(answer.encode())

    do_PUT = do_GET  # noqa: N815  # the name is http.server's

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    with Metadata() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def firmware(folder: Path, **says: str) -> Path:
    for name, text in says.items():
        (folder / name).write_text(text + "\n")
    return folder


@pytest.mark.parametrize(
    ("says", "found"),
    [
        ({"sys_vendor": "Amazon EC2"}, ("aws", "i-0abc", "p5.48xlarge", "us-east-1")),
        ({"sys_vendor": "Xen", "bios_version": "4.11.amazon"}, ("aws", "i-0abc", "p5.48xlarge", "us-east-1")),
        ({"product_name": "Google Compute Engine"}, ("gcp", "7311", "a3-highgpu-8g", "us-central1")),
        (
            {"sys_vendor": "Microsoft Corporation", "chassis_asset_tag": instance.AZURE_TAG},
            ("azure", AZURE["resourceId"], "Standard_ND96isr", "westus"),
        ),
    ],
)
def test_a_machine_of_a_cloud_is_what_its_metadata_service_says(tmp_path, metadata, says, found):
    labels = instance.labels(firmware(tmp_path, **says), metadata.url, {})
    assert labels == dict(zip((PROVIDER_LABEL, INSTANCE_LABEL, INSTANCE_TYPE_LABEL, REGION_LABEL), found, strict=True))


@pytest.mark.parametrize(
    "says", [{}, {"sys_vendor": "Supermicro", "product_name": "SYS-821GE", "chassis_asset_tag": "7"}]
)
def test_any_other_machine_asks_nobody(tmp_path, metadata, says):
    assert instance.labels(firmware(tmp_path, **says), metadata.url, {}) == {}
    assert instance.labels(tmp_path / "gone", metadata.url, {}) == {}
    assert metadata.asked == []


def test_what_the_environment_says_goes_before(tmp_path, metadata):
    said = {instance.VARIABLE: "node-7"}
    assert instance.labels(tmp_path, metadata.url, said) == {INSTANCE_LABEL: "node-7"}
    known = instance.labels(firmware(tmp_path, sys_vendor="Amazon EC2"), metadata.url, said)
    assert (known[INSTANCE_LABEL], known[PROVIDER_LABEL]) == ("node-7", "aws")


def test_a_pod_that_is_kept_from_the_service_waits_a_moment_and_knows_what_the_firmware_says(
    tmp_path, metadata, monkeypatch
):
    monkeypatch.setattr(instance, "TIMEOUT_SECONDS", 0.05)
    metadata.hangs = True
    with capture_logs() as logs:
        labels = instance.labels(firmware(tmp_path, **NITRO), metadata.url, {})
    assert labels == {PROVIDER_LABEL: "aws", INSTANCE_LABEL: "i-0abc", INSTANCE_TYPE_LABEL: "p5.48xlarge"}
    assert [each["event"] for each in logs] == ["instance_unknown"]
    # One question, not one after another.
    assert metadata.asked == ["/latest/api/token"]


@pytest.mark.parametrize("answer", ["", "no JSON", "[1]", "{}"])
def test_an_answer_that_nobody_understands_is_none(tmp_path, metadata, monkeypatch, answer):
    monkeypatch.setitem(ANSWERS, ("GET", "/latest/dynamic/instance-identity/document"), answer)
    labels = instance.labels(firmware(tmp_path, sys_vendor="Amazon EC2"), metadata.url, {})
    assert labels == {PROVIDER_LABEL: "aws"}
