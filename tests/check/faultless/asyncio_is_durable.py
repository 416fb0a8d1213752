"""Ordinary asyncio."""

# ruff: noqa
import asyncio

from durable import activity, workflow


@activity.defn
async def charge(order: str) -> str:
    return order


@workflow.defn
async def both(orders: list[str]) -> list[str]:
    lock, done, queue = asyncio.Lock(), asyncio.Event(), asyncio.Queue[str]()
    async with lock, asyncio.timeout(60), asyncio.TaskGroup() as group:
        tasks = [group.create_task(charge(order)) for order in orders]
        done.set()
        await asyncio.sleep(1)
    await asyncio.wait_for(done.wait(), 5)
    await queue.put("x")
    return [task.result() for task in tasks] + await asyncio.gather(*map(charge, orders)) + [await queue.get()]
