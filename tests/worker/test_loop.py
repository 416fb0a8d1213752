"""The workflow event loop: asyncio and anyio run on it, alike in every process, and an eviction leaves no trace."""

from __future__ import annotations

import asyncio
import gc
import heapq
import math
import os
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.worker.loop import (
    WorkflowBeingEvicted,
    WorkflowFuture,
    WorkflowLoop,
    WorkflowTask,
    WorkflowTimerHandle,
)

T = TypeVar("T")
START_US = 1_700_000_000_000_000
SEED = 0x1234_5678_9ABC


class World:
    """Owns a loop: keeps its timers, and lets time jump to the next one when nothing else is left."""

    def __init__(self, seed: int = SEED) -> None:
        self.now_us = START_US
        self.timers: list[tuple[int, int, WorkflowTimerHandle]] = []
        self.started: list[int] = []
        self.cancelled = 0
        self.reports: list[dict[str, Any]] = []
        self.loop = WorkflowLoop(self, seed=seed, time_us=START_US)

    def start_timer(self, delay_us: int, handle: WorkflowTimerHandle) -> None:
        heapq.heappush(self.timers, (self.now_us + delay_us, len(self.started), handle))
        self.started.append(delay_us)

    def cancel_timer(self, handle: WorkflowTimerHandle) -> None:
        before = len(self.timers)
        self.timers = [timer for timer in self.timers if timer[2] is not handle]
        assert len(self.timers) == before - 1, "only a timer that is waiting can be cancelled"
        heapq.heapify(self.timers)
        self.cancelled += 1

    def report(self, context: dict[str, Any]) -> None:
        self.reports.append(context)

    def step(self) -> None:
        self.loop.run_until_dry()
        if self.loop.failures:
            raise self.loop.failures[0]

    def elapse(self) -> bool:
        """Fire what is due next; whether there was anything."""
        if not self.timers:
            return False
        self.now_us = self.timers[0][0]
        self.loop.set_time_us(self.now_us)
        while self.timers and self.timers[0][0] == self.now_us:
            self.loop.fire(heapq.heappop(self.timers)[2])
        return True

    def spawn(self, coro: Coroutine[Any, Any, T]) -> WorkflowTask[T]:
        task = self.loop.create_task(coro)
        self.step()
        return task

    def run(self, coro: Coroutine[Any, Any, T]) -> T:
        task = self.loop.create_task(coro)
        self.step()
        for _ in range(10_000):
            if task.done():
                return task.result()
            if not self.elapse():
                raise AssertionError(f"stuck at {(self.now_us - START_US) / 1e6} s: {asyncio.all_tasks(self.loop)}")
            self.step()
        raise AssertionError("time passes, but the program never ends")

    @property
    def seconds(self) -> float:
        return (self.now_us - START_US) / 1e6


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.loop.close_quietly()


@contextmanager
def no_noise() -> Iterator[None]:
    """Nothing on sys.unraisablehook, no warning, while the block runs and its garbage is collected."""
    gc.collect()  # the garbage of others
    noise: list[object] = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda unraisable: noise.append(unraisable.exc_value)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
            gc.collect()
    finally:
        sys.unraisablehook = hook
    assert noise == []
    assert [str(warning.message) for warning in caught] == []


# asyncio


async def asyncio_sleep() -> object:
    return await asyncio.sleep(5, "slept")


async def asyncio_gather() -> object:
    return await asyncio.gather(asyncio.sleep(5, 1), asyncio.sleep(2, 2), asyncio.sleep(3, 3))


async def asyncio_wait_for() -> object:
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 5)
    return await asyncio.wait_for(asyncio.sleep(0, "in time"), 1000)


async def asyncio_timeout() -> object:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await asyncio.sleep(6)
    async with asyncio.timeout(5) as scope:
        await asyncio.sleep(0)
    return scope.expired()


async def asyncio_task_group() -> object:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asyncio.sleep(delay, delay)) for delay in (1, 5, 3)]
    return [task.result() for task in tasks]


async def asyncio_task_group_abort() -> object:
    ended: list[str] = []

    async def wait(name: str) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(name)

    async def fail() -> None:
        await asyncio.sleep(5)
        raise ValueError("no")

    try:
        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(wait(name))
            group.create_task(fail())
    except* ValueError:
        ended.append("failed")
    return sorted(ended)


