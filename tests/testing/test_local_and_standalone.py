"""Time skips for local activities and for activities that a client starts by themselves, too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from durable import RetryPolicy, Worker, activity, workflow
from durable.testing import WorkflowEnvironment

TEN_S: dict[str, Any] = {"start_to_close_timeout": timedelta(seconds=10)}
DAILY = RetryPolicy(initial_interval=timedelta(days=1), backoff_coefficient=1)


@activity.defn
async def third_time() -> int:
    if activity.info().attempt < 3:
        raise OSError("not yet")
    return activity.info().attempt


@workflow.defn
async def patient() -> float:
    before = workflow.time()
    await workflow.execute_local_activity(third_time, retry_policy=DAILY, **TEN_S)
    return workflow.time() - before


@pytest.fixture
async def env() -> AsyncIterator[WorkflowEnvironment]:
    async with await WorkflowEnvironment.start_time_skipping() as env:
        async with Worker(env.client, workflows=[patient], activities=[third_time]):
            yield env


async def test_the_days_between_the_attempts_of_a_local_activity_are_skipped(env: WorkflowEnvironment) -> None:
    seconds = await env.client.execute_workflow(patient, id="w")

    assert seconds >= timedelta(days=2).total_seconds()


async def test_the_days_before_and_within_an_activity_by_itself_are_skipped(env: WorkflowEnvironment) -> None:
    handle = await env.client.start_activity(
        third_time, id="job", task_queue="default", start_delay=timedelta(days=30), retry_policy=DAILY, **TEN_S
    )

    assert await handle.result() == 3
    described = await handle.describe()
    assert described.execution_duration is not None
    assert described.execution_duration >= timedelta(days=32)
