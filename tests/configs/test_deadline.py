"""A time of day is what the machine's clock shows, also on the days that the clock is changed."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.settings import RunSettings


@pytest.fixture(scope="module", autouse=True)
def berlin() -> Iterator[None]:
    """Clocks go from 02:00 to 03:00 on 29 March 2026, and from 03:00 back to 02:00 on 25 October."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def deadline(clock: str, start: str) -> str:
    """In UTC, as the start is."""
    found = RunSettings(deadline=clock).deadline_after(datetime.fromisoformat(start).replace(tzinfo=UTC))
    assert found is not None
    return found.astimezone(UTC).isoformat(" ", "minutes")[:16]


@pytest.mark.parametrize(
    ("clock", "start", "meant"),
    [
        # 23:00 the evening before, with the clock two hours before UTC and one hour before it in the morning.
        ("06:00", "2026-10-24 21:00", "2026-10-25 05:00"),
        ("06:00", "2026-03-28 22:00", "2026-03-29 04:00"),
        # After the change, on its day.
        ("06:00", "2026-10-25 01:30", "2026-10-25 05:00"),
        ("23:00", "2026-03-29 04:00", "2026-03-29 21:00"),
    ],
)
def test_a_deadline_across_a_clock_change_is_what_the_clock_then_shows(clock, start, meant):
    assert deadline(clock, start) == meant


@pytest.mark.parametrize(
    ("start", "meant"),
    [
        ("2026-10-24 23:00", "2026-10-25 00:30"),
        ("2026-10-25 00:30", "2026-10-25 01:30"),
        ("2026-10-25 00:45", "2026-10-25 01:30"),
        ("2026-10-25 01:30", "2026-10-26 01:30"),
    ],
)
def test_of_a_time_that_the_clock_shows_twice_the_next_is_meant(start, meant):
    assert deadline("02:30", start) == meant


@pytest.mark.parametrize(
    ("start", "meant"), [("2026-03-28 23:00", "2026-03-29 01:30"), ("2026-03-29 01:30", "2026-03-30 00:30")]
)
def test_a_time_that_the_clock_skips_comes_an_hour_later_by_it(start, meant):
    assert deadline("02:30", start) == meant


@given(minutes=st.integers(0, 2 * 365 * 24 * 60), clock=st.integers(0, 24 * 60 - 1))
def test_a_deadline_comes_within_a_day_and_a_clock_change(minutes, clock):
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    text = f"{clock // 60:02d}:{clock % 60:02d}"
    found = RunSettings(deadline=text).deadline_after(start)
    assert found is not None and timedelta(0) < found - start <= timedelta(hours=25)
    skipped = found.strftime("%m-%d") in ("03-29", "03-28") and 120 <= clock < 180
    assert f"{found.astimezone():%H:%M}" == text or skipped