async def asyncio_queue() -> object:
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)

    async def produce() -> None:
        for number in range(5):
            await asyncio.sleep(1)
            await queue.put(number)

    producer = asyncio.create_task(produce())
    got = [await queue.get() for _ in range(5)]
    await producer
    return got


async def asyncio_locks() -> object:
    lock, event, semaphore, trace = asyncio.Lock(), asyncio.Event(), asyncio.Semaphore(2), list[str]()

    async def work(name: str) -> None:
        await event.wait()
        async with semaphore, lock:
            trace.append(name)
            await asyncio.sleep(1)

    tasks = [asyncio.create_task(work(name)) for name in "abc"]
    await asyncio.sleep(2)
    assert trace == []
    event.set()
    await asyncio.gather(*tasks)
    return trace


async def asyncio_wait() -> object:
    tasks = [asyncio.create_task(asyncio.sleep(delay)) for delay in (9, 5, 7)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return done == {tasks[1]}, len(pending)


async def asyncio_as_completed() -> object:
    return [await next_one for next_one in asyncio.as_completed([asyncio.sleep(delay, delay) for delay in (5, 1, 3)])]


async def asyncio_shield() -> object:
    inner = asyncio.create_task(asyncio.sleep(5, "kept"))
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.shield(inner), 1)
    return await inner


async def asyncio_call_later() -> object:
    done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(5, done.set_result, "called")
    return await done


async def anyio_sleep() -> object:
    await anyio.sleep(5)
    return anyio.current_time()


async def anyio_task_group() -> object:
    trace: list[float] = []

    async def work(delay: float) -> None:
        await anyio.sleep(delay)
        trace.append(delay)

    async with anyio.create_task_group() as group:
        for delay in (3, 5, 1):
            group.start_soon(work, delay)
    return trace


async def anyio_start() -> object:
    async def serve(*, task_status: anyio.abc.TaskStatus[str]) -> None:
        await anyio.sleep(5)
        task_status.started("up")
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        said = await group.start(serve)
        group.cancel_scope.cancel()
    return said


async def anyio_move_on_after() -> object:
    with anyio.move_on_after(5) as scope:
        await anyio.sleep(100)
    with anyio.move_on_after(5) as unhurried:
        await anyio.lowlevel.checkpoint()
    return scope.cancelled_caught, unhurried.cancelled_caught


async def anyio_fail_after() -> object:
    with pytest.raises(TimeoutError), anyio.fail_after(5):
        await anyio.sleep_forever()
    return "failed"


async def anyio_cancel_nested() -> object:
    trace: list[str] = []

    async def work(name: str) -> None:
        try:
            with anyio.CancelScope():
                await anyio.sleep(100)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(4)
            trace.append(name)

    async with anyio.create_task_group() as group:
        for name in "abc":
            group.start_soon(work, name)
        await anyio.sleep(1)
        group.cancel_scope.cancel()
    return trace


async def anyio_streams() -> object:
    send, receive = anyio.create_memory_object_stream[int](1)

    async def produce() -> None:
        async with send:
            for number in range(5):
                await anyio.sleep(1)
                await send.send(number)

    async with anyio.create_task_group() as group, receive:
        group.start_soon(produce)
        numbers = [number async for number in receive]
    return numbers


async def anyio_locks() -> object:
    lock, event, trace = anyio.Lock(), anyio.Event(), list[str]()

    async def work(name: str) -> None:
        await event.wait()
        async with lock:
            trace.append(name)
            await anyio.sleep(1)

    async with anyio.create_task_group() as group:
        for name in "abc":
            group.start_soon(work, name)
        await anyio.sleep(2)
        event.set()
    return trace


