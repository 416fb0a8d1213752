"""Workflows that have had their time: closed without their code, by whichever worker is there."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.client import (
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateStage,
)
from durable.exceptions import TimeoutError, TimeoutType
from durable.history.events import WorkflowExecutionStarted, WorkflowExecutionTimedOut
from durable.history.values import RetryState
from durable.service import RPCError
from tests.engine.chains import chain
from tests.engine.conftest import MakeWorker
from tests.engine.histories import assert_replays, assert_sound, of_type, types, until

SOON = timedelta(milliseconds=100)


@workflow.defn
class Endless:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def put(self, number: int) -> None:
        """Of no use."""

    @workflow.query
    def alive(self) -> str:
        return "I was"

    @workflow.update
    async def never(self) -> None:
        await workflow.wait_condition(lambda: False)


@workflow.defn
async def breaks() -> None:
    raise RuntimeError("no failure of the workflow")


@workflow.defn
async def for_ever() -> None:
    await workflow.sleep(0.02)
    workflow.continue_as_new()


@workflow.defn
async def at_once() -> str:
    return "done"


@activity.defn
async def idle() -> None:
    """Makes a worker that has no workflows."""


async def times_out(handle: WorkflowHandle[Any, Any]) -> TimeoutError:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, TimeoutError)
    return failed.value.cause


async def test_a_run_is_closed_when_its_time_is_over(client: Client, make_worker: MakeWorker, max_cached: int) -> None:
    async with make_worker(Endless, max_cached_workflows=max_cached):
        handle = await client.start_workflow(Endless.run, id="w", run_timeout=10 * SOON)
        pending = await handle.start_update(Endless.never, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        error = await times_out(handle)
        assert error.type is TimeoutType.START_TO_CLOSE and str(error) == "Workflow timed out"
        with pytest.raises(Exception, match="Workflow update failed") as cut_short:
            await pending.result()
        assert "AcceptedUpdateCompletedWorkflow" in str(cut_short.value.__cause__)
        assert await handle.query(Endless.alive) == "I was"

    history = await handle.fetch_history()
    assert_sound(history.events)
    await assert_replays(Endless, history)
    started, ended = history.events[0], history.events[-1]
    assert isinstance(ended, WorkflowExecutionTimedOut)
    assert ended.retry_state is RetryState.RETRY_POLICY_NOT_SET
    assert ended.time_us - started.time_us >= 1_000_000
    described = await handle.describe()
    assert described.status is WorkflowExecutionStatus.TIMED_OUT and not described.pending_messages


async def test_the_signals_that_it_has_not_read_are_in_its_history(client: Client, make_worker: MakeWorker) -> None:
    handle = await client.start_workflow(Endless.run, id="w", run_timeout=SOON, task_queue="nobody's")
    await handle.signal(Endless.put, 1)
    await handle.cancel(reason="late")
    async with make_worker(Endless):
        await times_out(handle)

    assert types(await handle.fetch_history())[2:] == [
        "WorkflowExecutionSignaled",
        "WorkflowExecutionCancelRequested",
        "WorkflowExecutionTimedOut",
    ]


async def test_a_question_that_waits_when_its_time_is_over_is_answered_all_the_same(
    client: Client, make_worker: MakeWorker
) -> None:
    """The worker finds the question together with the end of the run, which has never begun."""
    handle = await client.start_workflow(Endless.run, id="w", run_timeout=SOON)
    over_us = client.database.store.now_us() + 100_000
    asked = asyncio.ensure_future(handle.query(Endless.alive))

    async def both_wait() -> bool:
        return len((await handle.describe()).pending_messages) == 3 and client.database.store.now_us() > over_us

    await until(both_wait)
    async with make_worker(Endless):
        with pytest.raises(WorkflowQueryFailedError, match="has not begun"):
            await asked
    assert types(await handle.fetch_history())[-1] == "WorkflowExecutionTimedOut"


async def test_a_run_whose_queue_has_no_worker_is_closed_by_any_worker_even_one_without_workflows(
    client: Client, make_worker: MakeWorker
) -> None:
    handle = await client.start_workflow(Endless.run, id="w", run_timeout=SOON, task_queue="nobody's")
    await handle.signal(Endless.put, 1)
    async with make_worker(idle, task_queue="activities only"):
        await times_out(handle)
        with pytest.raises(RPCError, match="completed"):
            await handle.signal(Endless.put, 2)


async def test_a_parked_run_is_closed_too(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(breaks):
        handle = await client.start_workflow(breaks, id="w", run_timeout=10 * SOON)

        async def parked() -> Any:
            return (await handle.describe()).parked

        assert "no failure of the workflow" in await until(parked)
        await times_out(handle)
    assert (await handle.describe()).parked is None


async def test_the_execution_timeout_is_for_all_runs_together(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(for_ever):
        handle = await client.start_workflow(for_ever, id="w", execution_timeout=5 * SOON)
        await times_out(handle)

    histories = await chain(client, handle)
    assert len(histories) > 1
    first, last = histories[0].events[0], histories[-1].events[-1]
    assert last.time_us - first.time_us >= 500_000
    assert isinstance(last, WorkflowExecutionTimedOut) and last.retry_state is RetryState.TIMEOUT


async def test_a_run_that_ends_in_time_leaves_no_timeout_behind(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(at_once):
        handle = await client.start_workflow(at_once, id="w", run_timeout=100 * SOON, execution_timeout=200 * SOON)
        assert await handle.result() == "done"
    assert handle.result_run_id is not None
    assert await client.database.store.inbox(handle.result_run_id) == []


async def test_zero_is_no_limit_and_a_negative_one_is_refused(client: Client) -> None:
    zero, negative = timedelta(), timedelta(seconds=-1)
    handle = await client.start_workflow(at_once, id="w", run_timeout=zero, execution_timeout=zero, task_timeout=zero)
    started = of_type(await handle.fetch_history(), WorkflowExecutionStarted)[0]
    assert (started.workflow_run_timeout_us, started.workflow_execution_expiration_time_us) == (0, 0)
    assert started.workflow_task_timeout_us == 10_000_000
    for name in ("run_timeout", "execution_timeout", "task_timeout", "start_delay"):
        with pytest.raises(ValueError, match=f"{name} can't be negative"):
            await client.start_workflow(at_once, id="w2", **{name: negative})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
