"""Cron schedules: when the next match is, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.history import cron

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_US = 1_000_000
MOMENT = datetime(2026, 3, 28, 23, 30, 15, 5, tzinfo=UTC)


def us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("schedule", "matches"),
    [
        ("0 12 * * *", "2026-03-29T12:00:00"),
        ("*/5 * * * *", "2026-03-28T23:35:00"),
        ("0 0 ? * MON", "2026-03-30T00:00:00"),
        ("0 0 1 jan ?", "2027-01-01T00:00:00"),
        ("30 8 13 * 5", "2026-04-03T08:30:00"),  # the 13th, or a Friday
        ("@hourly", "2026-03-29T00:00:00"),
        ("@daily", "2026-03-29T00:00:00"),
        ("@midnight", "2026-03-29T00:00:00"),
        ("@weekly", "2026-03-29T00:00:00"),
        ("@monthly", "2026-04-01T00:00:00"),
        ("@yearly", "2027-01-01T00:00:00"),
        ("@annually", "2027-01-01T00:00:00"),
        ("CRON_TZ=America/New_York 0 12 * * *", "2026-03-29T16:00:00"),
        ("TZ=Asia/Tokyo @daily", "2026-03-29T15:00:00"),
        # At 2:00 on that night clocks in Berlin are set to 3:00.
        ("CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-29T01:00:00"),
    ],
)
def test_the_next_match(schedule: str, matches: str) -> None:
    assert cron.next_us(schedule, 0, us(MOMENT)) == us(datetime.fromisoformat(matches).replace(tzinfo=UTC))


def test_a_match_now_is_not_the_next_one() -> None:
    noon = us(datetime(2026, 5, 1, 12, tzinfo=UTC))

    assert cron.next_us("0 12 * * *", 0, noon) == noon + 24 * 3600 * SECOND_US
    assert cron.next_us("0 12 * * *", 0, noon - 1) == noon


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("1.5h", 5400), ("2s900ms", 2), ("10ms", 1), ("1h0m0s", 3600)]
)
@given(since_us=st.integers(0, 10**15), later_us=st.integers(0, 10**12))
def test_every_counts_from_when_the_run_before_was_due(text: str, seconds: int, since_us: int, later_us: int) -> None:
    found_us = cron.next_us(f"@every {text}", since_us, since_us + later_us)

    assert (found_us - since_us) % (seconds * SECOND_US) == 0
    assert 0 < found_us - since_us - later_us <= seconds * SECOND_US


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        ("* * * *", "4 fields"),
        ("* * * * * *", "6 fields"),
        ("61 * * * *", "minute"),
        ("0 0 * * XYZ", "day-of-week"),
        ("0 0 30 2 *", "day-of-month"),
        ("@often", "@hourly"),
        ("@every", "@every <duration>"),
        ("@every 5", "no duration"),
        ("@every 5x", "no duration"),
        ("CRON_TZ=Mars/Olympus 0 0 * * *", "no time zone 'Mars/Olympus'"),
        ("CRON_TZ=../passwd 0 0 * * *", "no time zone"),
        ("CRON_TZ=UTC", "1 fields"),
    ],
)
def test_what_can_not_be_read_is_refused_with_the_reason(schedule: str, why: str) -> None:
    with pytest.raises(ValueError, match="can't be used") as refused:
        cron.check(schedule)

    assert schedule in str(refused.value) and why in str(refused.value)
