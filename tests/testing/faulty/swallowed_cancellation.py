"""A swallowed cancellation: `except BaseException` takes the cancelling for a failure, if it comes at that moment."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from durable import Client, RetryPolicy, activity, workflow
from durable.client import WorkflowFailureError
from durable.exceptions import ActivityError
from durable.testing import WorkflowEnvironment
from durable.testing.plugin import StartWorker

shipped: set[str] = set()


@pytest.fixture(autouse=True)
def nothing_is_shipped() -> None:
    shipped.clear()


@activity.defn(
    start_to_close_timeout=timedelta(minutes=1),
    retry_policy=RetryPolicy(initial_interval=timedelta(minutes=10), maximum_attempts=3),
)
async def reserve(order: str, warehouse: str) -> None: ...


@activity.defn(start_to_close_timeout=timedelta(minutes=1))
async def ship(order: str) -> None:
    shipped.add(order)


@workflow.defn
async def faulty(order: str) -> None:
    try:
        await reserve(order, "the near warehouse")
    except BaseException:
        await reserve(order, "the far warehouse")
    await workflow.sleep(timedelta(days=1))  # the customer may think again
    await ship(order)


@workflow.defn
async def mended(order: str) -> None:
    try:
        await reserve(order, "the near warehouse")
    except ActivityError:
        await reserve(order, "the far warehouse")
    await workflow.sleep(timedelta(days=1))
    await ship(order)


@pytest.mark.crash_sweep
@pytest.mark.parametrize("process", [faulty, mended], ids=["faulty", "mended"])
async def test_an_order_that_is_cancelled_after_five_minutes_is_not_shipped(
    process: Any, durable_env: WorkflowEnvironment, durable_client: Client, durable_worker: StartWorker
) -> None:
    await durable_worker(workflows=[process], activities=[reserve, ship])
    handle = await durable_client.start_workflow(process, "tea", id="order")

    await durable_env.sleep(timedelta(minutes=5))
    await handle.cancel()

    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert shipped == set()
