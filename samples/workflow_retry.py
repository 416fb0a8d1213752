"""A workflow that fails can be tried again as a whole: a new run each time, which knows why the one before has failed.

    python samples/workflow_retry.py

plans a trip: if the hotel is full, all that was booked is off, and everything begins anew with the next week.
"""

import asyncio
import uuid
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client
from durable.common import RetryPolicy
from durable.exceptions import ApplicationError
from durable.worker import Worker

TASK_QUEUE = "trips"


@activity.defn
async def book_flight(week: int) -> str:
    return f"flight in week {week}"


@activity.defn
async def rooms_free(week: int) -> int:
    return 1 if week >= 32 else 0


@workflow.defn
class PlanTrip:
    @workflow.run
    async def run(self, week: int) -> str:
        info = workflow.info()
        week += info.attempt - 1
        if (failure := workflow.get_last_failure()) is not None:
            workflow.logger.info("attempt %d, because %s", info.attempt, failure)
        flight = await workflow.execute_activity(book_flight, week, start_to_close_timeout=timedelta(seconds=10))
        if not await workflow.execute_activity(rooms_free, week, start_to_close_timeout=timedelta(seconds=10)):
            # Fails the workflow. Activities are retried by themselves: a workflow is, when starting over is the cure.
            raise ApplicationError(f"the hotel is full in week {week}", type="Full")
        return f"{flight}, at attempt {info.attempt}"


async def main() -> None:
    async with await Client.connect() as client:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[PlanTrip], activities=[book_flight, rooms_free]):
            handle = await client.start_workflow(
                PlanTrip.run,
                30,
                id=f"trip-{uuid.uuid4()}",
                task_queue=TASK_QUEUE,
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=50), maximum_attempts=5),
            )
            print(await handle.result())  # of the last run


if __name__ == "__main__":
    asyncio.run(main())