# Program, result, and how many seconds of workflow time it takes.
PROGRAMS: list[tuple[Callable[[], Coroutine[Any, Any, object]], object, float]] = [
    (asyncio_sleep, "slept", 5),
    (asyncio_gather, [1, 2, 3], 5),
    (asyncio_wait_for, "in time", 5),
    (asyncio_timeout, False, 5),
    (asyncio_task_group, [1, 5, 3], 5),
    (asyncio_task_group_abort, ["a", "b", "c", "failed"], 5),
    (asyncio_queue, [0, 1, 2, 3, 4], 5),
    (asyncio_locks, ["a", "b", "c"], 5),
    (asyncio_wait, (True, 2), 5),
    (asyncio_as_completed, [1, 3, 5], 5),
    (asyncio_shield, "kept", 5),
    (asyncio_call_later, "called", 5),
    (anyio_sleep, START_US / 1e6 + 5, 5),
    (anyio_task_group, [1, 3, 5], 5),
    (anyio_start, "up", 5),
    (anyio_move_on_after, (True, False), 5),
    (anyio_fail_after, "failed", 5),
    (anyio_cancel_nested, ["a", "b", "c"], 5),
    (anyio_streams, [0, 1, 2, 3, 4], 5),
    (anyio_locks, ["a", "b", "c"], 5),
]


@pytest.mark.parametrize(("program", "result", "seconds"), PROGRAMS, ids=[case[0].__name__ for case in PROGRAMS])
def test_asyncio_and_anyio_run_on_workflow_time(
    world: World, program: Callable[[], Coroutine[Any, Any, object]], result: object, seconds: float
) -> None:
    assert world.run(program()) == result
    assert world.seconds == seconds
    assert world.reports == []


@pytest.mark.parametrize("program", [case[0] for case in PROGRAMS], ids=[case[0].__name__ for case in PROGRAMS])
def test_every_program_can_be_evicted_at_every_step(program: Callable[[], Coroutine[Any, Any, object]]) -> None:
    with no_noise():
        for steps in range(8):
            world = World()
            task = world.spawn(program())
            for _ in range(steps):
                if world.elapse():
                    world.step()
            started = len(world.started)
            world.loop.close_quietly()
            assert len(world.started) == started and world.cancelled <= started
            assert world.reports == []
            del task, world


# Order


def test_callbacks_run_in_the_order_in_which_they_became_ready(world: World) -> None:
    trace: list[str] = []
    world.loop.call_soon(trace.append, "a")
    world.loop.call_soon(lambda: world.loop.call_soon(trace.append, "d"))
    cancelled = world.loop.call_soon(trace.append, "b")
    world.loop.call_soon(trace.append, "c")
    cancelled.cancel()
    world.step()
    assert trace == ["a", "c", "d"]


def test_a_set_of_tasks_iterates_alike_whatever_else_is_in_memory() -> None:
    def order() -> list[str]:
        world = World()
        tasks = {world.loop.create_task(asyncio.sleep(0)) for _ in range(50)}
        names = [task.get_name() for task in tasks]
        world.loop.close_quietly()
        return names

    first = order()
    ballast = [World() for _ in range(7)]
    assert order() == first
    assert sorted(first, key=lambda name: int(name[5:])) == [f"Task-{number}" for number in range(1, 51)]
    del ballast


def test_tasks_and_futures_of_one_run_have_different_hashes_and_equal_only_themselves(world: World) -> None:
    tasks = [world.loop.create_task(asyncio.sleep(0)) for _ in range(100)]
    futures = [world.loop.create_future() for _ in range(100)]
    assert len({hash(one) for one in (*tasks, *futures)}) == 200
    assert isinstance(futures[0], WorkflowFuture)
    twin = World()
    assert hash(twin.loop.create_future()) == hash(futures[0])
    assert twin.loop.create_future() != futures[0]


@given(st.integers(), st.integers(0, 2**48 - 1))
def test_any_seed_will_do(seed: int, other: int) -> None:
    world = World(seed)
    task = world.spawn(asyncio.sleep(0, "done"))
    assert task.result() == "done"
    assert hash(task) == (seed & (2**48 - 1)) + 1


def test_asyncios_own_futures_do_not_move_a_tasks_place_in_a_set(world: World) -> None:
    before = hash(world.loop.create_task(asyncio.sleep(0)))
    world.loop.create_future()
    assert hash(world.loop.create_task(asyncio.sleep(0))) == before + 1


def test_a_task_keeps_the_name_that_it_is_given(world: World) -> None:
    assert world.loop.create_task(asyncio.sleep(0), name=17).get_name() == "17"
    assert world.loop.create_task(asyncio.sleep(0), name=None).get_name() == "Task-2"


