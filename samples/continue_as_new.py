"""A workflow that runs for ever begins anew when its history grows long: its state goes over, and no signal is lost.

    python samples/continue_as_new.py

counts the visitors of a museum, each of whom is a signal.
"""

import asyncio
import uuid
from dataclasses import dataclass, replace

from durable import workflow
from durable.client import Client
from durable.worker import Worker

TASK_QUEUE = "museum"
VISITORS = 5000


@dataclass(frozen=True)
class Count:
    """All that the next run has to know."""

    visitors: int = 0
    children: int = 0
    runs: int = 1


@workflow.defn
class Turnstile:
    @workflow.init
    def __init__(self, count: Count) -> None:
        """Signals that the run before has not read come before the first step of `run`: the state is there already."""
        self._count = count
        self._closed = False

    @workflow.run
    async def run(self, count: Count) -> Count:
        await workflow.wait_condition(lambda: self._closed or workflow.info().is_continue_as_new_suggested())
        if not self._closed:
            workflow.continue_as_new(replace(self._count, runs=self._count.runs + 1))
        return self._count

    @workflow.signal
    def enter(self, age: int) -> None:
        count = self._count
        self._count = replace(count, visitors=count.visitors + 1, children=count.children + (age < 12))

    @workflow.signal
    def close(self) -> None:
        self._closed = True


async def main() -> None:
    async with await Client.connect() as client:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[Turnstile]):
            turnstile = await client.start_workflow(
                Turnstile.run, Count(), id=f"turnstile-{uuid.uuid4()}", task_queue=TASK_QUEUE
            )
            # The handle means whatever run of the workflow is the current one.
            await asyncio.gather(*[turnstile.signal(Turnstile.enter, number % 50) for number in range(VISITORS)])
            await turnstile.signal(Turnstile.close)
            count = await turnstile.result()  # of the last run
    print(f"{count.visitors} visitors, {count.children} of them children")
    print(f"counted by {'several runs' if count.runs > 1 else 'one run'}")


if __name__ == "__main__":
    asyncio.run(main())
