"""Commands in the order of a set."""

# ruff: noqa
from durable import activity, workflow


@activity.defn
async def charge(order: str) -> str:
    return order


@workflow.defn
async def pay_all(orders: list[str]) -> None:
    for order in set(orders):  # DUR201
        await charge(order)
