"""Dicts have the order in which they were filled."""

# ruff: noqa
from durable import activity, workflow


@activity.defn
async def charge(order: str) -> str:
    return order


@workflow.defn
async def pay_all(orders: dict[str, int]) -> list[str]:
    paid = []
    for order in orders:
        paid.append(await charge(order))
    return list(dict.fromkeys(paid))
