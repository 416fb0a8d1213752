"""Workflows that run by a schedule: when, what each run knows of those before it, and how it ends."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, workflow
from durable.client import WorkflowExecutionStatus, WorkflowFailureError
from durable.common import RetryPolicy
from durable.exceptions import ApplicationError, CancelledError
from durable.history import cron
from durable.history.events import WorkflowExecutionStarted, WorkflowTaskStarted
from durable.history.values import ContinueAsNewInitiator
from durable.service import RPCError, RPCStatusCode
from tests.engine.chains import chain, ended
from tests.engine.conftest import MakeWorker
from tests.engine.histories import assert_replays, of_type


@pytest.fixture(autouse=True)
def quick_schedules(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that `@every` may be a fraction of a second."""
    monkeypatch.setattr(cron, "LEAST_US", 1_000)


@workflow.defn
async def third_is_the_last(word: str) -> list[Any]:
    """Each run adds a number to what the one before has returned; after three it continues as something else."""
    done: list[int] = workflow.get_last_completion_result(list[int]) or []
    assert workflow.has_last_completion_result() is bool(done)
    if len(done) == 3:
        workflow.continue_as_new(workflow="waits")
    return [*done, len(done)]


@workflow.defn
async def waits() -> None:
    await workflow.sleep(3600)


@workflow.defn
async def every_second_fails() -> list[str]:
    seen: list[str] = workflow.get_last_completion_result(list[str]) or []
    failure = workflow.get_last_failure()
    if failure is None and seen:
        raise ApplicationError(f"after {len(seen)}", type="Odd")
    return [*seen, str(failure)]


async def test_runs_follow_each_other_by_the_schedule_and_each_knows_the_last_result(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(third_is_the_last, waits, max_cached_workflows=max_cached):
        handle = await client.start_workflow(third_is_the_last, "go", id="c", cron_schedule="@every 20ms")
        waiting = asyncio.ensure_future(handle.result())
        runs = await _runs_until(client, handle, "waits")
        await client.get_workflow_handle("c").cancel()
        with pytest.raises(WorkflowFailureError) as cancelled:
            await waiting
    assert isinstance(cancelled.value.cause, CancelledError), "the result is that of the last run"

    started = [of_type(history, WorkflowExecutionStarted)[0] for history in runs]
    assert [each.initiator for each in started] == [
        ContinueAsNewInitiator.UNSPECIFIED,
        *3 * [ContinueAsNewInitiator.CRON_SCHEDULE],
        ContinueAsNewInitiator.WORKFLOW,
    ]
    for history, event in list(zip(runs, started, strict=True))[:-1]:
        begun = of_type(history, WorkflowTaskStarted)[0]
        assert begun.time_us >= event.time_us + event.first_workflow_task_backoff_us, "not before its time"
        assert 0 < event.first_workflow_task_backoff_us <= 20_000
        assert event.cron_schedule == "@every 20ms"
        await assert_replays(third_is_the_last, history)
    assert started[-1].cron_schedule == "@every 20ms", "continue-as-new keeps the schedule"


async def _runs_until(client: Client, handle: Any, workflow_type: str) -> list[Any]:
    while True:
        runs = await chain(client, handle)
        started = runs[-1].events[0]
        assert isinstance(started, WorkflowExecutionStarted)
        if started.workflow_type == workflow_type:
            return runs
        await ended(client, client.get_workflow_handle("c", run_id=runs[-1].run_id))


async def test_a_run_that_fails_is_followed_and_told_of(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(every_second_fails):
        handle = await client.start_workflow(every_second_fails, id="c", cron_schedule="@every 10ms")
        ends: list[Any] = []
        run_id = handle.result_run_id
        while len(ends) < 4:
            assert run_id is not None
            ends.append(await client.database.closing_event(run_id))
            run_id = ends[-1].new_execution_run_id
        await client.get_workflow_handle("c").terminate()

    assert [type(event).__name__ for event in ends] == 2 * ["WorkflowExecutionCompleted", "WorkflowExecutionFailed"]
    converter = client.data_converter
    assert converter.from_payloads(ends[2].result) == [["None", "Odd: after 1"]]
    assert ends[3].failure.message == "after 2", "the last result stays while runs fail"


async def test_a_failed_run_is_tried_again_by_its_policy_before_the_schedule_goes_on(
    client: Client, make_worker: MakeWorker
) -> None:
    @workflow.defn
    async def fails() -> None:
        raise ApplicationError("no")

    policy = RetryPolicy(initial_interval=timedelta(milliseconds=1), maximum_attempts=2)
    async with make_worker(fails):
        handle = await client.start_workflow(fails, id="c", cron_schedule="@every 10ms", retry_policy=policy)
        run_id, attempts = handle.result_run_id, list[tuple[int, ContinueAsNewInitiator]]()
        while len(attempts) < 4:
            event: Any = await client.database.closing_event(str(run_id))
            started: Any = (await client.get_workflow_handle("c", run_id=run_id).fetch_history()).events[0]
            attempts.append((started.attempt, started.initiator))
            run_id = event.new_execution_run_id
        await client.get_workflow_handle("c").terminate()
    first, again, scheduled, last = attempts
    assert first == (1, ContinueAsNewInitiator.UNSPECIFIED)
    assert again == last == (2, ContinueAsNewInitiator.RETRY)
    assert scheduled == (1, ContinueAsNewInitiator.CRON_SCHEDULE)


async def test_a_run_that_waits_for_its_time_is_cancelled_at_once_and_the_schedule_with_it(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(waits):
        handle = await client.start_workflow(waits, id="c", cron_schedule="0 0 1 1 *")
        described = await handle.describe()
        assert described.execution_time is not None
        assert (described.execution_time.month, described.execution_time.day, described.execution_time.hour) == (
            1,
            1,
            0,
        )
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as cancelled:
            await handle.result()
    assert isinstance(cancelled.value.cause, CancelledError)
    runs = [run.status async for run in client.list_workflows()]
    assert runs == [WorkflowExecutionStatus.CANCELED]


async def test_a_schedule_that_can_not_be_used_is_refused(client: Client) -> None:
    with pytest.raises(RPCError, match="3 fields") as refused:
        await client.start_workflow(waits, id="c", cron_schedule="now and then")
    assert refused.value.status is RPCStatusCode.INVALID_ARGUMENT
    with pytest.raises(ValueError, match="day-of-month"):
        await client.start_workflow(waits, id="c", cron_schedule="0 0 31 2 *")
    with pytest.raises(ValueError, match="can't be used together"):
        await client.start_workflow(waits, id="c", cron_schedule="@daily", start_delay=timedelta(seconds=1))
