"""Tasks are made in the order of a set."""

# ruff: noqa
import asyncio

from durable import activity, workflow


@activity.defn
async def charge(order: str) -> str:
    return order


@workflow.defn
async def pay_all(orders: set[str]) -> None:
    async with asyncio.TaskGroup() as group:
        for order in orders:  # DUR201
            group.create_task(charge(order))
