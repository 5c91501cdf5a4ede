"""When a night has to be over: a time of day or a duration, and the moment that it means."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from ganray.pipelines.stop import DEADLINE, GracefulStop

MARGIN_SHARE = 0.1
"""Of the time until the deadline, at most: a short night would else be all margin."""
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def check_deadline(text: str) -> None:
    """Raise ValueError unless `text` is a time of day or a duration."""
    if _CLOCK.fullmatch(text) is None and not _duration(text):
        raise ValueError(
            f"found {text!r}; expected a time of day such as 06:00, or a duration such as 7h, 90m "
            "or 1h30m"
        )


def moment_of(text: str, now: datetime, zone: str = "") -> datetime:
    """The next moment that a deadline means, in UTC; `now` is aware. No zone is local time."""
    clock = _CLOCK.fullmatch(text)
    if clock is None:
        return now.astimezone(UTC) + _duration(text)
    at = time(int(clock[1]), int(clock[2]))
    tz = ZoneInfo(zone) if zone else None
    today = now.astimezone(tz).date()
    days = (datetime.combine(today + timedelta(days=n), at, tz) for n in (0, 1, 2))
    # Without a zone `astimezone` takes the machine's, as it is on that day.
    moments = (day.astimezone(UTC) for day in days)
    return next(moment for moment in moments if moment > now)


def seconds_until_stop(moment: datetime, now: datetime, margin: float) -> float:
    """Seconds until nothing may be begun any more."""
    seconds = (moment - now).total_seconds()
    return max(0.0, seconds - min(margin, MARGIN_SHARE * seconds))


@contextmanager
def stopping_after(seconds: float | None, stop: GracefulStop) -> Iterator[None]:
    """Ask for the stop after so many seconds, unless the context ends before; None is never."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, stop.ask, (DEADLINE,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _duration(text: str) -> timedelta:
    found = _DURATION.fullmatch(text)
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)
