"""Activities run side by side with plain asyncio: all of them, the first of them, or no more than so many at once.

    python samples/hello_parallel_activity.py

asks airlines what a flight costs, in three ways.
"""

import asyncio
import uuid
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client
from durable.worker import Worker

TASK_QUEUE = "flights"
PRICES = {"albatross": 210, "heron": 180, "ostrich": 95}
TIMEOUT = timedelta(seconds=60)


class Airlines:
    def __init__(self) -> None:
        self._asked = 0
        self.most_at_once = 0

    @activity.defn
    async def ask_price(self, airline: str) -> int:
        self._asked += 1
        self.most_at_once = max(self.most_at_once, self._asked)
        try:
            await asyncio.sleep(0.05 if airline != "ostrich" else 0.3)  # ostriches answer late
        finally:
            self._asked -= 1
        return PRICES[airline]


@workflow.defn
class CheapestFlight:
    """All at once: `gather` gives the answers in the order of the questions, however they arrive."""

    @workflow.run
    async def run(self, airlines: list[str]) -> str:
        prices = await asyncio.gather(
            *[
                workflow.execute_activity_method(Airlines.ask_price, airline, start_to_close_timeout=TIMEOUT)
                for airline in airlines
            ]
        )
        price, airline = min(zip(prices, airlines, strict=True))
        return f"the cheapest is {airline} for {price}"


@workflow.defn
class FirstAnswer:
    """Who answers first; the others need not go on. `workflow.wait` is `asyncio.wait` with lists, which replay."""

    @workflow.run
    async def run(self, airlines: list[str]) -> str:
        questions = {
            workflow.start_activity_method(Airlines.ask_price, airline, start_to_close_timeout=TIMEOUT): airline
            for airline in airlines
        }
        answered, others = await workflow.wait(questions, return_when=asyncio.FIRST_COMPLETED)
        for question in others:
            question.cancel()
        await asyncio.gather(
            *others, return_exceptions=True
        )  # each has an ActivityError, whose cause is a CancelledError
        return f"the first answer came from {questions[answered[0]]}"


@workflow.defn
class TwoAtATime:
    """No more than two at once, for those who would be annoyed: an ordinary semaphore."""

    @workflow.run
    async def run(self, airlines: list[str]) -> str:
        lines = asyncio.Semaphore(2)

        async def ask(airline: str) -> int:
            async with lines:
                return await workflow.execute_activity_method(
                    Airlines.ask_price, airline, start_to_close_timeout=TIMEOUT
                )

        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(ask(airline)) for airline in airlines]
        return f"on average {sum(each.result() for each in asking) // len(asking)}"


async def main() -> None:
    async with await Client.connect() as client:
        for way, which in (
            (CheapestFlight.run, ["albatross", "heron", "ostrich"]),
            (FirstAnswer.run, ["ostrich", "heron"]),
            (TwoAtATime.run, ["albatross", "heron", "albatross", "heron"]),
        ):
            airlines = Airlines()
            async with Worker(
                client,
                task_queue=TASK_QUEUE,
                workflows=[CheapestFlight, FirstAnswer, TwoAtATime],
                activities=[airlines.ask_price],
            ):
                result = await client.execute_workflow(way, which, id=f"flight-{uuid.uuid4()}", task_queue=TASK_QUEUE)
            print(f"{result}; asked {airlines.most_at_once} at once")


if __name__ == "__main__":
    asyncio.run(main())
