"""A batch of any size in a sliding window: so many children at once, and as soon as one is done the next one begins.

    python samples/sliding_window.py

develops twenty photos, never more than four at once. The batch begins a new run now and then, so that its history
stays short; its children don't notice, and tell whichever run is there that they are done.
"""

import asyncio
import uuid
from dataclasses import dataclass, field
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client
from durable.worker import Worker

TASK_QUEUE = "darkroom"
WINDOW = 4
PER_RUN = 8  # in a real batch a few hundred


@dataclass(frozen=True)
class Batch:
    """What is asked for, and how far the runs before have come."""

    photos: int
    next: int = 0
    under_way: list[int] = field(default_factory=list[int])
    runs: int = 1


class Darkroom:
    def __init__(self) -> None:
        self._now = 0
        self._tray = asyncio.Barrier(WINDOW)  # chemicals are dear: a tray is dipped when it is full
        self.most_at_once = 0

    @activity.defn
    async def develop(self, photo: int) -> None:
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        await self._tray.wait()
        self._now -= 1


@workflow.defn
class Develop:
    @workflow.run
    async def run(self, photo: int, batch_id: str) -> None:
        await workflow.execute_activity_method(Darkroom.develop, photo, start_to_close_timeout=timedelta(minutes=5))
        # By the id alone: the run that has started this child may be over.
        await workflow.get_external_workflow_handle_for(DevelopAll.run, batch_id).signal(DevelopAll.done, photo)


@workflow.defn
class DevelopAll:
    @workflow.init
    def __init__(self, batch: Batch) -> None:
        """A signal may come before the first step of `run`: what is under way has to be known by then."""
        self._under_way = set(batch.under_way)

    @workflow.run
    async def run(self, batch: Batch) -> str:
        me = workflow.info().workflow_id
        end = min(batch.next + PER_RUN, batch.photos)
        for photo in range(batch.next, end):
            await workflow.wait_condition(lambda: len(self._under_way) < WINDOW)
            self._under_way.add(photo)
            await workflow.start_child_workflow(
                Develop.run,
                args=[photo, me],
                id=f"{me}-{photo}",
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,  # it outlives this run
            )
        if end < batch.photos:
            workflow.continue_as_new(Batch(batch.photos, end, sorted(self._under_way), batch.runs + 1))
        await workflow.wait_condition(lambda: not self._under_way)
        return f"{batch.photos} photos in {batch.runs} runs"

    @workflow.signal
    def done(self, photo: int) -> None:
        self._under_way.discard(photo)


async def main() -> None:
    darkroom = Darkroom()
    async with await Client.connect() as client:
        async with Worker(
            client, task_queue=TASK_QUEUE, workflows=[DevelopAll, Develop], activities=[darkroom.develop]
        ):
            print(
                await client.execute_workflow(
                    DevelopAll.run, Batch(photos=20), id=f"photos-{uuid.uuid4()}", task_queue=TASK_QUEUE
                )
            )
    print(f"{darkroom.most_at_once} at once")


if __name__ == "__main__":
    asyncio.run(main())
