"""A job queue without workflows: a client starts activities by themselves, and a worker has nothing but activities.

    python samples/job_queue.py

asks five times for pictures to be made smaller. The cat is asked for twice, and done once; one picture has no file
behind it, and fails after two attempts; one is not wanted any more.
"""

import asyncio
import uuid
from datetime import timedelta

from durable import Client, RetryPolicy, Worker, activity
from durable.client import ActivityFailureError
from durable.common import ActivityIDConflictPolicy

TWICE = RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=2)


@activity.defn(start_to_close_timeout=timedelta(minutes=1), retry_policy=TWICE)
async def shrink(picture: str) -> str:
    if picture == "lost.png":
        raise FileNotFoundError(picture)
    await asyncio.sleep(3600 if picture == "huge.png" else 0.01)
    return f"{picture} is small now"


async def main() -> None:
    batch = uuid.uuid4().hex[:8]
    existing = ActivityIDConflictPolicy.USE_EXISTING
    async with await Client.connect() as client:
        # No worker runs yet: the jobs wait in the database.
        jobs = [
            await client.start_activity(
                shrink, picture, id=f"{batch}-{picture}", task_queue="pictures", id_conflict_policy=existing
            )
            for picture in ("cat.png", "dog.png", "cat.png", "lost.png", "huge.png")
        ]
        print(f"the second request for the cat is the first one: {jobs[0].run_id == jobs[2].run_id}")
        async with Worker(client, activities=[shrink], task_queue="pictures"):
            await jobs[-1].cancel(reason="not wanted any more")
            for job in jobs:
                try:
                    print(await job.result())
                except ActivityFailureError as failure:
                    print(f"{job.id.removeprefix(f'{batch}-')}: {failure.cause}")
        counted = await client.count_activities("TaskQueue = 'pictures' GROUP BY ExecutionStatus")
        print(f"{counted.count} jobs:", *(f"{group.count} {group.group_values[0]}" for group in counted.groups))
        async for each in client.list_activities("ExecutionStatus = 'Failed'"):
            described = await client.get_activity_handle(each.activity_id).describe()
            print(f"{each.activity_type} failed at attempt {described.attempt}: {await described.last_failure()}")


if __name__ == "__main__":
    asyncio.run(main())
