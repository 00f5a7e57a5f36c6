"""Events are lines for a person, or JSON for a machine."""

import json
import subprocess
import sys

PROGRAM = """
import structlog
from pipeline import logs
logs.configure()
structlog.get_logger().info("document_finished", run_id="r", document_id="naïve 文書", tokens=3)
structlog.get_logger().debug("never_seen")
"""


def events(**environment: str) -> list[str]:
    command = [sys.executable, "-c", PROGRAM]
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
