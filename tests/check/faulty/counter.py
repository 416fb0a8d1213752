"""A counter of the module."""

# ruff: noqa
from durable import activity, workflow


count = 0


@workflow.defn
async def next_number() -> int:
    global count
    count += 1  # DUR203
    return count
