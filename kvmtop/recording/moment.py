"""When something was, as people write it: 03:12, yesterday 03:12, 2026-11-23T03:12:00+01:00, -10m.

Without an offset it is the reader's own time. Where clocks are put back, an hour comes twice: of a time in it the last
is meant that there is, as of one without a date, and an offset tells of the other. Where they are put forward, an hour
is missing: no day had such a time.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, tzinfo

from ..errors import KvmtopError

FORMS = "03:12, 'yesterday 03:12', 2026-11-23T03:12+01:00, or -10m"
_CLOCK = r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?"
_DAY = re.compile(rf"(?:(?P<day>yesterday|today)(?:[ T-]{_CLOCK})?)", re.ASCII)
_TIME = re.compile(_CLOCK, re.ASCII)
_AGO = re.compile(r"-(?:[0-9]{1,7}[dhms])+", re.ASCII)
_ISO = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:[0-9]{2})?)?",
    re.ASCII,
)
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
LONGEST = 40  # characters
BACK = 3  # days in which one has any time of day


def moment(text: str, end: float, now: float, zone: tzinfo | None = None, after: float | None = None) -> float:
    """A moment in s since 1970. Raises KvmtopError.

    end: of the recording, before which a time of day or -10m is; now: the reader's, for today and yesterday; zone: the
    reader's, None for the machine's. after: where a stretch begins, whose end a time of day is the first after it.
    """
    try:
        found = _moment(text, end, now, zone, after) if len(text) <= LONGEST else None
    except (ValueError, OverflowError, OSError):  # no such day, hour, or year
        found = None
    if found is None:
        raise KvmtopError(f"{text[:LONGEST]!r} is no moment: write {FORMS}", 2)
    return found


def _moment(text: str, end: float, now: float, zone: tzinfo | None, after: float | None) -> float | None:
    if match := _TIME.fullmatch(text):
        return _time_of_day(match, text, end, zone, after)
    if match := _DAY.fullmatch(text):
        day = _local(now, zone).date() - timedelta(match["day"] == "yesterday")
        return _last(_instants(_on(day, match), zone), text, end, after)
    if _AGO.fullmatch(text):
        return end - sum(int(number) * _SECONDS[unit] for number, unit in re.findall("([0-9]+)([dhms])", text))
    if _ISO.fullmatch(text):
        found = datetime.fromisoformat(text)
        return found.timestamp() if found.tzinfo else _last(_instants(found, zone), text, end, after)
    return None


def _time_of_day(match: re.Match[str], text: str, end: float, zone: tzinfo | None, after: float | None) -> float:
    """The last such moment up to the end; where a stretch begins somewhere, the first after that."""
    day = _local(end if after is None else after, zone).date()
    days = (day + timedelta(n if after is not None else 1 - n) for n in range(BACK + 1))
    found = sorted(instant for one in days for instant in _instants(_on(one, match), zone))
    if after is not None:
        return next(instant for instant in found if instant > after)
    return next(instant for instant in reversed(found) if instant <= end)


def _on(day: date, match: re.Match[str]) -> datetime:
    hour, minute, second = (int(match[part] or 0) for part in ("hour", "minute", "second"))
    return datetime(day.year, day.month, day.day, hour, minute, second)


def _instants(local: datetime, zone: tzinfo | None) -> list[float]:
    """When clocks showed that, in s since 1970: once, twice, or never."""
    found = {(local.replace(fold=fold, tzinfo=zone)).timestamp() for fold in (0, 1)}
    return sorted(one for one in found if _local(one, zone).replace(tzinfo=None, fold=0) == local)


def _last(found: list[float], text: str, end: float, after: float | None) -> float:
    if not found:
        raise KvmtopError(f"there was no {text}: clocks were put forward over it", 2)
    fit = [one for one in found if one <= end and (after is None or one > after)]
    return fit[-1] if fit else found[0]


def _local(instant: float, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(instant, zone)


def words(instant: float, zone: tzinfo | None = None) -> str:
    """For people: Mon 23 Nov 03:12:05 CET."""
    local = datetime.fromtimestamp(instant, zone)
    return (local if local.tzinfo else local.astimezone()).strftime("%a %d %b %H:%M:%S %Z")


def stretch(text: str) -> tuple[str, str] | None:
    """Both ends of FROM..TO, either may be empty; None: it is none."""
    begin, dots, end = text.partition("..")
    return (begin.strip(), end.strip()) if dots else None
