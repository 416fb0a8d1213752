"""Sagas as a user's tests, which the crash sweep watches; `test_saga` runs them."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from durable import Client, activity, workflow
from durable.client import WorkflowFailureError
from durable.exceptions import ApplicationError, CancelledError
from durable.testing.plugin import StartWorker

pytestmark = pytest.mark.crash_sweep

held: Counter[str] = Counter()
"""What is booked, and by how many attempts: each is to be undone, however often it was made."""


@pytest.fixture(autouse=True)
def nothing_is_held() -> None:
    held.clear()


@activity.defn
async def book(what: str) -> None:
    held[what] += 1


@activity.defn
async def cancel(what: str) -> None:
    del held[what]


@activity.defn
def refuse() -> None:
    raise ApplicationError("nothing is left", type="Refused", non_retryable=True)


@activity.defn
async def jam(what: str) -> None:
    raise ApplicationError(f"{what} is jammed", non_retryable=True)


@workflow.defn
async def undoing(what: str) -> None:
    await cancel(what)


@workflow.defn
class Trip:
    def __init__(self) -> None:
        self.is_booked = False

    @workflow.run
    async def run(self, parallel: bool, end: str) -> None:
        async with workflow.saga(parallel=parallel) as saga:
            saga.compensate_with(cancel, "flight")
            await book("flight")
            saga.compensate_with(workflow.execute_child_workflow, undoing, "car", id="undoing")
            await book("car")
            if end == "jammed":
                saga.compensate_with(jam, "lock")
            self.is_booked = True
            if end == "cancelled":
                await workflow.sleep(3600)
            await refuse()  # type: ignore[func-returns-value,misc]  # pyright: ignore[reportGeneralTypeIssues]

    @workflow.query
    def booked(self) -> bool:
        return self.is_booked


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("end", ["refused", "jammed", "cancelled"])
async def test_a_trip_that_fails_leaves_nothing_booked(
    durable_client: Client, durable_worker: StartWorker, parallel: bool, end: str
) -> None:
    await durable_worker(workflows=[Trip, undoing], activities=[book, cancel, refuse, jam])

    handle = await durable_client.start_workflow(Trip.run, args=[parallel, end], id="trip")
    if end == "cancelled":
        while not await handle.query(Trip.booked):  # noqa: ASYNC110 (another worker may have to answer)
            await asyncio.sleep(0.01)
        await handle.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()

    assert not held
    assert isinstance(caught.value.cause, CancelledError) == (end == "cancelled")
    assert ("jam (step 3)" in str(caught.value.cause)) == (end == "jammed")
