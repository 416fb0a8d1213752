"""Work in the loop's executor."""

# ruff: noqa
import asyncio

from durable import activity, workflow


@workflow.defn
async def heavy() -> int:
    return await asyncio.get_running_loop().run_in_executor(None, sum, [1, 2])  # DUR109
