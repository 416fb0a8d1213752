"""How many may begin when no more than so many may in a second."""

from __future__ import annotations

import pytest

from durable.worker.rate import Rate


def begin_whenever_allowed(rate: Rate, until: float) -> list[float]:
    """Moments at which one began, if each begins as soon as it may."""
    now, begun = 0.0, list[float]()
    while now < until:
        while rate.free(now) > 0:
            rate.take(now)
            begun.append(now)
        now += max(rate.wait(now), 1e-9)
    return begun


@pytest.mark.parametrize("per_second", [0.5, 1.0, 3.0, 10.0, 250.0])
def test_no_more_begin_than_the_rate_and_what_was_saved(per_second: float) -> None:
    begun = begin_whenever_allowed(Rate(per_second), until=20.0)
    saved = max(1.0, per_second / 10)
    for first in range(len(begun)):
        for last in range(first, len(begun), max(1, len(begun) // 50)):
            assert last - first + 1 <= (begun[last] - begun[first]) * per_second + saved + 1e-6
    assert len(begun) >= 20 * per_second - 1


def test_what_was_not_used_is_not_saved_for_long() -> None:
    rate = Rate(100.0)
    assert rate.free(1_000_000.0) == 10


def test_who_begins_all_the_same_is_waited_out() -> None:
    rate = Rate(1.0)
    for _ in range(3):
        rate.take(10.0)
    assert rate.free(10.0) < 0 and rate.wait(10.0) == pytest.approx(3.0)
    assert rate.free(12.9) == 0 and rate.free(13.0) == 1
