"""Coroutines in a set of asyncio's."""

# ruff: noqa
import asyncio

from durable import activity, workflow


@activity.defn
async def charge(order: str) -> str:
    return order


@workflow.defn
async def first(orders: list[str]) -> str:
    for next_one in asyncio.as_completed([charge(order) for order in orders]):  # DUR206
        return await next_one
    return ""
