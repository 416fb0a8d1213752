"""A long activity tells how far it is with heartbeats: silence ends the attempt, and the next one goes on from there.

    python samples/heartbeats.py

copies ten tapes on a bad night: the first attempt fails at the fifth tape, the second hangs at the eighth.
"""

import asyncio
import uuid
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client
from durable.common import RetryPolicy
from durable.worker import Worker

TASK_QUEUE = "tapes"


class Library:
    def __init__(self) -> None:
        self.copied: list[int] = []

    @activity.defn
    async def copy_tapes(self, count: int) -> str:
        """What the last heartbeat of the attempts before has said is in the next attempt's info."""
        me = activity.info()
        done = me.heartbeat_details[0] if me.heartbeat_details else 0
        print(f"attempt {me.attempt} begins after tape {done}", flush=True)
        for tape in range(done + 1, count + 1):
            if me.attempt == 1 and tape == 5:
                raise OSError("the tape is stuck")
            if me.attempt == 2 and tape == 8:
                await asyncio.Event().wait()  # hangs, without a word
            self.copied.append(tape)
            activity.heartbeat(tape)  # cheap: only now and then is one written
            await asyncio.sleep(0.01)
        return f"{count} tapes in {me.attempt} attempts"


@workflow.defn
class CopyLibrary:
    @workflow.run
    async def run(self, count: int) -> str:
        return await workflow.execute_activity_method(
            Library.copy_tapes,
            count,
            start_to_close_timeout=timedelta(hours=8),  # a whole night, if need be, but …
            heartbeat_timeout=timedelta(milliseconds=300),  # … silence is noticed soon
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=20)),
        )


async def main() -> None:
    library = Library()
    async with await Client.connect() as client:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[CopyLibrary], activities=[library.copy_tapes]):
            print(await client.execute_workflow(CopyLibrary.run, 10, id=f"tapes-{uuid.uuid4()}", task_queue=TASK_QUEUE))
    print(f"copied: {library.copied}")


if __name__ == "__main__":
    asyncio.run(main())
