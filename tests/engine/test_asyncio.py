"""asyncio and anyio as durable code: what they do anywhere they do in a workflow, in memory and in each replay."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import anyio
import pytest

from durable import Client, activity, workflow
from durable.history.events import ActivityTaskCancelRequested, ActivityTaskScheduled, TimerCanceled, TimerStarted
from tests.engine.conftest import Execute, MakeWorker
from tests.engine.histories import of_type

TICK = 0.01
LONG = 3600.0


@activity.defn
async def double(number: int) -> int:
    return number * 2


@activity.defn
async def hang() -> None:
    await asyncio.sleep(LONG)


@workflow.defn
async def sleeping() -> list[float]:
    begun = workflow.time()
    await asyncio.sleep(TICK)
    middle = workflow.time()
    await workflow.sleep(timedelta(seconds=TICK))
    return [middle - begun, workflow.time() - middle]


async def test_sleep_is_a_durable_timer(execute: Execute) -> None:
    assert min(await execute(sleeping)) >= TICK


@workflow.defn
async def napping() -> None:
    await asyncio.sleep(0)
    await workflow.sleep(0)
    loop = asyncio.get_running_loop()
    called: asyncio.Future[None] = loop.create_future()
    loop.call_later(TICK, called.set_result, None)
    await called


async def test_call_later_is_a_timer_and_asyncio_sleep_zero_is_a_mere_yield(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(napping):
        handle = await client.start_workflow(napping, id="n")
        await handle.result()
        timers = of_type(await handle.fetch_history(), TimerStarted)
    assert [timer.start_to_fire_timeout_us for timer in timers] == [0, round(TICK * 1e6)], "workflow.sleep is a timer"


@workflow.defn
async def gathering() -> list[int]:
    return await asyncio.gather(*[double(number) for number in range(10)])


async def test_gather_runs_activities_side_by_side_and_keeps_their_order(execute: Execute) -> None:
    assert await execute(gathering, using=(double,)) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]


@workflow.defn
async def impatient() -> list[str]:
    outcomes: list[str] = []
    try:
        await asyncio.wait_for(asyncio.Event().wait(), TICK)
    except TimeoutError:
        outcomes.append("wait_for")
    try:
        async with asyncio.timeout(TICK):
            await hang()
    except TimeoutError:
        outcomes.append("timeout")
    outcomes.append(str(await asyncio.wait_for(double(2), LONG)))
    return outcomes


async def test_wait_for_and_timeout_end_what_takes_too_long(execute: Execute) -> None:
    assert await execute(impatient, using=(double, hang)) == ["wait_for", "timeout", "4"]


async def test_a_timeout_cancels_its_activity_and_a_wait_that_ends_cancels_its_timer(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(impatient, double, hang):
        handle = await client.start_workflow(impatient, id="i")
        await handle.result()
        history = await handle.fetch_history()
    (hanging,) = [event for event in of_type(history, ActivityTaskScheduled) if event.activity_type == "hang"]
    (asked,) = of_type(history, ActivityTaskCancelRequested)
    assert asked.scheduled_event_id == hanging.id
    (unused,) = of_type(history, TimerCanceled)
    assert unused.started_event_id == of_type(history, TimerStarted)[-1].id


@workflow.defn
async def grouping() -> list[int]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(double(number)) for number in (1, 2)]
    cleaned: list[int] = []

    async def waiting() -> None:
        try:
            await asyncio.sleep(LONG)
        finally:
            cleaned.append(await double(50))

    async def failing() -> None:
        await double(0)
        raise LookupError("now")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(waiting())
            group.create_task(failing())
    except* LookupError:
        cleaned.append(-1)
    return [task.result() for task in tasks] + cleaned


async def test_a_task_group_waits_for_its_tasks_and_cancels_them_when_one_fails(execute: Execute) -> None:
    assert await execute(grouping, using=(double,)) == [2, 4, 100, -1]


@workflow.defn
async def producing() -> list[int]:
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)
    taken: list[int] = []

    async def produce() -> None:
        for number in range(5):
            await queue.put(await double(number))

    async def consume() -> None:
        while len(taken) < 5:
            taken.append(await queue.get())
            queue.task_done()

    await asyncio.gather(produce(), consume())
    await queue.join()
    return taken


async def test_a_queue_hands_over_in_order(execute: Execute) -> None:
    assert await execute(producing, using=(double,)) == [0, 2, 4, 6, 8]


@workflow.defn
async def taking_turns() -> list[str]:
    lock, gate, room = asyncio.Lock(), asyncio.Event(), asyncio.Semaphore(2)
    trace: list[str] = []
    inside = 0

    async def locked(name: str) -> None:
        await gate.wait()
        async with lock:
            trace.append(f"{name} in")
            await asyncio.sleep(TICK)
            trace.append(f"{name} out")

    async def limited() -> None:
        nonlocal inside
        async with room:
            inside += 1
            assert inside <= 2
            await double(1)
            inside -= 1

    async def open_gate() -> None:
        await asyncio.sleep(TICK)
        trace.append("open")
        gate.set()

    await asyncio.gather(locked("a"), locked("b"), open_gate(), *[limited() for _ in range(5)])
    return trace


async def test_lock_event_and_semaphore_hold_back_whom_they_should(execute: Execute) -> None:
    assert await execute(taking_turns, using=(double,)) == ["open", "a in", "a out", "b in", "b out"]


@workflow.defn
async def shielding() -> str:
    inner = asyncio.ensure_future(double(21))
    outer = asyncio.ensure_future(asyncio.shield(inner))
    await asyncio.sleep(0)
    outer.cancel()
    try:
        await outer
    except asyncio.CancelledError:
        return f"cancelled, {await inner}"
    return "not cancelled"


async def test_what_is_shielded_goes_on(execute: Execute) -> None:
    assert await execute(shielding, using=(double,)) == "cancelled, 42"


@workflow.defn
async def conditions() -> list[str]:
    state, trace = {"n": 0}, list[str]()

    async def count() -> None:
        for _ in range(3):
            await double(1)
            state["n"] += 1

    counting = asyncio.ensure_future(count())
    await workflow.wait_condition(lambda: state["n"] >= 2)
    trace.append(f"at {state['n']}")
    try:
        await workflow.wait_condition(lambda: False, timeout=TICK)
    except TimeoutError:
        trace.append("timeout")
    await workflow.wait_condition(lambda: True, timeout=timedelta(seconds=LONG))
    await counting
    return trace


async def test_wait_condition_waits_until_it_holds_or_times_out(execute: Execute) -> None:
    assert await execute(conditions, using=(double,)) == ["at 2", "timeout"]


@workflow.defn
async def racing() -> list[object]:
    slow = asyncio.ensure_future(asyncio.sleep(LONG, "slow"))
    quick = [asyncio.ensure_future(double(number)) for number in (1, 2, 3)]
    done, pending = await workflow.wait([slow, *quick], return_when=asyncio.FIRST_COMPLETED)
    assert slow in pending and done
    await workflow.wait(quick)
    done, pending = await workflow.wait([slow], timeout=TICK)
    assert done == [] and pending == [slow]
    slow.cancel()
    completed = [await each for each in workflow.as_completed([double(4), asyncio.sleep(TICK * 5, "nap")])]
    timed_out = False
    for each in workflow.as_completed([asyncio.sleep(LONG)], timeout=TICK):
        try:
            await each
        except TimeoutError:
            timed_out = True
    return [[each.result() for each in quick], completed, timed_out]


async def test_wait_and_as_completed_have_a_form_that_replays(execute: Execute) -> None:
    (first, completed, timed_out) = await execute(racing, using=(double,))
    assert first == [2, 4, 6]
    assert sorted(map(str, completed)) == ["8", "nap"]
    assert timed_out


# anyio. ---------------------------------------------------------------------------------------------------------------


@workflow.defn
async def anyio_groups() -> list[str]:
    trace: list[str] = []

    async def step(number: int) -> None:
        trace.append(f"{await double(number)}")

    async with anyio.create_task_group() as group:
        for number in (1, 2, 3):
            group.start_soon(step, number)
    trace.sort()
    with anyio.move_on_after(TICK) as scope:
        await hang()
    trace.append(f"moved on: {scope.cancelled_caught}")
    try:
        with anyio.fail_after(TICK):
            await anyio.sleep(LONG)
    except TimeoutError:
        trace.append("failed")
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, LONG)
        await anyio.sleep(TICK)
        group.cancel_scope.cancel()
    return trace


async def test_anyio_groups_scopes_and_sleep_are_durable(execute: Execute) -> None:
    assert await execute(anyio_groups, using=(double, hang)) == ["2", "4", "6", "moved on: True", "failed"]


@workflow.defn
async def anyio_streams() -> list[int]:
    sending, receiving = anyio.create_memory_object_stream[int](1)
    limiter, taken = anyio.Semaphore(1), list[int]()

    async def send() -> None:
        async with sending:
            for number in range(4):
                async with limiter:
                    await sending.send(await double(number))

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        async with receiving:
            async for number in receiving:
                taken.append(number)
    with anyio.CancelScope(shield=True):
        taken.append(await double(100))
    return taken


async def test_anyio_streams_are_durable(execute: Execute) -> None:
    assert await execute(anyio_streams, using=(double,)) == [0, 2, 4, 6, 200]


@workflow.defn
async def forbidden() -> list[str]:
    refused: list[str] = []
    loop = asyncio.get_running_loop()
    for attempt in (
        lambda: loop.run_in_executor(None, print),
        lambda: loop.create_server(asyncio.Protocol, "127.0.0.1", 0),
    ):
        try:
            await attempt()
        except NotImplementedError:
            refused.append("no")
    try:
        await asyncio.sleep(0)
        loop.call_later(-1, print)
    except RuntimeError:
        refused.append("negative")
    return refused


async def test_what_needs_threads_or_sockets_is_refused(execute: Execute) -> None:
    assert await execute(forbidden) == ["no", "no", "negative"]


@pytest.mark.parametrize("runs", [200])
async def test_many_runs_side_by_side_do_not_mix(
    client: Client, make_worker: MakeWorker, max_cached: int, runs: int
) -> None:
    async with make_worker(gathering, producing, double, max_cached_workflows=max_cached):
        results = await asyncio.gather(
            *[client.execute_workflow(producing, id=f"p-{number}") for number in range(runs)],
        )
    assert results == [[0, 2, 4, 6, 8]] * runs
