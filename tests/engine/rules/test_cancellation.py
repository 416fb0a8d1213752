"""Cancellation in all its places: rule 13.4. What escapes after it: `test_escaping.py`."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.activity import ActivityCancellationType
from durable.client import WorkflowFailureError
from durable.exceptions import ActivityError, CancelledError
from durable.history.values import RunStatus
from durable.service import RPCError
from tests.engine.conftest import Execute, MakeWorker
from tests.engine.histories import assert_replays, types, until
from tests.engine.rules.runs import sent


@activity.defn
async def quick(text: str) -> str:
    return text


@activity.defn
async def endless() -> str:
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        return "ended in its own time"
    return "never"


@workflow.defn
class Waits:
    """Waits for what it is told to, and tells what it got."""

    def __init__(self) -> None:
        self.ready = False
        self.got: list[Any] = []

    @workflow.run
    async def run(self, *, swallow: bool = False) -> list[Any]:
        self.got.append(workflow.cancellation_reason())
        try:
            await workflow.wait_condition(lambda: self.ready)
            self.got.append("condition")
            self.got.append(await quick("result"))
        except asyncio.CancelledError:
            self.got.append(["cancelled", workflow.cancellation_reason()])
            if not swallow:
                raise
        self.got.append(await quick("afterwards"))
        return self.got

    @workflow.signal
    def go(self) -> None:
        self.ready = True

    @workflow.query
    def so_far(self) -> list[Any]:
        return self.got


async def test_a_cancel_request_before_the_first_task_reaches_the_code_at_its_first_wait(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    handle = await client.start_workflow(Waits.run, kwargs={"swallow": True}, id="w")
    reason = "not wanted any more"
    await handle.cancel(reason=reason)
    async with make_worker(Waits, quick, max_cached_workflows=max_cached):
        assert await handle.result() == [reason, ["cancelled", reason], "afterwards"]
        assert (await handle.describe()).status is RunStatus.COMPLETED
        await assert_replays(Waits, await handle.fetch_history())


async def test_a_cancel_request_that_comes_with_a_condition_finds_the_code_past_it(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Waits, quick, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Waits.run, kwargs={"swallow": True}, id="w")
        assert await handle.query(Waits.so_far) == [None]
    await handle.cancel()
    await handle.signal(Waits.go)
    await sent(handle, 2)
    async with make_worker(Waits, quick, max_cached_workflows=max_cached):
        assert await handle.result() == [None, "condition", ["cancelled", ""], "afterwards"]
        # The activity that the cancelled code had just called was never scheduled.
        assert types(await handle.fetch_history()).count("ActivityTaskScheduled") == 1
        await assert_replays(Waits, await handle.fetch_history())


@workflow.defn
class Racing:
    """Waits for an activity; a cancel request may come in the very task that brings its result."""

    @workflow.run
    async def run(self) -> list[Any]:
        got: list[Any] = []
        task = asyncio.create_task(workflow.execute_activity(quick, "result", start_to_close_timeout=HOUR))
        try:
            got.append(await asyncio.shield(task))
            got.append(await asyncio.shield(workflow.wait_condition(lambda: False)))
        except asyncio.CancelledError:
            got.append("cancelled")
            got.append(await task)
        return got


HOUR = timedelta(hours=1)


async def test_a_result_that_comes_together_with_a_cancel_request_is_not_lost(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Racing, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Racing.run, id="r")

        async def scheduled() -> bool:
            return "ActivityTaskScheduled" in types(await handle.fetch_history())

        await until(scheduled)
    async with make_worker(quick):

        async def done() -> bool:
            kinds = [each.kind.name for each in (await handle.describe()).pending_messages]
            return "ACTIVITY" in kinds

        await until(done)
    await handle.cancel()
    async with make_worker(Racing, max_cached_workflows=max_cached):
        got = await handle.result()
    history = await handle.fetch_history()
    assert types(history).count("WorkflowTaskCompleted") == 2  # one task read both
    assert got in (["result", "cancelled", "result"], ["cancelled", "result"])
    await assert_replays(Racing, history)


@workflow.defn
async def by_type(kind: int) -> str:
    handle = workflow.start_activity(
        endless, start_to_close_timeout=HOUR, cancellation_type=ActivityCancellationType(kind)
    )
    await workflow.sleep(0.001)
    handle.cancel()
    try:
        return await handle
    except ActivityError as error:
        return type(error.cause).__name__


@pytest.mark.parametrize(
    ("kind", "outcome", "asked"),
    [
        (ActivityCancellationType.TRY_CANCEL, "CancelledError", True),
        (ActivityCancellationType.WAIT_CANCELLATION_COMPLETED, "ended in its own time", True),
        (ActivityCancellationType.ABANDON, "CancelledError", False),
    ],
)
async def test_an_activity_is_cancelled_as_its_type_says(
    execute: Execute, client: Client, kind: ActivityCancellationType, outcome: str, asked: bool
) -> None:
    assert await execute(by_type, int(kind), using=(endless,)) == outcome
    history = await client.get_workflow_handle("the-run").fetch_history()
    assert types(history).count("ActivityTaskCancelRequested") == int(asked)


@workflow.defn
class Tasks:
    """What asyncio promises of cancelled tasks."""

    @workflow.run
    async def run(self) -> list[Any]:
        got: list[Any] = []
        task = asyncio.current_task()
        assert task is not None
        inner = asyncio.create_task(quick("shielded"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        try:
            await asyncio.shield(inner)
        except asyncio.CancelledError:
            got += [task.cancelling(), task.uncancel(), await inner]
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(3600)
        except TimeoutError:
            got.append("timeout")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(3600))
                group.create_task(self.fail())
        except* ValueError:
            got.append("group")
        return got

    async def fail(self) -> None:
        raise ValueError("on purpose")


async def test_shield_uncancel_timeouts_and_groups_mean_what_they_mean_in_asyncio(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    handle = await client.start_workflow(Tasks.run, id="t")
    await handle.cancel()
    async with make_worker(Tasks, quick, max_cached_workflows=max_cached):
        assert await handle.result() == [1, 0, "shielded", "timeout", "group"]
        await assert_replays(Tasks, await handle.fetch_history())


@workflow.defn
class Twice:
    """Cleans up when it is asked to cancel; a second request cuts the cleaning short."""

    @workflow.run
    async def run(self) -> None:
        try:
            await workflow.wait_condition(lambda: False)
        finally:
            self.cleaning = True
            await workflow.wait_condition(lambda: False)

    cleaning = False

    @workflow.query
    def is_cleaning(self) -> bool:
        return self.cleaning


async def test_each_cancel_request_is_delivered_also_while_cleaning_up(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(Twice, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Twice.run, id="t")
        await handle.cancel()
        await until(lambda: handle.query(Twice.is_cleaning))
        assert (await handle.describe()).status is RunStatus.RUNNING
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert isinstance(failed.value.cause, CancelledError)
        await assert_replays(Twice, await handle.fetch_history())


@workflow.defn
class Stubborn:
    """Ends when it may, not when it is asked to: it counts how often that was."""

    def __init__(self) -> None:
        self.may_end = False

    @workflow.run
    async def run(self) -> int:
        asked = 0
        while not self.may_end:
            try:
                await workflow.wait_condition(lambda: self.may_end)
            except asyncio.CancelledError:
                asked += 1
        return asked

    @workflow.signal
    def end(self) -> None:
        self.may_end = True


@workflow.defn
async def insists() -> int:
    """Cancels its child twice, and waits for its end: a third time, if it is cancelled itself meanwhile."""
    child = await workflow.start_child_workflow(Stubborn.run, id="child")
    child.cancel("enough")
    child.cancel("more than enough")
    return await child


async def test_a_childs_cancel_request_is_sent_once(client: Client, make_worker: MakeWorker, max_cached: int) -> None:
    async with make_worker(insists, Stubborn, max_cached_workflows=max_cached):
        handle = await client.start_workflow(insists, id="parent")
        await _until_asked_to_cancel(client, "child")
        await handle.cancel()
        await _until_asked_to_cancel(client, "parent")
        await client.get_workflow_handle("child").signal(Stubborn.end)
        assert await handle.result() == 1
        history = await handle.fetch_history()
        assert types(history).count("RequestCancelExternalWorkflowExecutionInitiated") == 1
        await assert_replays(insists, history)


async def _until_asked_to_cancel(client: Client, id: str) -> None:
    """Until it has read the request."""

    async def is_asked() -> bool:
        try:
            told = types(await client.get_workflow_handle(id).fetch_history())
        except RPCError:
            return False  # the child is not there yet
        return "WorkflowExecutionCancelRequested" in told and told[-1] == "WorkflowTaskCompleted"

    await until(is_asked)
