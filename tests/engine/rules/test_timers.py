"""The event loop of workflow code: rules 0.7, 0.8, 13.3, 13.8, 13.11. `tests/worker/test_loop.py` has it in detail."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, workflow
from durable.history.events import TimerStarted, WorkflowTaskStarted
from durable.worker import worker
from tests.engine.conftest import Execute, MakeWorker
from tests.engine.histories import of_type
from tests.engine.rules.runs import parked


@workflow.defn
async def timed() -> list[float]:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    fired: list[float] = []
    woken = loop.create_future()
    loop.call_at(begun + 0.0014, fired.append, 1.4)  # rounded to whole milliseconds
    loop.call_at(begun + 0.0016, fired.append, 1.6)
    loop.call_later(0, fired.append, 0)  # no delay, and still a timer
    loop.call_later(0.005, woken.set_result, None)
    await workflow.sleep(0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.002):
            await loop.create_future()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout_at(loop.time() + 0.002):
            await loop.create_future()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(loop.create_future(), 0.003)
    with pytest.raises(TimeoutError):
        await workflow.wait_condition(lambda: False, timeout=timedelta(milliseconds=4))
    await woken
    return sorted(fired)


async def test_everything_that_waits_for_time_is_a_durable_timer(execute: Execute, client: Client) -> None:
    assert await execute(timed) == [0, 1.4, 1.6]
    history = await client.get_workflow_handle("the-run").fetch_history()
    delays = [event.start_to_fire_timeout_us for event in of_type(history, TimerStarted)]
    assert delays[:5] == [1000, 2000, 0, 5000, 0]
    assert [round(delay / 1000) for delay in delays[5:]] == [2, 2, 3, 4]


@workflow.defn
async def refused() -> list[str]:
    loop = asyncio.get_running_loop()
    assert loop.is_running() and not loop.get_debug() and not loop.is_closed()
    told: list[str] = []

    async def attempt(what: Any) -> None:
        try:
            await what()
        except (RuntimeError, ValueError, NotImplementedError) as error:
            told.append(type(error).__name__)

    async def negative() -> None:
        loop.call_later(-1, print)

    async def negative_sleep() -> None:
        await workflow.sleep(-1)

    await attempt(negative)
    await attempt(negative_sleep)
    await attempt(lambda: loop.run_in_executor(None, print))
    await attempt(lambda: asyncio.to_thread(print))
    await attempt(lambda: asyncio.open_connection("localhost", 1))
    await attempt(lambda: asyncio.create_subprocess_exec("true"))
    await attempt(lambda: loop.getaddrinfo("localhost", 1))
    return told


async def test_a_negative_delay_and_what_needs_threads_or_sockets_is_refused(execute: Execute) -> None:
    assert await execute(refused) == [*["RuntimeError"] * 2, *["NotImplementedError"] * 5]


@workflow.defn
async def clocked() -> list[int]:
    """Its own view of its tasks: times, and lengths of the history."""
    seen = [workflow.time_ns(), workflow.info().get_current_history_length()]
    await workflow.sleep(0.002)
    seen += [workflow.time_ns(), workflow.info().get_current_history_length()]
    begun = workflow.info().workflow_start_time
    assert workflow.info().start_time >= begun and begun.tzinfo is not None
    return [*seen, begun.microsecond]


async def test_time_and_length_of_the_history_are_those_of_the_task_started_event(
    execute: Execute, client: Client
) -> None:
    first_ns, first_length, second_ns, second_length, microsecond = await execute(clocked)
    history = await client.get_workflow_handle("the-run").fetch_history()
    first, second = of_type(history, WorkflowTaskStarted)
    assert (first_ns, second_ns) == (first.time_us * 1000, second.time_us * 1000)
    assert (first_length, second_length) == (3, second.id) == (first.id, second.id)
    assert history.events[0].time_us % 1_000_000 == microsecond


# 0.8, 13.8: code that does not yield. ---------------------------------------------------------------------------------


@workflow.defn(sandboxed=False)
async def slow(seconds: float) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return "done"


async def test_code_that_takes_longer_than_the_deadlock_timeout_fails_its_task_and_goes_on_in_debug_mode(
    client: Client, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "DEADLOCK_TIMEOUT", 0.1)
    async with make_worker(slow):
        handle = await client.start_workflow(slow, 0.3, id="s")
        assert await parked(handle) == (
            "[TMPRL1101] Potential deadlock detected: workflow didn't yield within 2 second(s)."
        )
    async with make_worker(slow, debug_mode=True):
        assert await handle.result() == "done"


async def test_the_environment_switches_the_deadlock_detector_off(
    client: Client, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "DEADLOCK_TIMEOUT", 0.1)
    monkeypatch.setenv("TEMPORAL_DEBUG", "1")
    async with make_worker(slow):
        assert await client.execute_workflow(slow, 0.3, id="s") == "done"
