"""A log is shown once however often its connection breaks, and a job is started once."""

import pytest
from ray.job_submission import JobStatus

from configs.errors import ConfigError
from pipeline.cluster import submitted
from pipeline.cluster.submitted import Job, runtime_env

LOG = "".join(f"line {number}\n" for number in range(9))


class Client:
    """Stands for Ray's: a log that breaks off after so many characters each time, and statuses in turn."""

    def __init__(self, breaks: list[int], statuses: list[object]) -> None:
        self._breaks, self._statuses = iter(breaks), iter(statuses)

    def get_job_status(self, submission_id: str) -> JobStatus:
        status = next(self._statuses)
        if isinstance(status, Exception):
            raise status
        return JobStatus(status)

    def get_job_logs(self, submission_id: str) -> str:
        return LOG

    async def tail_job_logs(self, submission_id: str):
        end = next(self._breaks)
        for place in range(0, end, 10):
            yield LOG[place : min(place + 10, end)]
        raise RuntimeError("WebSocket connection closed unexpectedly")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(submitted, "POLL_SECONDS", 0)


@pytest.mark.parametrize("breaks", [[0, 5, 25, 25, 12], [len(LOG), 3, 0, 0, 0]])
def test_a_log_is_shown_once_over_broken_connections(breaks):
    statuses = ["RUNNING", ConnectionError("no route"), "RUNNING", "RUNNING", "RUNNING", "RUNNING", "SUCCEEDED"]
    shown = []
    Job(Client(breaks, statuses), "one").follow(shown.append)
    assert "".join(shown) == LOG


def test_a_cluster_that_stays_away_is_said_to_be_lost(monkeypatch):
    monkeypatch.setattr(submitted, "LOST_SECONDS", 0)
    with pytest.raises(ConfigError, match="Job one may go on"):
        Job(Client([], [ConnectionError("no route")] * 9), "one").follow(print)


def test_a_job_is_told_what_started_it_and_nothing_else_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("OPENLINEAGE_PARENT_ID", raising=False)
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "secret")
    own = runtime_env(tmp_path)["env_vars"]
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", "airflow/dag.task/0198e3a4-7b1f-7c3e-9d5a-2f6b8c1d4e7a")
    told = runtime_env(tmp_path)["env_vars"]
    assert set(own) == {"RAY_JOB_STOP_WAIT_TIME_S"}
    assert told == own | {"OPENLINEAGE_PARENT_ID": "airflow/dag.task/0198e3a4-7b1f-7c3e-9d5a-2f6b8c1d4e7a"}
