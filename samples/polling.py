"""Waiting for something that never calls: ask in an activity's loop, by its retries, or from the workflow.

    python samples/polling.py

asks a laboratory for results in three ways, which differ in how often one may ask, and in what a history holds of it.
"""

import asyncio
import uuid
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client
from durable.common import RetryPolicy
from durable.exceptions import ApplicationError, ApplicationErrorCategory
from durable.worker import Worker

TASK_QUEUE = "laboratory"


class Laboratory:
    """Has a sample's result when it was asked for it five times."""

    def __init__(self) -> None:
        self._asked: dict[str, int] = {}

    def result(self, sample: str) -> str | None:
        self._asked[sample] = self._asked.get(sample, 0) + 1
        return f"{sample} is fine, asked {self._asked[sample]} times" if self._asked[sample] == 5 else None

    @activity.defn
    async def ask_until_ready(self, sample: str) -> str:
        """Every second or oftener: one attempt, which asks in a loop, and heartbeats to show that it lives."""
        while (result := self.result(sample)) is None:
            activity.heartbeat()
            await asyncio.sleep(0.02)
        return result

    @activity.defn
    async def ask_or_fail(self, sample: str) -> str:
        """Every minute or more seldom: each attempt asks once, and the retry policy is the loop."""
        if (result := self.result(sample)) is None:
            raise ApplicationError("not ready yet", category=ApplicationErrorCategory.BENIGN)
        return result

    @activity.defn
    async def ask(self, sample: str) -> str | None:
        return self.result(sample)


@workflow.defn
class Frequently:
    @workflow.run
    async def run(self, sample: str) -> str:
        return await workflow.execute_activity_method(
            Laboratory.ask_until_ready,
            sample,
            start_to_close_timeout=timedelta(hours=1),
            heartbeat_timeout=timedelta(seconds=2),  # if its worker dies, another one asks on
        )


@workflow.defn
class Infrequently:
    @workflow.run
    async def run(self, sample: str) -> str:
        return await workflow.execute_activity_method(
            Laboratory.ask_or_fail,
            sample,
            start_to_close_timeout=timedelta(seconds=10),
            # A coefficient of 1: always the same pause. The history holds none of the attempts that failed.
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=20), backoff_coefficient=1.0),
        )


@workflow.defn
class Periodically:
    @workflow.run
    async def run(self, sample: str) -> str:
        """What one asks, or how long one waits, may change from time to time: then the workflow is the loop."""
        pause = 0.01
        for _ in range(3):
            result = await workflow.execute_activity_method(
                Laboratory.ask, sample, start_to_close_timeout=timedelta(seconds=10)
            )
            if result is not None:
                return result
            await workflow.sleep(pause)
            pause *= 1.5
        workflow.continue_as_new(sample)  # each question is in the history; so begin a new one now and then


async def main() -> None:
    laboratory = Laboratory()
    async with await Client.connect() as client:
        async with Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[Frequently, Infrequently, Periodically],
            activities=[laboratory.ask_until_ready, laboratory.ask_or_fail, laboratory.ask],
        ):
            for way in (Frequently, Infrequently, Periodically):
                handle = await client.start_workflow(
                    way.run, way.__name__.lower(), id=f"sample-{uuid.uuid4()}", task_queue=TASK_QUEUE
                )
                result = await handle.result()
                print(f"{result}; the last run has {len((await handle.fetch_history()).events)} events")


if __name__ == "__main__":
    asyncio.run(main())
