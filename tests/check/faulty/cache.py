"""A cache in the module."""

# ruff: noqa
from durable import activity, workflow


@activity.defn
async def charge(order: str) -> str:
    return order


CACHE: dict[str, str] = {}


@workflow.defn
async def pay(order: str) -> str:
    if order not in CACHE:
        CACHE[order] = await charge(order)  # DUR203
    return CACHE[order]