def test_a_task_runs_in_the_context_that_it_is_given(world: World) -> None:
    var: ContextVar[str] = ContextVar("var")
    context = copy_context()
    context.run(var.set, "given")

    async def read() -> str:
        return var.get("unset")

    given_task = world.loop.create_task(read(), context=context, eager_start=None)
    plain_task = world.loop.create_task(read(), eager_start=False)
    world.step()
    assert (given_task.result(), plain_task.result()) == ("given", "unset")


def test_an_eager_task_starts_at_once_where_python_can(world: World) -> None:
    async def main() -> list[str]:
        trace: list[str] = []

        async def child() -> None:
            trace.append("child")

        coroutine = child()
        try:
            task = world.loop.create_task(coroutine, eager_start=True)
        except NotImplementedError:
            coroutine.close()
            raise
        trace.append("main")
        await task
        return trace

    if sys.version_info >= (3, 12):
        assert world.run(main()) == ["child", "main"]
    else:
        with pytest.raises(NotImplementedError, match=r"needs Python 3\.12"):
            world.run(main())


def test_a_task_can_be_refused(world: World) -> None:
    def refuse() -> None:
        raise PermissionError("read-only")

    loop = WorkflowLoop(world, seed=1, before_task=refuse)
    coroutine = asyncio.sleep(0)
    with pytest.raises(PermissionError):
        loop.create_task(coroutine)
    coroutine.close()


def test_a_task_that_nobody_holds_is_not_collected(world: World) -> None:
    trace: list[str] = []

    async def forgotten() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        async def wait() -> None:
            try:
                await forgotten()  # a future that only this coroutine knows
            finally:
                trace.append("ended")

        asyncio.create_task(wait())  # noqa: RUF006

    world.run(main())
    gc.collect()
    assert trace == []
    world.loop.close_quietly()
    assert trace == ["ended"]


def test_finished_tasks_are_let_go(world: World) -> None:
    async def main() -> None:
        for _ in range(1000):
            await asyncio.create_task(asyncio.sleep(0))

    world.run(main())
    gc.collect()
    # By its type, since isinstance asks every object in the process, some of them of other tests, for its `__class__`.
    held = [one for one in gc.get_objects() if issubclass(type(one), WorkflowTask) and one.get_loop() is world.loop]
    assert len(held) < 20


PROGRAM = """
import asyncio, sys
import anyio
sys.path.insert(0, sys.argv[1])
sys.path.insert(0, sys.argv[2])
from test_loop import World

trace = []
# Memory that looks different in each process: whatever is hashed by its address shows.
ballast = [bytes(hash(f"size {number}") % 500) for number in range(20_000)]
ballast = [kept for number, kept in enumerate(ballast) if hash(f"keep {number}") % 3]

async def work(name):
    try:
        ballast.append([name] * (hash(name) % 50))
        with anyio.CancelScope():
            with anyio.move_on_after(50):
                await anyio.sleep(100)
    finally:
        trace.append(f"{name} cancelled in {asyncio.current_task().get_name()}")

async def plain(name, delay):
    try:
        await asyncio.sleep(delay)
        trace.append(name)
    finally:
        trace.append(f"{name} ends")

async def fail():
    await asyncio.sleep(3)
    raise ValueError

async def main():
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(plain(f"group {number}", 10))
            group.create_task(fail())
    except* ValueError:
        trace.append("aborted")
    tasks = {asyncio.create_task(plain(f"wait {number}", number % 3)) for number in range(20)}
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    trace.extend(task.get_name() for task in done)
    for task in pending:
        task.cancel()
    # Tasks: given coroutines, asyncio makes the tasks in the order of a set of coroutines, which is that of addresses.
    for next_one in asyncio.as_completed([asyncio.create_task(plain(f"as {number}", 1)) for number in range(20)]):
        await next_one
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(work, f"anyio {number}")
        await anyio.sleep(1)
        group.cancel_scope.cancel()
    trace.append(asyncio.get_running_loop().time())

World().run(main())
print(trace)
"""


def test_the_same_program_gives_the_same_trace_in_every_process() -> None:
    here = Path(__file__).resolve()
    traces = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(here.parents[2]), str(here.parent)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2", "3", "4")
    }
    assert len(traces) == 1
    assert "aborted" in traces.pop()


