"""Runs that follow each other in skipping time: schedules of days, attempts hours apart, limits of weeks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from durable import RetryPolicy, Worker, workflow
from durable.client import WorkflowFailureError
from durable.exceptions import ApplicationError, TimeoutError
from durable.testing import WorkflowEnvironment


@pytest.fixture
async def env() -> AsyncIterator[WorkflowEnvironment]:
    async with await WorkflowEnvironment.start_time_skipping() as env:
        yield env


@workflow.defn
async def notes_the_time() -> list[str]:
    before: list[str] = workflow.get_last_completion_result(list[str]) or []
    return [*before, workflow.now().isoformat(timespec="minutes")]


@workflow.defn
async def third_time_lucky() -> int:
    attempt = workflow.info().attempt
    if attempt < 3:
        raise ApplicationError("not yet")
    return attempt


@workflow.defn
async def waits() -> None:
    await workflow.wait_condition(lambda: False)


async def test_a_schedule_of_days_goes_by(env: WorkflowEnvironment) -> None:
    async with Worker(env.client, workflows=[notes_the_time]):
        begun = await env.get_current_time()
        handle = await env.client.start_workflow(
            notes_the_time, id="c", cron_schedule="CRON_TZ=Europe/Berlin 30 2 * * *"
        )
        await env.sleep(timedelta(days=3))
        runs = [run async for run in env.client.list_workflows("ExecutionStatus = 'Completed'")]
        await env.client.get_workflow_handle("c").terminate()
        latest = env.client.get_workflow_handle("c", run_id=runs[0].run_id)
        noted: list[str] = await latest.result(follow_runs=False)

    assert handle.result_run_id in {run.run_id for run in runs} and len(noted) == len(runs) == 3
    times = [datetime.fromisoformat(text) for text in noted]
    assert all(time.tzinfo == UTC and time > begun and time.minute == 30 for time in times)
    assert {time.hour for time in times} <= {0, 1}, "half past two in Berlin, in summer or in winter"


async def test_attempts_that_are_hours_apart_are_skipped_to(env: WorkflowEnvironment) -> None:
    before = await env.get_current_time()
    async with Worker(env.client, workflows=[third_time_lucky]):
        policy = RetryPolicy(initial_interval=timedelta(hours=1))
        assert await env.client.execute_workflow(third_time_lucky, id="w", retry_policy=policy) == 3
    assert await env.get_current_time() - before >= timedelta(hours=1 + 2)


async def test_a_limit_of_weeks_is_skipped_to(env: WorkflowEnvironment) -> None:
    before = await env.get_current_time()
    async with Worker(env.client, workflows=[waits]):
        with pytest.raises(WorkflowFailureError) as failed:
            await env.client.execute_workflow(waits, id="w", run_timeout=timedelta(weeks=2))
    assert isinstance(failed.value.cause, TimeoutError)
    assert await env.get_current_time() - before >= timedelta(weeks=2)
