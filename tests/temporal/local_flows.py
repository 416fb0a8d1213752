"""Workflows with local activities, in the API that durable and the Temporal Python SDK share; see `flows`."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from durable import activity, workflow
from durable.common import RetryPolicy
from durable.exceptions import ActivityError, ApplicationError

SOON = timedelta(seconds=10)


@activity.defn
async def double(number: int) -> int:
    return 2 * number


@activity.defn
async def decline(card: str) -> None:
    raise ApplicationError(f"card {card} is declined", 42, type="Declined", non_retryable=True)


@activity.defn
async def hang() -> None:
    await asyncio.Event().wait()


@workflow.defn
class Steps:
    """Local activities one after another, then side by side with each other, with an activity and with a timer."""

    @workflow.run
    async def run(self, number: int) -> list[int]:
        first = await workflow.execute_local_activity(double, number, start_to_close_timeout=SOON)
        second = await workflow.execute_local_activity(double, first, start_to_close_timeout=SOON)
        return list(await asyncio.gather(self.local(second), self.ordinary(second), self.local(second + 1)))

    async def local(self, number: int) -> int:
        doubled = await workflow.execute_local_activity(double, number, start_to_close_timeout=SOON)
        await asyncio.sleep(0.01)
        return await workflow.execute_activity(double, doubled, start_to_close_timeout=SOON)

    async def ordinary(self, number: int) -> int:
        await asyncio.sleep(0.01)
        doubled = await workflow.execute_activity(double, number, start_to_close_timeout=SOON)
        return await workflow.execute_local_activity(double, doubled, start_to_close_timeout=SOON)


@workflow.defn
class Listener:
    """Signal handlers that wait for local activities, in the order in which they are told."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    @workflow.run
    async def run(self, wanted: int) -> list[int]:
        await workflow.wait_condition(lambda: len(self.heard) == wanted)
        return self.heard

    @workflow.signal
    async def put(self, number: int) -> None:
        doubled = await workflow.execute_local_activity(double, number, start_to_close_timeout=SOON)
        if workflow.patched("twice"):
            doubled = await workflow.execute_local_activity(double, doubled, start_to_close_timeout=SOON)
        self.heard.append(doubled)


@workflow.defn
class Declined:
    """A local activity that fails for good."""

    @workflow.run
    async def run(self, card: str) -> str:
        try:
            await workflow.execute_local_activity(
                decline, card, start_to_close_timeout=SOON, retry_policy=RetryPolicy(maximum_attempts=1)
            )
        except ActivityError as error:
            cause = error.cause
            assert isinstance(cause, ApplicationError)
            doubled = await workflow.execute_local_activity(double, cause.details[0], start_to_close_timeout=SOON)
            return f"{error.activity_type} {error.activity_id}: {cause.type}: {doubled}"
        return "taken"


@workflow.defn
class Impatient:
    """Cancels its local activity, as ``kind`` says, and goes on."""

    @workflow.run
    async def run(self, kind: int) -> str:
        handle = workflow.start_local_activity(
            hang,
            start_to_close_timeout=timedelta(minutes=10),
            cancellation_type=workflow.ActivityCancellationType(kind),
        )
        await asyncio.sleep(0.01)
        handle.cancel()
        try:
            await handle
        except ActivityError as error:
            number = await workflow.execute_local_activity(double, 4, start_to_close_timeout=SOON)
            return f"{type(error.cause).__name__} {number}"
        return "it was done"


WORKFLOWS = [Steps, Listener, Declined, Impatient]
ACTIVITIES = [double, decline, hang]
