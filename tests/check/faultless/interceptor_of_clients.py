"""A module that imports what it only uses elsewhere."""

# ruff: noqa
import asyncio
import time

from durable import Client

from durable import activity, workflow


@workflow.defn
async def hello() -> str:
    return "hello"


async def start() -> float:
    began = time.monotonic()
    async with await Client.connect("sqlite://") as client:
        await client.start_workflow(hello, id="x")
    while True:
        await asyncio.sleep(1)
        if time.monotonic() > began + 10:
            return time.monotonic() - began
