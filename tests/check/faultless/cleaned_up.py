"""Cancellation is seen, and goes on."""

# ruff: noqa
import asyncio

from durable import activity, workflow


@activity.defn
async def charge(order: str) -> str:
    return order


@workflow.defn
async def pay(order: str) -> str:
    try:
        return await charge(order)
    except asyncio.CancelledError:
        await asyncio.shield(charge("refund"))
        raise
    except BaseException as error:
        workflow.logger.info("failed: %s", error)
        raise
