"""What a submitted job writes must outlast the copy of its working directory."""

import pytest

from configs.errors import ConfigError
from pipeline.cluster.submission import refuse_relative

LASTING = ["/mnt/out", "~/out", "file:///mnt/out", "s3://bucket/out", "memory://out"]


@pytest.mark.parametrize("uri", [*LASTING, "out"])
def test_by_hand_everything_is_taken(uri, monkeypatch):
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    refuse_relative("output.uri", uri)


@pytest.mark.parametrize("uri", LASTING)
def test_of_a_submitted_job_what_lasts(uri, monkeypatch):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    refuse_relative("output.uri", uri)


@pytest.mark.parametrize("uri", ["out", "./out", "../out"])
def test_of_a_submitted_job_no_relative_path(uri, monkeypatch):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(ConfigError, match=r"^output.uri = .*: a relative path means the job's own copy"):
        refuse_relative("output.uri", uri)
