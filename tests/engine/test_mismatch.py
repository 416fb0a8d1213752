"""Code that does not fit: it parks its own run, says why, harms no other, and mended code goes on."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.client.handle import WorkflowHandle
from durable.history.events import WorkflowTaskFailed
from durable.history.values import RunStatus, TaskFailedCause
from tests.engine.conftest import MakeWorker
from tests.engine.histories import assert_replays, assert_sound, of_type, until


@activity.defn
async def reserve() -> str:
    return "reserved"


@activity.defn
async def inspect() -> str:
    return "inspected"


@activity.defn
async def ship() -> str:
    return "shipped"


def order(steps: tuple[str, ...]) -> Any:
    """A workflow ``order`` that does these, then waits for the signal ``go``, then ships."""

    @workflow.defn(name="order")
    class Order:
        def __init__(self) -> None:
            self.gone = False

        @workflow.run
        async def run(self) -> list[str]:
            done: list[str] = []
            for step in steps:
                if step == "reserve":
                    done.append(await reserve())
                elif step == "inspect":
                    done.append(await inspect())
                elif step == "rest":
                    await workflow.sleep(0.01)
                else:
                    raise KeyError(step)
            await workflow.wait_condition(lambda: self.gone)
            return [*done, await ship()]

        @workflow.signal
        def go(self) -> None:
            self.gone = True

        @workflow.query
        def ready(self) -> bool:
            return not self.gone

    return Order


ACTIVITIES = (reserve, inspect, ship)


async def parked(handle: WorkflowHandle[Any, Any]) -> str:
    async def reason() -> str | None:
        return (await handle.describe()).parked

    return str(await until(reason))


async def task_failure(handle: WorkflowHandle[Any, Any]) -> WorkflowTaskFailed:
    (failed,) = of_type(await handle.fetch_history(), WorkflowTaskFailed)
    return failed


def line_of(text: str) -> int:
    """The number of this file's first line that has the text in it."""
    with open(__file__, encoding="utf-8") as source:
        return next(number for number, line in enumerate(source, 1) if text in line)


@pytest.mark.parametrize(
    ("edited", "expectations"),
    [
        (
            ("inspect", "rest"),
            (
                "event 5 recorded ActivityTaskScheduled of 'reserve' (activity id 1)",
                "the code now schedules activity 'inspect'",
                f"test_mismatch.py:{line_of('done.append(await inspect())')}",
            ),
        ),
        (
            ("reserve",),
            (
                "event 11 recorded TimerStarted (timer id 1, 0.01 s)",
                "the code now asks for nothing there and waits",
                f"test_mismatch.py:{line_of('wait_condition(lambda: self.gone)')}",
            ),
        ),
        (
            ("reserve", "rest", "inspect"),
            (
                "nothing more of this task",
                "the code now schedules activity 'inspect'",
                f"test_mismatch.py:{line_of('done.append(await inspect())')}",
            ),
        ),
        (("bug",), ("event 4 completed a workflow task", "the code now raises KeyError: 'bug'")),
    ],
    ids=["changed", "removed", "added", "raises"],
)
async def test_an_edited_workflow_is_parked_with_a_diff_and_the_fixed_code_lets_it_finish(
    client: Client, make_worker: MakeWorker, edited: tuple[str, ...], expectations: tuple[str, ...]
) -> None:
    fitting = order(("reserve", "rest"))
    async with make_worker(fitting, *ACTIVITIES):
        handle = await client.start_workflow("order", id="old")

        async def rested() -> bool:
            return (await handle.describe()).history_length >= 15

        await until(rested)
    async with make_worker(order(edited), other, *ACTIVITIES):
        await handle.signal("go")
        reason = await parked(handle)
        for expectation in expectations:
            assert expectation in reason
        failed = await task_failure(handle)
        assert failed.cause is TaskFailedCause.NON_DETERMINISTIC_ERROR and failed.failure.message == reason
        assert await client.execute_workflow(other, id="other") == "shipped"
        with pytest.raises(Exception, match="the code no longer fits the history"):
            await handle.query("ready")
        assert (await handle.describe()).status is RunStatus.RUNNING
    async with make_worker(fitting, *ACTIVITIES):
        assert await handle.result() == ["reserved", "shipped"]
        history = await handle.fetch_history()
    assert len(of_type(history, WorkflowTaskFailed)) == 1
    assert_sound(history.events)
    await assert_replays(fitting, history)


@workflow.defn
async def other() -> str:
    return await ship()


async def test_an_unknown_workflow_type_is_parked_until_a_worker_knows_it(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(other, *ACTIVITIES):
        handle = await client.start_workflow("order", id="unknown")
        reason = await parked(handle)
        assert reason == "LookupError: Workflow order is not registered on this worker, available workflows: other"
        assert (await task_failure(handle)).failure.message == reason
        assert await client.execute_workflow(other, id="other") == "shipped"
    async with make_worker(order(("reserve",)), *ACTIVITIES):
        await handle.signal("go")
        assert await handle.result() == ["reserved", "shipped"]


# Code that does not yield. --------------------------------------------------------------------------------------------


def spinning(*, mended: bool) -> Any:
    @workflow.defn(name="spinning")
    async def run() -> str:
        while not mended:
            pass  # spins here
        return "mended"

    return run


def sleeping(*, mended: bool) -> Any:
    @workflow.defn(name="sleeping", sandboxed=False)
    async def run() -> str:
        await ship()
        if not mended:
            time.sleep(10)  # noqa: ASYNC251 (this is what blocks)
        return "mended"

    return run


@pytest.mark.parametrize(
    ("name", "make", "line"),
    [("spinning", spinning, "while not mended:"), ("sleeping", sleeping, "time.sleep(10)  # noqa")],
    ids=["spins", "sleeps"],
)
async def test_code_that_does_not_yield_is_stopped_named_and_harms_no_other_run(
    client: Client, make_worker: MakeWorker, caplog: pytest.LogCaptureFixture, name: str, make: Any, line: str
) -> None:
    async with make_worker(make(mended=False), other, *ACTIVITIES):
        stuck = asyncio.ensure_future(client.start_workflow(name, id="stuck"))
        others = [client.execute_workflow(other, id=f"other-{number}") for number in range(5)]
        assert await asyncio.gather(*others) == ["shipped"] * 5
        handle = await stuck
        reason = await parked(handle)
        failure = (await task_failure(handle)).failure
    text = "[TMPRL1101] Potential deadlock detected: workflow didn't yield within 2 second(s)."
    assert text in reason
    told = f"{failure.message}\n{failure.stack_trace}\n{caplog.text}"
    lines = {f"line {line_of(line)}", f"line {line_of(line) + 1}"}
    assert any(each in told for each in lines)
    assert any(each in f"{failure.message}\n{failure.stack_trace}" for each in lines)
    async with make_worker(make(mended=True), *ACTIVITIES):
        assert await handle.result() == "mended"
