"""The hash of a text decides."""

# ruff: noqa
from durable import activity, workflow


@workflow.defn
async def shard(key: str) -> int:
    return hash(key) % 8  # DUR202