def test_anyio_wakes_the_oldest_cancelled_task_first_however_its_scopes_are_hashed(world: World) -> None:
    trace: list[int] = []

    async def work(number: int) -> None:
        try:
            with anyio.CancelScope():
                await anyio.sleep(100)
        finally:
            trace.append(number)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(work, number)
            await anyio.sleep(1)
            group.cancel_scope.cancel()

    world.run(main())
    assert trace == list(range(200))


def test_the_workflows_own_cancellations_keep_their_order(world: World) -> None:
    trace: list[int] = []

    async def work(number: int) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            trace.append(number)

    async def main() -> None:
        tasks = [asyncio.create_task(work(number)) for number in range(5)]
        await asyncio.sleep(1)
        for task in reversed(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    world.run(main())
    assert trace == [4, 3, 2, 1, 0]


# Stepping


def test_a_cancelled_anyio_scope_that_waits_is_dry_and_goes_on(world: World) -> None:
    trace: list[str] = []
    gate = world.loop.create_future()

    class Deaf(asyncio.Future[None]):
        """As a durable call whose cancellation has been asked for, and is not answered yet."""

        def cancel(self, msg: object = None) -> bool:
            trace.append("asked to cancel")
            return True

    deaf = Deaf(loop=world.loop)
    gate.add_done_callback(lambda _: deaf.set_result(None))

    async def main() -> str:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await deaf
            trace.append("answered")
            await anyio.sleep(100)
        return "went on"

    task = world.spawn(main())
    assert not task.done() and "asked to cancel" in trace and "answered" not in trace
    world.step()
    gate.set_result(None)
    world.step()
    assert task.result() == "went on" and trace[-1] == "answered"
    assert world.timers == [] and world.cancelled == 1


def test_a_shielded_task_in_a_cancelled_scope_is_dry_until_its_timer(world: World) -> None:
    async def main() -> float:
        with anyio.CancelScope() as scope:
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(30)
            await anyio.sleep(1000)
        return world.seconds

    assert world.run(main()) == 30


def test_a_callback_that_repeats_itself_for_a_while_is_not_mistaken_for_anyios(world: World) -> None:
    class Count:
        count = 0

        def again(self, me: Count) -> None:
            self.count += 1
            if self.count < 100:
                world.loop.call_soon(self.again, me)

    counter = Count()
    world.loop.call_soon(counter.again, counter)
    world.step()
    assert counter.count == 100


def test_conditions_are_checked_when_dry_until_they_start_nothing_more(world: World) -> None:
    trace: list[str] = []

    def check() -> None:
        trace.append("check")
        if len(trace) < 4:
            world.loop.call_soon(trace.append, "ran")

    world.loop.run_until_dry(check)
    assert trace == [], "nothing was ready, so nothing can have changed"
    world.loop.call_soon(trace.append, "ran")
    world.loop.run_until_dry(check)
    assert trace == ["ran", "check", "ran", "check"]


def test_conditions_are_checked_once_beside_a_waiting_anyio_scope(world: World) -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(30)

    world.loop.create_task(main())
    checks: list[None] = []
    world.loop.run_until_dry(lambda: checks.append(None))
    assert len(checks) == 1


def test_the_loop_is_the_running_one_only_while_stepped(world: World) -> None:
    seen: list[object] = []
    world.loop.call_soon(lambda: seen.append((asyncio.get_running_loop(), world.loop.is_running())))
    world.step()
    assert seen == [(world.loop, True)]
    assert not world.loop.is_running()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_a_run_is_stepped_from_a_callback_of_another_loop() -> None:
    async def engine() -> tuple[object, bool]:
        loop = asyncio.get_running_loop()
        hooks = sys.get_asyncgen_hooks()
        done: asyncio.Future[object] = loop.create_future()

        def step() -> None:
            result = World().run(anyio_cancel_nested())
            same = asyncio.get_running_loop() is loop and sys.get_asyncgen_hooks() == hooks
            done.set_result((result, same))

        loop.call_soon(step)
        return await done  # type: ignore[return-value]

    assert asyncio.run(engine()) == (["a", "b", "c"], True)


def test_a_run_is_stepped_from_any_thread() -> None:
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(World().run(asyncio_queue())))
    thread.start()
    thread.join()
    assert results == [[0, 1, 2, 3, 4]]


