"""A worker that is killed in the middle loses nothing: the next one goes on from the history, where the first one was.

    python samples/killed_worker.py

bakes a cake, and kills the worker with SIGKILL while the cake is in the oven. Only that attempt begins again.
"""

import asyncio
import os
import sys
import uuid
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client
from durable.worker import Worker

TASK_QUEUE = "bakery"


@activity.defn
async def do(step: str) -> str:
    attempt = activity.info().attempt
    print(f"{step} (attempt {attempt})", flush=True)
    if step == "bake" and attempt == 1:
        await asyncio.sleep(3600)  # slow enough to be killed meanwhile
    return f"{step}: worker {os.getpid()}"


@workflow.defn
class BakeCake:
    @workflow.run
    async def run(self) -> list[str]:
        done: list[str] = []  # an ordinary variable; its value comes back with the history
        for step in ("mix", "bake", "decorate"):
            # No timeout has to pass until somebody notices: the operating system tells the others of a death.
            done.append(await workflow.execute_activity(do, step, start_to_close_timeout=timedelta(hours=2)))
        return done


async def work() -> None:
    async with await Client.connect() as client:
        await Worker(client, task_queue=TASK_QUEUE, workflows=[BakeCake], activities=[do]).run()


async def new_worker() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, __file__, "worker", stdout=asyncio.subprocess.PIPE)


async def said(worker: asyncio.subprocess.Process) -> str:
    assert worker.stdout is not None
    return (await worker.stdout.readline()).decode().strip()


async def main() -> None:
    async with await Client.connect() as client:
        cake = await client.start_workflow(BakeCake.run, id=f"cake-{uuid.uuid4()}", task_queue=TASK_QUEUE)
        first = await new_worker()
        while not (line := await said(first)).startswith("bake"):
            print(f"first worker: {line}")
        print(f"first worker: {line} - killed")
        first.kill()
        second = await new_worker()
        done = await cake.result()
        for _ in range(2):
            print(f"second worker: {await said(second)}")
        second.terminate()
        await asyncio.gather(first.wait(), second.wait())
        names = {str(first.pid): "the first", str(second.pid): "the second"}
        for step in done:
            what, _, pid = step.rpartition(" ")
            print(f"{what} {names[pid]}")


if __name__ == "__main__":
    asyncio.run(work() if sys.argv[1:] == ["worker"] else main())
