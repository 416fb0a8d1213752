"""Dynamic definitions take whatever has no other name: workflows, activities and signals that only the data know.

    python samples/dynamic.py

cooks by recipes that are no code at all.
"""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client
from durable.common import RawValue
from durable.worker import Worker

TASK_QUEUE = "kitchen"
RECIPES = {"soup": ["chop carrots", "boil carrots"], "toast": ["roast bread", "butter bread"]}


@activity.defn
async def boil(what: str) -> str:
    """A name of its own goes before any dynamic one."""
    return f"{what} boiled for 20 minutes"


@activity.defn(dynamic=True)
async def do_somehow(args: Sequence[RawValue]) -> str:
    what = activity.payload_converter().from_payload(args[0].payload, str)
    return f"{activity.info().activity_type} {what}"


@workflow.defn(dynamic=True)
class Cook:
    """Its type is the dish; what it was given comes undecoded, since nobody knows what it is."""

    def __init__(self) -> None:
        self._extras: list[str] = []

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> list[str]:
        guests = workflow.payload_converter().from_payload(args[0].payload, int)
        done = [f"for {guests}"]
        for step in RECIPES[workflow.info().workflow_type]:
            name, what = step.split()
            done.append(
                await workflow.execute_activity(
                    name, what, result_type=str, start_to_close_timeout=timedelta(minutes=1)
                )
            )
        return done + self._extras

    @workflow.signal(dynamic=True)
    def extra(self, name: str, args: Sequence[RawValue]) -> None:
        """Any signal that has no handler of its own: its name is what is wanted."""
        self._extras.append(f"{name}: {workflow.payload_converter().from_payload(args[0].payload, str)}")


async def main() -> None:
    async with await Client.connect() as client:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[Cook], activities=[boil, do_somehow]):
            for dish in RECIPES:
                handle = await client.start_workflow(
                    dish,
                    4,
                    id=f"{dish}-{uuid.uuid4()}",
                    task_queue=TASK_QUEUE,
                    start_signal="salt",
                    start_signal_args=["a pinch"],
                )
                print(f"{dish}: {', '.join(await handle.result())}")


if __name__ == "__main__":
    asyncio.run(main())