def test_a_loop_cannot_be_stepped_from_within_its_own_step(world: World) -> None:
    world.loop.call_soon(world.loop.run_until_dry)
    with pytest.raises(RuntimeError, match="already being stepped"):
        world.step()


def test_code_that_is_no_callback_runs_inside_the_loop(world: World) -> None:
    with world.loop.entered():
        assert asyncio.get_running_loop() is world.loop
        event = asyncio.Event()
        event.set()
    assert event.is_set() and not world.loop.is_running()


# Timers


def test_a_sleep_is_a_timer_to_the_microsecond_and_call_at_rounds_to_milliseconds(world: World) -> None:
    world.loop.call_later(0.000_123, int)
    world.loop.call_later(0, int)
    world.loop.call_at(world.loop.time() + 1.234_567, int)
    assert world.started == [123, 0, 1_235_000]


def test_a_timer_needs_a_delay_that_is_a_time(world: World) -> None:
    with pytest.raises(RuntimeError, match="negative delay"):
        world.loop.call_later(-1, int)
    with pytest.raises(RuntimeError, match="negative delay"):
        world.loop.call_at(world.loop.time() - 1, int)
    with pytest.raises(ValueError, match="NaN"):
        world.loop.call_later(math.nan, int)
    assert world.started == []


def test_an_endless_sleep_is_no_timer(world: World) -> None:
    task = world.spawn(anyio.sleep_forever())
    assert not task.done() and world.started == []
    task.cancel()
    world.step()
    assert task.cancelled() and world.cancelled == 0


def test_a_cancelled_timer_is_forgotten_once(world: World) -> None:
    handle = world.loop.call_later(5, int)
    handle.cancel()
    handle.cancel()
    assert world.cancelled == 1 and world.timers == []


def test_a_timer_that_fired_is_not_cancelled_any_more(world: World) -> None:
    trace: list[str] = []
    handle = world.loop.call_later(5, trace.append, "fired")
    world.elapse()
    handle.cancel()
    world.step()
    assert trace == [] and world.cancelled == 0
    world.loop.fire(handle)
    world.step()
    assert trace == []


def test_timers_are_told_apart_though_they_look_alike(world: World) -> None:
    first, second = (world.loop.call_at(START_US / 1e6 + 5, int) for _ in range(2))
    assert {first: 1, second: 2} == {second: 2, first: 1} and first != second
    assert isinstance(first, asyncio.TimerHandle) and first.timer_id == ""


@given(st.floats(0.0001, 1e7), st.integers(0, 10**16))
def test_whoever_waits_for_a_time_finds_it_reached(delay: float, now_us: int) -> None:
    world = World()
    world.now_us += now_us
    world.loop.set_time_us(world.now_us)

    async def main() -> bool:
        deadline = anyio.current_time() + delay
        with anyio.CancelScope(deadline=deadline):
            await anyio.sleep_forever()
        return anyio.current_time() >= deadline

    assert world.run(main())
    assert len(world.started) == 1


def test_time_does_not_go_back(world: World) -> None:
    world.loop.set_time_us(START_US + 5)
    world.loop.set_time_us(START_US)
    assert world.loop.time() == (START_US + 5) / 1e6


# Exceptions


def test_an_exception_in_a_callback_halts_the_loop_and_is_kept(world: World) -> None:
    trace: list[str] = []
    world.loop.call_soon(lambda: 1 / 0)
    world.loop.call_soon(trace.append, "after")
    world.loop.run_until_dry()
    assert [type(error) for error in world.loop.failures] == [ZeroDivisionError]
    world.loop.run_until_dry()
    assert trace == []


def test_an_exception_handler_takes_the_place_of_halting(world: World) -> None:
    seen: list[tuple[object, object]] = []
    trace: list[str] = []
    world.loop.set_exception_handler(lambda loop, context: seen.append((loop, type(context["exception"]))))
    assert world.loop.get_exception_handler() is not None
    world.loop.call_soon(lambda: 1 / 0)
    world.loop.call_soon(trace.append, "after")
    world.step()
    assert seen == [(world.loop, ZeroDivisionError)] and trace == ["after"]
    world.loop.set_exception_handler(None)
    assert world.loop.get_exception_handler() is None


