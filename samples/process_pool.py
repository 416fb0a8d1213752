"""Work that would keep Python busy belongs into processes: a sync activity on a process pool, heartbeats included.

    python samples/process_pool.py

counts the primes below a number, in parts, one process each; the workflow and other activities are not held up.
"""

import asyncio
import multiprocessing
import os
import uuid
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client
from durable.worker import SharedStateManager, Worker

TASK_QUEUE = "primes"


@dataclass(frozen=True)
class Part:
    first: int
    last: int


@dataclass(frozen=True)
class Found:
    primes: int
    by: int
    """The process that has counted."""


@activity.defn
def count_primes(part: Part) -> Found:
    """A function of the module's top level: that is what another process can find by its name."""
    primes = 0
    for number in range(max(2, part.first), part.last):
        primes += all(number % divisor for divisor in range(2, int(number**0.5) + 1))
        if number % 1000 == 0:
            activity.heartbeat(number)
            if activity.is_cancelled():  # nothing is raised in another process: who works long looks now and then
                break
    return Found(primes, os.getpid())


@workflow.defn
class CountPrimes:
    @workflow.run
    async def run(self, below: int, parts: int) -> list[Found]:
        size = below // parts
        return await asyncio.gather(
            *[
                workflow.execute_activity(
                    count_primes,
                    Part(first, first + size),
                    start_to_close_timeout=timedelta(minutes=5),
                    heartbeat_timeout=timedelta(seconds=20),
                )
                for first in range(0, below, size)
            ]
        )


async def main() -> None:
    # "spawn": the processes are new ones, not copies of this one, in which threads and connections are.
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(2, mp_context=context) as pool:
        async with await Client.connect() as client:
            async with Worker(
                client,
                task_queue=TASK_QUEUE,
                workflows=[CountPrimes],
                activities=[count_primes],
                activity_executor=pool,
                max_concurrent_activities=2,
                shared_state_manager=SharedStateManager.create_from_multiprocessing(manager),
            ):
                found = await client.execute_workflow(
                    CountPrimes.run, args=[20_000, 4], id=f"primes-{uuid.uuid4()}", task_queue=TASK_QUEUE
                )
    print(f"{sum(each.primes for each in found)} primes below 20000")
    print(f"counted in this process: {os.getpid() in {each.by for each in found}}")


if __name__ == "__main__":
    asyncio.run(main())
