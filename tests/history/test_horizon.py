"""How far a claim looks where an index is full of what is gone."""

from __future__ import annotations

from durable.history.stores.horizon import AHEAD_US, FIRST_US, LAST_US, LATE_US, SHARE, SLOW, Horizon, Look

WALK = ("inbox", "default", "orders")
NOW_US = 10**15


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def look(horizon: Horizon, clock: Clock, *, takes: float, first_us: int | None = None) -> Look:
    made = Look(horizon, NOW_US)
    with made.walking():
        clock.seconds += takes
    made.found(WALK, first_us)
    made.end()
    return made


def is_whole(made: Look) -> bool:
    return (made.since_us(WALK), made.until_us, made.again_us) == (FIRST_US, LAST_US, None)


def test_as_long_as_it_takes_no_time_everything_is_looked_at() -> None:
    clock = Clock()
    horizon = Horizon(clock)

    assert all(is_whole(look(horizon, clock, takes=SLOW)) for _ in range(3))


def test_a_look_at_everything_that_took_long_comes_again_when_it_is_a_small_part_of_the_time() -> None:
    clock = Clock()
    horizon = Horizon(clock)
    began = clock.seconds
    look(horizon, clock, takes=1)

    assert not is_whole(Look(horizon, NOW_US))
    clock.seconds = began + SHARE - 0.1
    assert not is_whole(look(horizon, clock, takes=0))
    clock.seconds = began + SHARE
    assert is_whole(look(horizon, clock, takes=0))
    assert is_whole(Look(horizon, NOW_US))


def test_in_between_claims_look_from_the_first_that_is_still_there_to_the_next_look() -> None:
    clock = Clock()
    horizon = Horizon(clock)
    look(horizon, clock, takes=1, first_us=NOW_US - 5)
    short = look(horizon, clock, takes=0, first_us=None)

    assert (short.until_us, short.again_us) == (NOW_US + AHEAD_US, NOW_US + AHEAD_US)
    assert short.since_us(WALK) == NOW_US - LATE_US
    assert short.since_us(("inbox", "default", "others")) == FIRST_US
    look(horizon, clock, takes=0, first_us=NOW_US - 7)
    assert Look(horizon, NOW_US).since_us(WALK) == NOW_US - 7 - LATE_US
