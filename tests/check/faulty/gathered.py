"""What is gathered in the order of a set; a list in that order."""

# ruff: noqa
import asyncio

from durable import activity, workflow


@activity.defn
async def charge(order: str) -> str:
    return order


@workflow.defn
async def pay_all(orders: list[str]) -> list[str]:
    unique = frozenset(orders)
    paid = await asyncio.gather(*(charge(order) for order in unique))  # DUR201
    for order in unique | {"last"}:  # DUR201
        paid.append(order)
    return paid
