"""A query asks a workflow how far it is, while it runs and long after: it changes nothing, and leaves no trace.

    python samples/hello_query.py

copies four reels of an archive, and asks how far it is: in the middle, and after the end.
"""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client, WorkflowQueryFailedError
from durable.worker import Worker

TASK_QUEUE = "archive"


@dataclass(frozen=True)
class Progress:
    done: int
    of: int


class Machine:
    def __init__(self) -> None:
        self.third = asyncio.Event()
        self.lunch_is_over = asyncio.Event()

    @activity.defn
    async def copy(self, reel: str) -> None:
        if reel == "c":
            self.third.set()
            await self.lunch_is_over.wait()


@workflow.defn
class CopyArchive:
    @workflow.init
    def __init__(self, reels: list[str]) -> None:
        """Takes what `run` takes, so that a query that comes before its first step has something to say."""
        self._reels = reels
        self._copied: list[str] = []

    @workflow.run
    async def run(self, reels: list[str]) -> int:
        for reel in reels:
            await workflow.execute_activity_method(Machine.copy, reel, start_to_close_timeout=timedelta(minutes=5))
            self._copied.append(reel)
        return len(self._copied)

    @workflow.query
    def progress(self) -> Progress:
        return Progress(len(self._copied), len(self._reels))

    @workflow.query(name="is-copied")
    def is_copied(self, reel: str) -> bool:
        if reel not in self._reels:
            raise ValueError(f"there is no reel {reel}")
        return reel in self._copied


async def main() -> None:
    machine = Machine()
    async with await Client.connect() as client:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[CopyArchive], activities=[machine.copy]):
            handle = await client.start_workflow(
                CopyArchive.run, ["a", "b", "c", "d"], id=f"archive-{uuid.uuid4()}", task_queue=TASK_QUEUE
            )
            await machine.third.wait()
            print(await handle.query(CopyArchive.progress))
            print(f"b: {await handle.query(CopyArchive.is_copied, 'b')}, d: {await handle.query('is-copied', 'd')}")
            try:
                await handle.query(CopyArchive.is_copied, "z")
            except WorkflowQueryFailedError as error:
                print(f"z: {error}")
            machine.lunch_is_over.set()
            await handle.result()
            # The run is over; its history is replayed to answer.
            print(await handle.query(CopyArchive.progress))


if __name__ == "__main__":
    asyncio.run(main())