def test_an_exception_handler_that_fails_halts_the_loop(world: World) -> None:
    def handle(_loop: object, _context: object) -> None:
        raise LookupError

    world.loop.set_exception_handler(handle)
    world.loop.call_soon(lambda: 1 / 0)
    world.loop.run_until_dry()
    assert [type(error) for error in world.loop.failures] == [LookupError]


@pytest.mark.parametrize("exception", [SystemExit, KeyboardInterrupt])
def test_an_exit_leaves_the_step_and_the_thread_as_they_were(world: World, exception: type[BaseException]) -> None:
    async def leave() -> None:
        raise exception

    task = world.loop.create_task(leave())
    with pytest.raises(exception):
        world.loop.run_until_dry()
    assert not world.loop.is_running() and isinstance(task.exception(), exception)
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_an_exception_that_nobody_retrieves_is_reported_and_fails_nothing(world: World) -> None:
    called: list[object] = []
    world.loop.set_exception_handler(lambda _loop, context: called.append(context))

    async def fail() -> None:
        raise ValueError("lost")

    world.spawn(fail())
    for _ in range(20):  # until the loop lets the finished task go
        world.spawn(asyncio.sleep(0))
    gc.collect()
    assert [str(report["exception"]) for report in world.reports] == ["lost"]
    assert called == [] and world.loop.failures == []


# Eviction


def test_eviction_runs_finally_blocks_in_order_of_creation_and_ignores_what_they_do(world: World) -> None:
    trace: list[object] = []

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            trace.append((name, type(error), asyncio.current_task().get_name()))  # type: ignore[union-attr]
            raise
        finally:
            asyncio.get_running_loop().call_soon(trace.append, "a callback")
            asyncio.create_task(work("a task"))  # noqa: RUF006
            asyncio.get_running_loop().call_later(5, trace.append, "a timer")
            await asyncio.sleep(5)
            trace.append("after a sleep")

    for name in "ab":
        world.loop.create_task(work(name))
    world.step()
    with no_noise():
        world.loop.close_quietly()
    world.loop.run_until_dry()
    assert trace == [("a", WorkflowBeingEvicted, "Task-1"), ("b", WorkflowBeingEvicted, "Task-2")]
    assert world.started == [] and world.reports == [] and world.loop.is_closed()


def test_what_is_scheduled_after_an_eviction_is_not_kept(world: World) -> None:
    world.loop.close_quietly()
    event = asyncio.Event()
    freed = weakref.ref(event)
    world.loop.call_soon(event.set)
    del event
    assert freed() is None


def test_eviction_cancels_no_timer(world: World) -> None:
    world.spawn(asyncio_gather())
    world.loop.close_quietly()
    assert len(world.started) == 3 and world.cancelled == 0


def test_eviction_ends_a_task_that_never_started(world: World) -> None:
    trace: list[str] = []

    async def work() -> None:
        trace.append("started")

    world.loop.create_task(work())
    with no_noise():
        world.loop.close_quietly()
        world.loop.close_quietly()
    assert trace == []


def test_a_coroutine_that_swallows_its_eviction_is_reported_and_given_up(world: World) -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(1)
            except BaseException:
                pass

    with no_noise():
        world.spawn(stubborn())
        world.loop.close_quietly()
    assert len(world.reports) == 1 and "stubborn swallows BaseException" in world.reports[0]["message"]


def test_exceptions_that_nobody_retrieved_are_not_reported_by_an_eviction(world: World) -> None:
    async def fail() -> None:
        raise ValueError

    world.spawn(fail())
    with no_noise():
        world.loop.close_quietly()
    assert world.reports == []


def test_a_finally_block_finds_its_context_while_evicted(world: World) -> None:
    var: ContextVar[str] = ContextVar("var")
    seen: list[str] = []

    async def work() -> None:
        var.set("mine")
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(var.get("lost"))

    world.spawn(work())
    world.loop.close_quietly()
    assert seen == ["mine"]


