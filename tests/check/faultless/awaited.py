"""Coroutines that are awaited later, or become tasks."""

# ruff: noqa
import asyncio

from durable import activity, workflow


@activity.defn
async def charge(order: str) -> str:
    return order


async def helper() -> None:
    await workflow.sleep(1)


@workflow.defn
async def pay(order: str) -> str:
    pending = charge(order)
    task = asyncio.create_task(helper())
    handle = workflow.start_activity(charge, order)
    await task
    return await pending + await handle
