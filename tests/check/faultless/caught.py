"""Failures are caught; what can't wait may be caught by anything."""

# ruff: noqa
from durable import activity, workflow


@activity.defn
async def charge(order: str) -> str:
    return order


@workflow.defn
async def pay(order: str) -> str:
    try:
        return await charge(order)
    except Exception:
        await workflow.sleep(1)
    try:
        return str(int(order))
    except BaseException:
        return "no number"
