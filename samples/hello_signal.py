"""Signals as a queue: they are told in order, each once, and wait until the workflow has time to read them.

    python samples/hello_signal.py

runs a bakery's counter twice: as a class with a handler, and as a function that receives.
"""

import asyncio
import uuid

from durable import workflow
from durable.client import Client
from durable.worker import Worker

TASK_QUEUE = "bakery"


@workflow.defn
class Counter:
    """Temporal's form: the handler keeps what comes, the run method reads it."""

    def __init__(self) -> None:
        self._orders: asyncio.Queue[str] = asyncio.Queue()
        self._closing = False

    @workflow.run
    async def run(self) -> list[str]:
        served = []
        while True:
            await workflow.wait_condition(lambda: not self._orders.empty() or self._closing)
            while not self._orders.empty():
                served.append(self._orders.get_nowait())
            if self._closing:
                return served

    @workflow.signal
    def order(self, bread: str) -> None:
        self._orders.put_nowait(bread)

    @workflow.signal
    def close(self) -> None:
        self._closing = True


@workflow.defn
async def counter() -> list[str]:
    """The same with `workflow.receive`: what nobody has received yet waits. None is the last thing that comes."""
    served = []
    while (order := await workflow.receive("order", str | None)) is not None:
        served.append(order)
    return served


async def main() -> None:
    async with await Client.connect() as client:
        # The first order opens the counter. No worker runs yet: what is sent is kept all the same.
        by_class = await client.start_workflow(
            Counter.run,
            id=f"class-{uuid.uuid4()}",
            task_queue=TASK_QUEUE,
            start_signal="order",
            start_signal_args=["rye"],
        )
        by_function = await client.start_workflow(
            counter,
            id=f"function-{uuid.uuid4()}",
            task_queue=TASK_QUEUE,
            start_signal="order",
            start_signal_args=["rye"],
        )
        for bread in ("wheat", "spelt"):
            await by_class.signal(Counter.order, bread)
            await by_function.signal("order", bread)
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[Counter, counter]):
            await by_class.signal(Counter.order, "oats")
            await by_class.signal(Counter.close)
            await by_function.signal("order", "oats")
            await by_function.signal("order", None)
            print(await by_class.result())
            print(await by_function.result())


if __name__ == "__main__":
    asyncio.run(main())
