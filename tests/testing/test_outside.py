"""Time does not skip while somebody outside is at work on an activity."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from durable import RetryPolicy, Worker, activity, workflow
from durable.client import WorkflowFailureError
from durable.testing import ActivityEnvironment, WorkflowEnvironment

begun: asyncio.Queue[bytes]


@activity.defn(start_to_close_timeout=timedelta(hours=1), retry_policy=RetryPolicy(maximum_attempts=1))
async def approval() -> str:
    begun.put_nowait(activity.info().task_token)
    activity.raise_complete_async()


@workflow.defn
async def approved() -> str:
    first = await approval()
    await workflow.sleep(timedelta(days=30))
    return first


async def test_time_stands_still_until_an_activity_is_completed_from_outside() -> None:
    global begun
    begun = asyncio.Queue()
    async with await WorkflowEnvironment.start_time_skipping() as env:
        async with Worker(env.client, workflows=[approved], activities=[approval]):

            async def approve() -> None:
                token = await begun.get()
                await asyncio.sleep(0.05)  # long enough for an hour to be skipped
                await env.client.get_async_activity_handle(task_token=token).complete("granted")

            approving = asyncio.create_task(approve())

            assert await env.client.execute_workflow(approved, id="approved") == "granted"
            await approving


async def test_time_skips_again_when_a_workflow_that_waited_for_somebody_outside_is_closed() -> None:
    global begun
    begun = asyncio.Queue()
    async with await WorkflowEnvironment.start_time_skipping() as env:
        async with Worker(env.client, workflows=[approved], activities=[approval]):
            waiting = await env.client.start_workflow(approved, id="waiting")
            await begun.get()
            await waiting.terminate()

            with pytest.raises(WorkflowFailureError):
                await waiting.result()
            await env.sleep(timedelta(days=1))


async def test_an_activity_alone_says_that_its_outcome_comes_from_outside() -> None:
    global begun
    begun = asyncio.Queue()

    with pytest.raises(activity.CompleteAsyncError):
        await ActivityEnvironment().run(approval)
