"""The workflows and activities that are measured."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from durable import activity, workflow


@activity.defn
async def trivial(number: int) -> dict[str, int]:
    return {"number": number, "double": 2 * number}


@workflow.defn
async def one_activity(number: int) -> dict[str, int]:
    return await trivial(number)


@workflow.defn
async def in_sequence(count: int) -> int:
    total = 0
    for number in range(count):
        total += (await trivial(number))["number"]
    return total


@workflow.defn
async def all_at_once(count: int) -> int:
    return sum(each["number"] for each in await asyncio.gather(*[trivial(number) for number in range(count)]))


@workflow.defn
async def sleeper(seconds: float) -> None:
    await workflow.sleep(timedelta(seconds=seconds))


@workflow.defn
class Parked:
    """Some activities, then it waits to be told to go on."""

    def __init__(self) -> None:
        self._told = False

    @workflow.run
    async def run(self, activities: int) -> int:
        for number in range(activities):
            await trivial(number)
        await workflow.wait_condition(lambda: self._told)
        return activities

    @workflow.signal
    def go_on(self) -> None:
        self._told = True


WORKFLOWS: list[Any] = [one_activity, in_sequence, all_at_once, sleeper, Parked]
ACTIVITIES = [trivial]
