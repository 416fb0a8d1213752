"""Sets of tasks have the same order everywhere."""

# ruff: noqa
import asyncio

from durable import activity, workflow


@activity.defn
async def charge(order: str) -> str:
    return order


@workflow.defn
async def race(orders: list[str]) -> list[str]:
    tasks = {asyncio.create_task(charge(order)) for order in orders}
    results = []
    pending: set[asyncio.Task[str]] = tasks
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            results.append(await task)
    for task in tasks:
        results.append(await task)
    for finished in asyncio.as_completed([asyncio.create_task(charge(order)) for order in orders]):
        results.append(await finished)
    return results
