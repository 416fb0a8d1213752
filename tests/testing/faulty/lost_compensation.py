"""A lost compensation: the inverse of a step is noted after the step, whose outcome can be lost with the worker."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from durable import Client, RetryPolicy, activity, workflow
from durable.exceptions import ActivityError, ApplicationError
from durable.testing.plugin import StartWorker

rooms: set[str] = set()


@pytest.fixture(autouse=True)
def hotel() -> None:
    rooms.clear()


# The hotel gives a second room to whoever asks a second time.
@activity.defn(start_to_close_timeout=timedelta(seconds=30), retry_policy=RetryPolicy(maximum_attempts=1))
async def book_room(guest: str) -> None:
    rooms.add(guest)


@activity.defn(start_to_close_timeout=timedelta(seconds=30))
async def cancel_room(guest: str) -> None:
    rooms.discard(guest)


@activity.defn(start_to_close_timeout=timedelta(seconds=30))
async def book_flight(guest: str) -> None:
    raise ApplicationError("no seat is left", non_retryable=True)


@workflow.defn
async def faulty(guest: str) -> str:
    try:
        async with workflow.saga() as saga:
            await book_room(guest)
            saga.compensate_with(cancel_room, guest)
            await book_flight(guest)
    except ActivityError:
        return "no trip"
    return "a trip"


@workflow.defn
async def mended(guest: str) -> str:
    try:
        async with workflow.saga() as saga:
            saga.compensate_with(cancel_room, guest)
            await book_room(guest)
            await book_flight(guest)
    except ActivityError:
        return "no trip"
    return "a trip"


@pytest.mark.crash_sweep
@pytest.mark.parametrize("book", [faulty, mended], ids=["faulty", "mended"])
async def test_a_trip_that_fails_leaves_no_room_booked(
    book: Any, durable_client: Client, durable_worker: StartWorker
) -> None:
    await durable_worker(workflows=[book], activities=[book_room, cancel_room, book_flight])

    assert await durable_client.execute_workflow(book, "Ada", id="trip") == "no trip"
    assert rooms == set()