def test_a_step_that_is_given_up_by_another_thread_ends_quietly() -> None:
    world = World()
    stuck, release, trace = threading.Event(), threading.Event(), list[str]()

    async def block() -> None:
        stuck.set()
        assert release.wait(30)
        try:
            await asyncio.sleep(1)
        finally:
            trace.append("evicted")

    world.loop.create_task(block())
    world.loop.call_soon(trace.append, "another callback")
    thread = threading.Thread(target=world.loop.run_until_dry)
    thread.start()
    assert stuck.wait(30)
    world.loop.close_quietly()
    assert trace == []
    release.set()
    thread.join()
    assert trace == ["evicted"] and world.started == [] and not world.loop.is_running()


# Async generators


async def numbers(trace: list[str]) -> AsyncIterator[int]:
    try:
        for number in range(10):
            yield number
    finally:
        await asyncio.sleep(1)
        trace.append("closed")


def test_an_async_generator_left_unfinished_is_closed_by_its_own_run(world: World) -> None:
    trace: list[str] = []

    async def main() -> None:
        async for _ in numbers(trace):
            break
        await asyncio.sleep(5)

    world.run(main())
    assert trace == ["closed"] and world.started == [5_000_000, 1_000_000]


def test_an_async_generator_found_by_the_garbage_collector_runs_no_code(world: World) -> None:
    trace: list[str] = []

    async def main() -> None:
        generator = numbers(trace)
        await anext(generator)
        cycle: list[object] = [generator]
        cycle.append(cycle)
        del generator, cycle
        gc.collect()
        await asyncio.sleep(5)

    with no_noise():
        world.run(main())
    assert trace == [] and world.started == [5_000_000]


def test_an_async_generator_of_a_run_never_reaches_the_engines_loop() -> None:
    trace: list[str] = []
    kept: list[object] = []

    async def main() -> None:
        generator = numbers(trace)
        await anext(generator)
        kept.append(generator)

    async def engine() -> None:
        done = asyncio.Event()

        def step() -> None:
            World().run(main())
            done.set()

        asyncio.get_running_loop().call_soon(step)
        await done.wait()
        kept.clear()
        for _ in range(5):
            await asyncio.sleep(0)

    with no_noise():
        asyncio.run(engine())
    assert trace == []


def test_an_async_generator_is_closed_by_an_eviction(world: World) -> None:
    trace: list[str] = []

    async def read() -> None:
        async def forever() -> AsyncIterator[int]:
            try:
                yield 1
                await asyncio.Event().wait()
            finally:
                trace.append("closed")

        async for _ in forever():
            await asyncio.Event().wait()

    world.spawn(read())
    with no_noise():
        world.loop.close_quietly()
    assert trace == ["closed"]


# What a replay could not repeat


@pytest.mark.parametrize(
    "ask",
    [
        lambda: asyncio.to_thread(int),
        lambda: asyncio.open_connection("localhost", 1),
        lambda: asyncio.create_subprocess_exec("true"),
        lambda: asyncio.get_running_loop().getaddrinfo("localhost", 1),
    ],
    ids=["thread", "connection", "process", "address"],
)
def test_threads_processes_and_sockets_are_refused_with_the_way_out(
    world: World, ask: Callable[[], Awaitable[object]]
) -> None:
    async def main() -> None:
        with pytest.raises(NotImplementedError, match="a replay could not repeat it; do it in an activity"):
            await ask()

    world.run(main())


def test_everything_else_that_asyncio_defines_says_why_it_is_refused(world: World) -> None:
    for name in dir(asyncio.AbstractEventLoop):
        ours, theirs = getattr(WorkflowLoop, name), getattr(asyncio.AbstractEventLoop, name)
        if not callable(ours) or name.startswith("_") or ours is not theirs:
            continue
        raise AssertionError(f"{name} is left to asyncio, whose NotImplementedError says nothing")
    with pytest.raises(NotImplementedError, match="return from the workflow"):
        world.loop.stop()
    with pytest.raises(NotImplementedError, match="workflow signal"):
        world.loop.add_signal_handler(2, int)


def test_asyncio_asks_a_loop_for_these(world: World) -> None:
    assert world.loop.get_debug() is False
    world.loop.set_debug(True)
    assert world.loop.get_debug() is False
    assert world.run(world.loop.shutdown_asyncgens()) is None
    assert world.run(world.loop.shutdown_default_executor()) is None
