"""Pure: cron schedules in Temporal's spelling: when next."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

LEAST_US = 1_000_000
"""`@every` is a whole number of these, one at least."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ZONE = re.compile(r"(?:CRON_)?TZ=(\S*)\s+(.*)", re.DOTALL)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNIT_US = {"ns": 0.001, "us": 1, "µs": 1, "ms": 1000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}

Next = Callable[[int, int], int]


def next_us(schedule: str, since_us: int, after_us: int) -> int:
    """The first match after ``after_us``. `@every` counts from ``since_us``, when the run before was scheduled.

    ValueError for a schedule that can't be read, or never matches.
    """
    return _read(schedule)(since_us, after_us)


def check(schedule: str) -> None:
    """ValueError when the schedule can't be read, or never matches; it says what is wrong."""
    next_us(schedule, 0, 0)


def _read(schedule: str) -> Next:
    text, zone = schedule.strip(), "UTC"
    if (found := _ZONE.fullmatch(text)) is not None:
        zone, text = found[1], found[2].strip()
    if text.startswith("@every "):
        return _every(schedule, text.removeprefix("@every ").strip())
    return _matching(schedule, text, _zone(schedule, zone))


def _every(schedule: str, text: str) -> Next:
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise _bad(schedule, f"{text!r} is no duration like 1h30m")
    every_us = max(1, int(sum(float(number) * _UNIT_US[unit] for number, unit in parts)) // LEAST_US) * LEAST_US
    return lambda since_us, after_us: since_us + (max(0, after_us - since_us) // every_us + 1) * every_us


def _matching(schedule: str, text: str, zone: tzinfo) -> Next:
    fields = _ALIASES.get(text, text).split()
    if len(fields) != 5:
        known = ", ".join(["@every <duration>", *_ALIASES])
        raise _bad(schedule, f"it has {len(fields)} fields, not minute hour day month weekday; nor is it {known}")
    # A question mark is a star where the other of the two days is given.
    expression = " ".join("*" if place in (2, 4) and field == "?" else field for place, field in enumerate(fields))

    def match(since_us: int, after_us: int) -> int:
        after = (_EPOCH + timedelta(microseconds=after_us)).astimezone(zone)
        try:
            found = next(CronSim(expression, after))
        except CronSimError as error:
            raise _bad(schedule, str(error)) from None
        except (StopIteration, OverflowError):
            raise _bad(schedule, "it never matches") from None
        return (found - _EPOCH) // timedelta(microseconds=1)

    return match


def _zone(schedule: str, name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise _bad(schedule, f"there is no time zone {name!r} here") from None


def _bad(schedule: str, why: str) -> ValueError:
    return ValueError(f"the cron schedule {schedule!r} can't be used: {why}")
