"""A life that ends: nothing of it takes another step, not even `finally`, and whoever else lives does not notice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator

import anyio
import pytest

from durable.testing.mortality import Life, mortal


@pytest.fixture
async def life() -> AsyncGenerator[Life]:
    with mortal(asyncio.get_running_loop()):
        made = Life()
        yield made
        await made.bury()


async def turns(count: int = 20) -> None:
    """Let everything that can go on go on."""
    for _ in range(count):
        await asyncio.sleep(0)


class Trace(list[str]):
    """What a coroutine has done, and what it waits for."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def work(self, name: str = "work") -> str:
        self.append(f"{name} begins")
        try:
            await self.go_on.wait()
            self.append(f"{name} goes on")
            return name
        finally:
            self.append(f"{name} cleans up")


async def test_what_lives_runs_as_ever_and_returns_and_raises(life: Life) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    trace = Trace()
    working, failing = life.begin(trace.work()), life.begin(fails())
    await turns()
    trace.go_on.set()

    assert await working == "work"
    with pytest.raises(ValueError, match="no"):
        await failing
    assert trace == ["work begins", "work goes on", "work cleans up"]


async def test_what_lives_can_be_cancelled(life: Life) -> None:
    trace = Trace()
    task = life.begin(trace.work())
    await turns()

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert trace == ["work begins", "work cleans up"]


async def test_from_its_end_on_nothing_runs_not_even_finally_whatever_it_waited_for_comes(life: Life) -> None:
    trace = Trace()
    life.begin(trace.work())
    await turns()

    life.end()
    trace.go_on.set()
    await turns()

    assert trace == ["work begins"]


async def test_the_dead_do_not_hear_that_they_are_cancelled(life: Life) -> None:
    trace = Trace()
    task = life.begin(trace.work())
    await turns()
    life.end()

    for _ in range(3):
        task.cancel()
        await turns()

    assert trace == ["work begins"]
    assert not task.done()


async def test_what_a_life_began_dies_with_it_and_what_others_began_lives_on(life: Life) -> None:
    trace = Trace()

    async def parent() -> None:
        async with asyncio.TaskGroup() as group, anyio.create_task_group() as other:
            group.create_task(trace.work("child"))
            other.start_soon(trace.work, "grandchild")

    life.begin(parent())
    stranger = asyncio.create_task(trace.work("stranger"))
    await turns()
    life.end()
    trace.go_on.set()

    assert await stranger == "stranger"
    await turns()
    assert sorted(trace) == [
        "child begins",
        "grandchild begins",
        "stranger begins",
        "stranger cleans up",
        "stranger goes on",
    ]


async def test_whoever_ends_its_own_life_stops_at_its_next_wait(life: Life) -> None:
    steps: list[str] = []

    async def work() -> None:
        life.end()
        steps.append("after the end, before a wait")
        await asyncio.sleep(0)
        steps.append("after a wait")

    life.begin(work())
    await turns()

    assert steps == ["after the end, before a wait"]


async def test_what_begins_after_the_end_never_takes_a_step(life: Life) -> None:
    trace = Trace()
    life.end()

    life.begin(trace.work())
    await turns()

    assert trace == []


async def test_burying_ends_all_that_is_left_and_what_it_logs_nobody_hears(
    life: Life, caplog: pytest.LogCaptureFixture
) -> None:
    steps: list[str] = []

    async def stubborn() -> None:
        for _ in range(3):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                logging.getLogger(__name__).error("the dead complain")
                steps.append("goes on waiting")

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stubborn())
            tasks.create_task(asyncio.sleep(3600))

    tasks = [life.begin(stubborn()), life.begin(group()), life.begin(asyncio.sleep(3600))]
    await turns()
    life.end()

    await life.bury()

    assert all(task.done() for task in tasks)
    assert "goes on waiting" in steps
    assert caplog.records == []
    logging.getLogger(__name__).error("the living are heard")
    assert [record.getMessage() for record in caplog.records] == ["the living are heard"]


async def test_lives_end_one_by_one(life: Life) -> None:
    other = Life()
    trace = Trace()
    life.begin(trace.work("one"))
    living = other.begin(trace.work("other"))
    await turns()

    life.end()
    trace.go_on.set()

    assert await living == "other"
    assert "one goes on" not in trace


async def test_a_loop_has_its_own_way_of_making_tasks_back_after_the_block() -> None:
    loop = asyncio.get_running_loop()
    made: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine, **options):  # type: ignore[no-untyped-def]
        made.append(coroutine.__name__)
        return asyncio.Task(coroutine, loop=loop, **options)

    loop.set_task_factory(factory)
    try:
        with mortal(loop):
            await asyncio.create_task(turns())
            assert loop.get_task_factory() is not factory
        assert loop.get_task_factory() is factory
    finally:
        loop.set_task_factory(None)
    assert made == ["turns"]
