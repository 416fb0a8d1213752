"""What tests of `durable debug` record and debug: copied to the directory in which the command is started."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from durable import activity, workflow
from durable.exceptions import ApplicationError


@activity.defn
async def charge(order: int) -> str:
    return f"receipt {order}"


async def pay(order: int) -> str:
    tries = 1
    receipt = await charge(order)
    tries += 1
    return receipt


@workflow.defn
async def sell(order: int) -> list[str]:
    label = f"order {order}"
    receipt = await pay(order)
    more = await asyncio.gather(charge(1), pay(2))
    await asyncio.sleep(0.01)
    return [label, receipt, *more]


@workflow.defn
class Box:
    def __init__(self) -> None:
        self.contents: list[int] = []

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: len(self.contents) > 9)

    @workflow.signal
    async def put(self, number: int) -> None:
        doubled = number * 2
        self.contents.append(number)
        try:
            await workflow.sleep(timedelta(hours=1))
            self.contents.append(doubled)
        finally:
            await asyncio.sleep(1)  # code that is dropped here, rather than closed, complains

    @workflow.query
    def so_far(self) -> list[int]:
        return self.contents


def divide(sum: int, by: int) -> float:
    return sum / by


@workflow.defn
async def split(sum: int) -> float:
    receipt = await charge(sum)
    parts = 0
    return divide(len(receipt), parts)


@workflow.defn
async def refuse(order: int) -> None:
    receipt = await charge(order)
    reason = "no stock"
    raise ApplicationError(f"{receipt}: {reason}")
