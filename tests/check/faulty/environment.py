"""The environment decides."""

# ruff: noqa
import os

from durable import activity, workflow


@activity.defn
async def charge(order: str) -> str:
    return order


@workflow.defn
async def pay(order: str) -> str:
    if os.environ.get("DRY_RUN"):  # DUR111
        return "nothing"
    return await charge(order)
