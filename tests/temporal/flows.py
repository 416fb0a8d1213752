"""Workflows in the API that durable and the Temporal Python SDK share.

`of_temporal` loads this same source a second time, with ``temporalio`` in the place of ``durable``: equal code, so
what one of them records the other one must replay.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from durable import activity, workflow
from durable.common import RetryPolicy
from durable.exceptions import ActivityError, ApplicationError

SOON = timedelta(seconds=10)
ONCE = RetryPolicy(maximum_attempts=1)


@activity.defn
async def double(number: int) -> int:
    return 2 * number


@activity.defn
async def decline(card: str) -> None:
    raise ApplicationError(f"card {card} is declined", 42, type="Declined")


@activity.defn
async def clean_up(what: str) -> str:
    return f"{what} cleaned up"


@activity.defn
async def hang() -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(0.01)


@workflow.defn
class Orders:
    """Signals, a query, activities in sequence, a timer."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.closed = False

    @workflow.run
    async def run(self, wanted: int) -> int:
        await workflow.wait_condition(lambda: len(self.numbers) >= wanted)
        total = 0
        for number in self.numbers[:wanted]:
            total += await workflow.execute_activity(double, number, start_to_close_timeout=SOON)
        await asyncio.sleep(0.01)
        return total

    @workflow.signal
    def put(self, number: int) -> None:
        self.numbers.append(number)

    @workflow.query
    def so_far(self) -> int:
        return len(self.numbers)


@workflow.defn
class Sums:
    """Activities side by side, and a group of tasks of which each has one."""

    @workflow.run
    async def run(self, most: int) -> int:
        first = await asyncio.gather(
            *[workflow.execute_activity(double, number, schedule_to_close_timeout=SOON) for number in range(most)]
        )
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.add(number)) for number in first]
        return sum(task.result() for task in tasks)

    async def add(self, number: int) -> int:
        await asyncio.sleep(0.001 * number + 0.001)
        return number + await workflow.execute_activity(double, number, start_to_close_timeout=SOON)


@workflow.defn
class Handlers:
    """Signal handlers that wait for activities while the workflow waits for them."""

    def __init__(self) -> None:
        self.doubled: list[int] = []

    @workflow.run
    async def run(self, wanted: int) -> list[int]:
        await workflow.wait_condition(lambda: len(self.doubled) == wanted)
        return sorted(self.doubled)

    @workflow.signal
    async def put(self, number: int) -> None:
        self.doubled.append(await workflow.execute_activity(double, number, start_to_close_timeout=SOON))


@workflow.defn
class Reminder:
    """A wait with a time limit, which the signal (if it comes) cancels."""

    def __init__(self) -> None:
        self.answer = ""

    @workflow.run
    async def run(self, seconds: float) -> str:
        try:
            await workflow.wait_condition(lambda: self.answer != "", timeout=timedelta(seconds=seconds))
        except TimeoutError:
            return "too late"
        return self.answer

    @workflow.signal
    def reply(self, text: str) -> None:
        self.answer = text


@workflow.defn
class Declined:
    """An activity that fails for good, a compensation, a failed workflow."""

    @workflow.run
    async def run(self, card: str) -> None:
        try:
            await workflow.execute_activity(decline, card, start_to_close_timeout=SOON, retry_policy=ONCE)
        except ActivityError as error:
            declined = error.cause.type if isinstance(error.cause, ApplicationError) else ""
            await workflow.execute_activity(clean_up, declined, start_to_close_timeout=SOON)
            raise ApplicationError("no order without money", type="NoMoney") from error


@workflow.defn
class Sleeper:
    """Cancelled in its sleep, it cleans up."""

    @workflow.run
    async def run(self) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await workflow.execute_activity(clean_up, "bed", start_to_close_timeout=SOON)
            raise


@workflow.defn
class Patient:
    """Cancelled while its activity runs, which it asks to end; it waits for that, or does not."""

    @workflow.run
    async def run(self, wait: bool) -> None:
        await workflow.execute_activity(
            hang,
            start_to_close_timeout=timedelta(minutes=10),
            heartbeat_timeout=timedelta(seconds=1),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
            if wait
            else workflow.ActivityCancellationType.TRY_CANCEL,
        )


@workflow.defn
class Impatient:
    """Asks its activity to end, and goes on."""

    @workflow.run
    async def run(self) -> str:
        handle = workflow.start_activity(
            hang, start_to_close_timeout=timedelta(minutes=10), heartbeat_timeout=timedelta(seconds=1)
        )
        await asyncio.sleep(0.01)
        handle.cancel()
        try:
            await handle
        except ActivityError:
            return await workflow.execute_activity(clean_up, "rest", start_to_close_timeout=SOON)
        return "it was done"


@workflow.defn
class Forsaken:
    """Asks an activity to end that nobody has begun, and asks for more in the same breath."""

    @workflow.run
    async def run(self, wait: bool) -> list[str]:
        handle = workflow.start_activity(
            clean_up,
            "the world",
            task_queue="nobody-serves-it",
            start_to_close_timeout=SOON,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
            if wait
            else workflow.ActivityCancellationType.TRY_CANCEL,
        )
        await asyncio.sleep(0.01)
        handle.cancel()
        return list(await asyncio.gather(self.outcome(handle), self.rest()))

    async def outcome(self, handle: workflow.ActivityHandle[str]) -> str:
        try:
            return await handle
        except ActivityError as error:
            return type(error.cause).__name__

    async def rest(self) -> str:
        await asyncio.sleep(0.01)
        return await workflow.execute_activity(clean_up, "a room", start_to_close_timeout=SOON)


@workflow.defn
class Renovated:
    """Its code was changed: one change that is done with, one that may be there, and one more after it."""

    @workflow.run
    async def run(self, number: int) -> int:
        workflow.deprecate_patch("cellar")
        if workflow.patched("floor"):
            number = await workflow.execute_activity(double, number, start_to_close_timeout=SOON)
        if workflow.patched("roof"):
            number = await workflow.execute_activity(double, number, start_to_close_timeout=SOON)
        return number


WORKFLOWS = [Orders, Sums, Handlers, Reminder, Declined, Sleeper, Patient, Impatient, Forsaken, Renovated]
ACTIVITIES = [double, decline, clean_up, hang]
