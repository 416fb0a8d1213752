"""Worker and starter are two programs that share nothing but a database: each may come and go, or not be there yet.

    python samples/two_processes.py worker             # in one terminal, or in several
    python samples/two_processes.py start rembrandt    # in another one: orders a print, and waits for it

Start before there is a worker, press Ctrl-C on either side, start again: the order stays the same one.
"""

import argparse
import asyncio
import contextlib
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client
from durable.common import WorkflowIDConflictPolicy
from durable.worker import Worker

TASK_QUEUE = "prints"


@activity.defn
async def print_picture(name: str) -> str:
    return f"a print of {name}"


@activity.defn
async def frame(picture: str) -> str:
    return f"{picture}, framed"


@workflow.defn
class OrderPrint:
    @workflow.run
    async def run(self, name: str) -> str:
        picture = await workflow.execute_activity(print_picture, name, start_to_close_timeout=timedelta(minutes=5))
        await workflow.sleep(0.2)  # it has to dry
        return await workflow.execute_activity(frame, picture, start_to_close_timeout=timedelta(minutes=5))


async def work() -> None:
    """What is deployed once or many times: it has the code. What it needs to know of the others is the task queue."""
    async with await Client.connect() as client:
        worker = Worker(client, task_queue=TASK_QUEUE, workflows=[OrderPrint], activities=[print_picture, frame])
        print("the worker runs", flush=True)
        await worker.run()  # until Ctrl-C


async def start(name: str) -> None:
    """What a web server does. It could as well give the name "OrderPrint", and know none of the code."""
    async with await Client.connect() as client:
        handle = await client.start_workflow(
            OrderPrint.run,
            name,
            id=f"print-{name}",
            task_queue=TASK_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        print(f"{handle.id} is ordered", flush=True)
        print(await handle.result())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("worker")
    commands.add_parser("start").add_argument("name")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(work() if arguments.command == "worker" else start(arguments.name))
