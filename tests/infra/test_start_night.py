"""What starts a night, against a Kubernetes of the test's own, and the script that it starts on the head."""

import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.kubernetes.base.start_night import FAILED, GRACE_SECONDS, LEAST_SECONDS, POLL_SECONDS, Api, began_at, run
from tests import kubernetes as api_server
from tests.waiting import wait_for

BASE = Path(__file__).parents[2] / "infra/kubernetes/base"
TICK = int(datetime(2026, 11, 27, 1, tzinfo=UTC).timestamp())
JOB = f"longhaul-nightly-{TICK // 60}"
NIGHT = 18_000
ENVIRONMENT = {
    "JOB_NAME": JOB, "NIGHT_TEMPLATE": "longhaul-night", "NIGHT_SECONDS": str(NIGHT), "NIGHT_ATTEMPTS": "2"
}  # fmt: skip
DONE = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
BROKEN = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "message": "exit code 1"}


class Kubernetes(api_server.Kubernetes):
    """Each new RayJob goes through the next of `fates`, a status for each look."""

    def __init__(self) -> None:
        super().__init__(yaml.safe_load((BASE / "rayjob.yaml").read_text("utf-8")))
        self.fates: list[list[Any]] = []
        self.looks: dict[str, Iterator[Any]] = {}

    def begin(self, name: str, rayjob: Any) -> None:
        self.looks[name] = iter(self.fates.pop(0))

    def status(self, name: str) -> Any:
        return next(self.looks[name])


@pytest.fixture
def kubernetes() -> Iterator[Kubernetes]:
    server = Kubernetes()
    with server.serving():
        yield server


@pytest.fixture
def night(kubernetes, tmp_path):
    """Runs a night on a clock of its own that begins at the tick; gives its exit code and how long it took."""
    (tmp_path / "token").write_text(api_server.TOKEN, encoding="utf-8")
    api = Api(f"http://127.0.0.1:{kubernetes.server_address[1]}", api_server.NAMESPACE, tmp_path)

    def started(late: float = 0, look_seconds: float = POLL_SECONDS) -> tuple[int, float]:
        passed = [late]

        def sleep(_: float) -> None:
            passed[0] += look_seconds

        return run(api, ENVIRONMENT, lambda: TICK + passed[0], sleep), passed[0]

    return started


def test_a_night_is_a_copy_of_the_template_that_runs_until_the_deadline(kubernetes, night):
    kubernetes.fates = [[{}, {"jobDeploymentStatus": "Running"}, DONE]]
    assert night() == (0, 2 * POLL_SECONDS)
    template, made = kubernetes.rayjobs["longhaul-night"]["spec"], kubernetes.rayjobs[f"{JOB}-1"]["spec"]
    assert made == template | {
        "suspend": False,
        "entrypoint": "bash /etc/longhaul/night.sh 2026-11-27T06:00:00+00:00",
        "activeDeadlineSeconds": NIGHT + GRACE_SECONDS,
    }
    assert len(f"{JOB}-1") <= 47, "KubeRay takes no longer names"


def test_another_pod_of_the_same_night_waits_for_the_same_rayjob(kubernetes, night):
    kubernetes.fates = [[{}, DONE]]
    kubernetes.create({"metadata": {"name": f"{JOB}-1"}, "spec": {"suspend": False}})
    assert night(late=600)[0] == 0
    assert set(kubernetes.rayjobs) == {"longhaul-night", f"{JOB}-1"}


def test_a_night_whose_head_died_is_tried_again_for_what_is_left_of_it(kubernetes, night):
    kubernetes.fates = [[{}, BROKEN], [{}, DONE]]
    assert night(look_seconds=7200)[0] == 0
    second = kubernetes.rayjobs[f"{JOB}-2"]["spec"]
    assert second["entrypoint"].endswith("2026-11-27T06:00:00+00:00")
    assert second["activeDeadlineSeconds"] == NIGHT - 7200 + GRACE_SECONDS


def test_a_night_that_fails_late_is_left_to_the_next(kubernetes, night):
    kubernetes.fates = [[{}, BROKEN], []]
    assert night(look_seconds=NIGHT - LEAST_SECONDS + 1)[0] == FAILED
    assert f"{JOB}-2" not in kubernetes.rayjobs


def test_a_night_that_fails_each_time_has_failed(kubernetes, night):
    kubernetes.fates = [[BROKEN], [BROKEN]]
    assert night()[0] == FAILED


def test_an_api_server_that_fails_for_a_while_is_asked_again(kubernetes, night):
    kubernetes.fates = [[503, 500, {}, DONE]]
    assert night()[0] == 0
    assert f"{JOB}-2" not in kubernetes.rayjobs


def test_a_rayjob_that_somebody_deleted_has_failed(kubernetes, night):
    kubernetes.fates = [[404], [404]]
    assert night()[0] == FAILED


def test_a_template_without_a_place_for_the_deadline_is_refused(kubernetes, night):
    kubernetes.rayjobs["longhaul-night"]["spec"]["entrypoint"] = "python -m jobs.summarize nightly.yaml"
    with pytest.raises(ValueError, match="NIGHT_ENDS"):
        night()


@pytest.mark.parametrize(("name", "began"), [(JOB, TICK), ("by-hand", TICK + 99.0), ("try-2", TICK + 99.0)])
def test_the_tick_is_in_the_name_of_the_job_unless_a_person_named_it(name, began):
    assert began_at(name, TICK + 99.0) == began


@pytest.fixture
def head(tmp_path) -> dict[str, Any]:
    """Where night.sh runs with a `python` that ends as it is told."""
    (tmp_path / "python").write_text('#!/bin/sh\necho "$@" > "$SEEN"\neval "$THEN"\n', encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    script = (BASE / "night.sh").read_text(encoding="utf-8").replace("/srv/longhaul", str(tmp_path))
    (tmp_path / "night.sh").write_text(script, encoding="utf-8")
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SEEN": str(tmp_path / "seen")}
    return {"args": ["bash", tmp_path / "night.sh", "2026-11-27T06:00:00+00:00"], "env": environment}


@pytest.mark.parametrize(("code", "said"), [(0, 0), (1, 1), (2, 2), (3, 0), (4, 0), (5, 5), (130, 130)])
def test_failed_documents_and_a_stop_in_time_are_nights_that_went_well(head, tmp_path, code, said):
    head["env"]["THEN"] = f"exit {code}"
    assert subprocess.run(**head, check=False).returncode == said
    command = "-m jobs.summarize /etc/longhaul/nightly.yaml run.deadline=2026-11-27T06:00:00+00:00\n"
    assert (tmp_path / "seen").read_text(encoding="utf-8") == command


def test_a_driver_that_is_told_to_go_is_waited_for(head, tmp_path):
    head["env"]["THEN"] = (
        'trap \'sleep 0.3; echo saved >> "$SEEN"; exit 130\' TERM; echo ready >> "$SEEN"; while :; do sleep 0.05; done'
    )
    process = subprocess.Popen(**head, start_new_session=True)
    seen = tmp_path / "seen"
    wait_for(lambda: seen.exists() and "ready" in seen.read_text(encoding="utf-8"), "the driver to start")
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(30) == 130
    assert seen.read_text(encoding="utf-8").endswith("saved\n")
