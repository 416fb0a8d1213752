"""The scheduler: chance decides between threads, time jumps, and what is dead or held does not run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from tests.simulation.scheduler import Scheduler, SimLoop, Stuck


def _loops(seed: int, number: int) -> tuple[Scheduler, list[SimLoop]]:
    scheduler = Scheduler(random.Random(seed))
    return scheduler, [SimLoop(scheduler, pytest.fail) for _ in range(number)]  # type: ignore[abstract]


def test_time_jumps_to_the_next_timer_and_no_timer_is_early() -> None:
    scheduler, (loop,) = _loops(1, 1)
    woken: list[tuple[float, float]] = []

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append((seconds, loop.time()))

    tasks = [loop.create_task(sleep(seconds)) for seconds in (3600, 0.1, 7.0000001)]
    scheduler.run(lambda: all(task.done() for task in tasks), 4_000_000_000)
    assert [seconds for seconds, _ in woken] == [0.1, 7.0000001, 3600]
    assert all(seconds <= at < seconds + 0.001 for seconds, at in woken)


def _order(seed: int) -> Sequence[tuple[str, int]]:
    scheduler, loops = _loops(seed, 2)
    order: list[tuple[str, int]] = []
    for name, loop in zip("ab", loops, strict=True):
        for number in range(10):
            loop.call_soon(order.append, (name, number))
    scheduler.run(lambda: len(order) == 20, 1_000_000)
    return order


def test_a_thread_keeps_its_order_and_chance_decides_between_threads() -> None:
    order = _order(1)
    for name in "ab":
        assert [number for who, number in order if who == name] == list(range(10))
    assert order == _order(1)
    assert len({tuple(_order(seed)) for seed in range(5)}) == 5


def test_a_dead_process_runs_nothing_not_even_its_finally() -> None:
    scheduler, (loop,) = _loops(1, 1)
    trace: list[str] = []

    async def work() -> None:
        try:
            trace.append("begun")
            await asyncio.sleep(1)
        finally:
            trace.append("finally")

    loop.create_task(work())
    scheduler.run(lambda: bool(trace), 10_000_000)
    loop.die()
    with pytest.raises(Stuck):
        scheduler.run(lambda: len(trace) > 1, 10_000_000)
    loop.bury()
    assert trace == ["begun", "finally"]  # once it is buried nobody sees what it does


def test_a_paused_process_goes_on_where_it_was() -> None:
    scheduler, (paused, other) = _loops(1, 2)
    trace: list[str] = []
    paused.call_later(1, trace.append, "paused")
    other.call_later(2, trace.append, "other")
    paused.held = True
    scheduler.run(lambda: bool(trace), 10_000_000)
    paused.held = False
    scheduler.run(lambda: len(trace) == 2, 10_000_000)
    assert trace == ["other", "paused"]


def test_nothing_left_to_do_is_told_and_not_waited_for() -> None:
    scheduler, _ = _loops(1, 1)
    with pytest.raises(Stuck, match="nothing is ready"):
        scheduler.run(lambda: False, 1_000_000)
