"""An activity that nobody awaits, and a sleep."""

# ruff: noqa
import asyncio

from durable import activity, workflow


@activity.defn
async def charge(order: str) -> str:
    return order


@workflow.defn
async def pay(order: str) -> None:
    charge(order)  # DUR303
    asyncio.sleep(1)  # DUR303
