"""When a run shall stop is said in ways that people use, and refused where it cannot be meant."""

from datetime import UTC, datetime

import pytest

from configs.errors import ConfigError
from configs.loader import load
from configs.settings import SummarizeConfig

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def config(*overrides: str) -> SummarizeConfig:
    return load(SummarizeConfig, None, ["input.sources=[docs/]", *overrides])


@pytest.mark.parametrize("given", ["06:00", "6:00", "22:30", "'22:30'", "0:05"])
def test_a_time_of_day_is_the_next_one(given):
    deadline = config(f"run.deadline={given}").run.deadline_after(NOON)
    hours, minutes = map(int, given.strip("'").split(":"))
    local = NOON.astimezone()
    assert (deadline.hour, deadline.minute) == (hours, minutes)
    assert 0 < (deadline - local).total_seconds() <= 24 * 3600


@pytest.mark.parametrize("given", ["2026-11-23T06:00:00+00:00", "2026-11-23T07:00:00+01:00", "2026-11-23T06:00:00Z"])
def test_a_moment_is_that_moment(given):
    assert config(f"run.deadline={given}").run.deadline_after(NOON) == datetime(2026, 11, 23, 6, tzinfo=UTC)


def test_without_a_deadline_there_is_none():
    assert config().run.deadline_after(NOON) is None


@pytest.mark.parametrize("given", ["tomorrow", "25:00", "12:61", "2026-11-23T06:00:00", "''", "2026-11-23"])
def test_what_is_no_deadline_is_refused(given):
    with pytest.raises(ConfigError, match=r"run\.deadline"):
        config(f"run.deadline={given}")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["run.budget_usd=0"], "run.budget_usd = 0"),
        (["run.budget_usd=-2"], "run.budget_usd = -2"),
        (["run.budget_usd=5", "price.currency=EUR"], "price.currency is 'EUR'"),
        (["snapshot.max_lost_device_seconds=0"], "snapshot.max_lost_device_seconds = 0"),
        (["engine.max_attempts=1"], "engine.max_attempts = 1"),
        (["states.ttl_days=0"], "states.ttl_days = 0"),
        (["incremental=maybe"], "incremental = 'maybe'"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(overrides, says):
    with pytest.raises(ConfigError) as error:
        config(*overrides)
    assert says in str(error.value)
