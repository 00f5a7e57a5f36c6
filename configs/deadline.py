"""When a run stops: at a moment, or at a time of day by this machine's clock."""

import re
from datetime import UTC, date, datetime, time, timedelta


def deadline_after(text: str, start: datetime) -> datetime:
    """The next such moment after `start`, which has a zone.

    Raises ValueError where the text is neither a time of day nor a moment with a zone.
    """
    if re.fullmatch(r"\d{1,2}:\d{2}", text):
        hours, minutes = map(int, text.split(":"))
        if hours < 24 and minutes < 60:
            return _next(time(hours, minutes), start)
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is not None:
            return moment
    raise ValueError(f"{text!r} is not a deadline: write a time of day as '06:00', or '2026-11-23T06:00:00+00:00'")


def _next(clock: time, start: datetime) -> datetime:
    today = start.astimezone().date()
    days = (today, today + timedelta(days=1))
    return next(moment for day in days for moment in _moments(day, clock) if moment > start)


def _moments(day: date, clock: time) -> list[datetime]:
    """When this machine's clock shows a time on a day: twice where it is set back. A time that is skipped where it is
    set forward is as long after midnight as it would have been."""
    # A naive time takes the zone's rules of its own day; an offset of today may not hold tomorrow.
    first, second = (datetime.combine(day, clock.replace(fold=fold)).timestamp() for fold in (0, 1))
    return [
        datetime.fromtimestamp(each, UTC).astimezone() for each in ((first, second) if first < second else (first,))
    ]
