"""A workflow outlives its process: press Ctrl-C while it waits, start this file again, and it goes on."""

import asyncio
import contextlib

from durable import Client, Worker, activity, workflow
from durable.common import WorkflowIDConflictPolicy


@activity.defn
async def say(text: str) -> None:
    print(text, flush=True)


@workflow.defn
async def hello(name: str) -> str:
    await say(f"Hello, {name}! Now I wait for five seconds; press Ctrl-C, and start me again.")
    await workflow.sleep(5)
    return f"Goodbye, {name}."


async def main() -> None:
    async with await Client.connect() as client, Worker(client, workflows=[hello], activities=[say]):
        existing = WorkflowIDConflictPolicy.USE_EXISTING  # is "hello" still open? Then wait for that one.
        print(await client.execute_workflow(hello, "world", id="hello", id_conflict_policy=existing))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
