"""Work in a thread."""

# ruff: noqa
import asyncio

from durable import activity, workflow


def work() -> int:
    return 1


@workflow.defn
async def heavy() -> int:
    return await asyncio.to_thread(work)  # DUR109
