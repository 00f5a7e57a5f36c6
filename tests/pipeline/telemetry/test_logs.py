"""Events are lines for a person, or JSON for a machine."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import structlog
from pipeline.telemetry import logs
logs.configure()
structlog.get_logger().info("document_finished", run_id="r", document_id="naïve 文書", tokens=3)
structlog.get_logger().debug("never_seen")
"""


SIGNED = """
import structlog
from aiohttp import ClientError
from pipeline.telemetry import logs
logs.configure()
try:
    raise ClientError("403, url='https://b.s3.amazonaws.com/k?X-Amz-Credential=hidden&X-Amz-Signature=hidden'")
except ClientError as error:
    proxy = "https://user:hidden@proxy:1"
    structlog.get_logger().warning("store_tried_again", uri=proxy, problem=str(error), tries=3, exc_info=True)
"""


def events(program: str = PROGRAM, **environment: str) -> list[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr.splitlines()


def test_json_for_machines():
    (line,) = events(LOG_FORMAT="json")
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "document_finished",
        "level": "info",
        "run_id": "r",
        "document_id": "naïve 文書",
        "tokens": 3,
    }


def test_lines_for_people():
    (line,) = events(LANG="C.UTF-8")
    assert "document_finished" in line
    assert "tokens=3" in line


def test_the_level_comes_from_the_environment():
    assert events(LOG_LEVEL="WARNING") == []


@pytest.mark.parametrize("environment", [{"LOG_FORMAT": "json"}, {"LANG": "C.UTF-8"}])
def test_what_others_quote_of_signed_uris_is_masked(environment):
    """s3fs and aiohttp put the URL that failed into their messages."""
    line = "\n".join(events(SIGNED, **environment))
    assert "store_tried_again" in line and "ClientError" in line and "https://***@proxy:1" in line
    assert "hidden" not in line
    assert environment.get("LOG_FORMAT") != "json" or json.loads(line)["tries"] == 3
