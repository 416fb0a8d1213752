"""A cron schedule begins a run at each of its times; what one run returns, the next one can take up.

    python samples/hello_cron.py

reads a rain gauge once a second, for two seconds. A real one might say "0 7 * * MON-FRI".
"""

import asyncio
import contextlib
import uuid
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client, WorkflowFailureError
from durable.worker import Worker

TASK_QUEUE = "gauges"


class Gauge:
    def __init__(self) -> None:
        self.totals: list[int] = []
        self.read_twice = asyncio.Event()

    @activity.defn
    async def read(self) -> int:
        return 4

    @activity.defn
    async def publish(self, total: int) -> None:
        self.totals.append(total)
        if len(self.totals) == 2:
            self.read_twice.set()


@workflow.defn
class ReadGauge:
    @workflow.run
    async def run(self) -> int:
        """Runs never overlap: one that takes longer than to the next time leaves that time out."""
        total = workflow.get_last_completion_result(int) if workflow.has_last_completion_result() else 0
        total += await workflow.execute_activity_method(Gauge.read, start_to_close_timeout=timedelta(seconds=10))
        await workflow.execute_activity_method(Gauge.publish, total, start_to_close_timeout=timedelta(seconds=10))
        return total


async def main() -> None:
    gauge = Gauge()
    async with await Client.connect() as client:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[ReadGauge], activities=[gauge.read, gauge.publish]):
            handle = await client.start_workflow(
                ReadGauge.run, id=f"gauge-{uuid.uuid4()}", task_queue=TASK_QUEUE, cron_schedule="@every 1s"
            )
            await gauge.read_twice.wait()
            await handle.cancel()  # the run that is there, or waits for its time, is the last one
            with contextlib.suppress(WorkflowFailureError):
                await handle.result()
    print(f"rain so far: {gauge.totals[:2]}")


if __name__ == "__main__":
    asyncio.run(main())
