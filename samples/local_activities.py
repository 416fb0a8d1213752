"""A local activity runs in the worker that runs the workflow, and costs the database nothing until its result is there.

    python samples/local_activities.py

books parcels at a counter: many short steps, for which a queue, a claim and a report each would be too much.
"""

import asyncio
import uuid
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client
from durable.common import RetryPolicy
from durable.worker import Worker

TASK_QUEUE = "counter"


class Counter:
    def __init__(self) -> None:
        self.weighed = 0

    @activity.defn
    async def weigh(self, parcel: str) -> int:
        """Short, and harmless when it is done twice: a worker that dies does all anew that is not recorded yet."""
        self.weighed += 1
        if parcel == "sticky" and activity.info().attempt < 3:
            raise OSError("the scale sticks")
        return len(parcel) * 100

    @activity.defn
    async def hand_over(self, parcels: int, grams: int) -> str:
        """An effect on the world outside is an activity like any other: queued, timed, tried on any worker."""
        return f"{parcels} parcels, {grams} g, are with the carrier"


@workflow.defn
class BookParcels:
    @workflow.run
    async def run(self, parcels: list[str]) -> str:
        grams = 0
        for parcel in parcels:
            grams += await workflow.execute_local_activity_method(
                Counter.weigh,
                parcel,
                start_to_close_timeout=timedelta(seconds=5),
                # Shorter pauses are waited out in the worker; a longer one would be a timer of the workflow.
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
                local_retry_threshold=timedelta(seconds=1),
            )
        return await workflow.execute_activity_method(
            Counter.hand_over, args=[len(parcels), grams], start_to_close_timeout=timedelta(minutes=1)
        )


async def main() -> None:
    counter = Counter()
    async with await Client.connect() as client:
        async with Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[BookParcels],
            activities=[counter.weigh, counter.hand_over],
        ):
            handle = await client.start_workflow(
                BookParcels.run, ["red", "blue", "sticky", "green"], id=f"parcels-{uuid.uuid4()}", task_queue=TASK_QUEUE
            )
            print(await handle.result())
    print(f"weighed {counter.weighed} times")


if __name__ == "__main__":
    asyncio.run(main())
