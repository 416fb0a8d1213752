"""A new id for each execution of the code."""

# ruff: noqa
import uuid

from durable import activity, workflow


@activity.defn
async def charge(order: str) -> str:
    return order


@workflow.defn
async def pay() -> str:
    return await charge(str(uuid.uuid4()))  # DUR104
