"""The engine, simulated: whatever goes wrong, what `durable.history` promises holds, in every seed."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from durable.history.committer import Committer
from durable.history.stores import plan
from durable.history.transition import Committed, Refusal, Refused, RunInfo, Send, Transition
from tests.simulation.grammar import Author
from tests.simulation.host import Faults
from tests.simulation.scheduler import Scheduler, SimLoop, Stuck
from tests.simulation.world import Broken, World, simulate

SEEDS = 200
SEEDS_OF_ALL = 5000
PROJECT = Path(__file__).parent.parent.parent


@pytest.mark.timeout(600)
def test_200_seeds_keep_every_invariant() -> None:
    happened: Counter[str] = Counter()
    for seed in range(1, SEEDS + 1):
        happened.update(simulate(seed).happened)
    # A simulation in which nothing goes wrong shows nothing.
    for what in ("crash", "pause", "stop", "lost reply", "failed store"):
        assert happened[what] > 20, happened
    for how in ("Completed", "Failed", "Canceled", "Terminated"):
        assert happened[f"WorkflowExecution{how}"] > 5, happened


@pytest.mark.all
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("first", range(SEEDS + 1, SEEDS_OF_ALL + 1, SEEDS))
def test_5000_seeds_keep_every_invariant(first: int) -> None:
    for seed in range(first, first + SEEDS):
        simulate(seed)


# One seed, one history. -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [7, 36, 140])
def test_one_seed_is_one_history_byte_for_byte(seed: int) -> None:
    once, again = simulate(seed), simulate(seed)
    assert once.rows == again.rows
    assert once.log == again.log


def test_a_seed_is_the_same_history_in_another_process_with_other_hashes() -> None:
    here = [simulate(seed).digest for seed in (7, 36)]
    code = "from tests.simulation.world import simulate; print(*(simulate(seed).digest for seed in (7, 36)))"
    for hashes in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", code],
            cwd=PROJECT,
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.split() == here


def test_two_seeds_are_two_histories() -> None:
    assert simulate(7).digest != simulate(8).digest


def test_a_seed_that_breaks_says_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(world: World) -> None:
        raise ValueError("the engine is on fire")

    monkeypatch.setattr(World, "_calm_down", broken)
    with pytest.raises(Broken, match=r"on fire(.|\n)*python -m tests\.simulation 7$"):
        simulate(7)


# Faults planted in the engine are found. ------------------------------------------------------------------------------


def _first_broken_seed() -> str:
    """What the first seed that breaks has found."""
    for seed in range(1, SEEDS + 1):
        try:
            simulate(seed)
        except Broken as broken:
            return str(broken)
    pytest.fail(f"{SEEDS} seeds found nothing")


def test_a_fence_that_is_not_checked_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = plan.refusal

    def unfenced(transition: Transition, run: RunInfo | None, seen: plan.Seen) -> Refused | None:
        refused = checked(transition, run, seen)
        if run is None or refused is None or refused.reason is not Refusal.FENCED:
            return refused
        current = msgspec.structs.replace(run, owner=transition.owner, last_event_id=transition.last_event_id)
        seen.alive.update(name for name in (transition.new_owner, *(t.owner for t in transition.tasks)) if name)
        return checked(transition, current, seen)

    monkeypatch.setattr(plan, "refusal", unfenced)
    _first_broken_seed()


def test_a_message_that_is_dropped_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, numbers = plan.message_row, count(1)

    def dropping(message: Any, namespace: str, task_queue: str, run_id: str) -> tuple[Any, ...]:
        row = rows(message, namespace, task_queue, run_id)
        return (namespace, task_queue, "nobody's run", *row[3:]) if next(numbers) % 50 == 0 else row

    monkeypatch.setattr(plan, "message_row", dropping)
    _first_broken_seed()


def test_an_acknowledgement_before_the_commit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    commit = Committer._commit

    async def hasty(committer: Committer, batch: list[Any]) -> None:
        for write, done in batch:
            if isinstance(write, Send):
                done(Committed(run_id=write.run_id or ""))
        silent: Callable[[object], None] = lambda outcome: None  # noqa: E731
        await commit(committer, [(write, silent if isinstance(write, Send) else done) for write, done in batch])

    monkeypatch.setattr(Committer, "_commit", hasty)
    assert "acknowledged" in _first_broken_seed()


# The scheduler itself. ------------------------------------------------------------------------------------------------


def _loops(seed: int, number: int) -> tuple[Scheduler, list[SimLoop]]:
    scheduler = Scheduler(random.Random(seed))
    return scheduler, [SimLoop(scheduler, pytest.fail) for _ in range(number)]


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


def test_the_same_chance_writes_the_same_program() -> None:
    programs = [Author(random.Random(seed)).program() for seed in (5, 5, 6)]
    assert programs[0] == programs[1] != programs[2]


def test_stopped_faults_are_none() -> None:
    faults = Faults(crash=1, pause=1, fail=1, lose=1, slow=1)
    faults.stop()
    assert faults == Faults()
