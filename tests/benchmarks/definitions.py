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


@activity.defn
async def echo(text: str) -> str:
    return text


@workflow.defn
async def echo_workflow(text: str) -> str:
    return await echo(text)


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


@workflow.defn
class Counted:
    """It ends when so many signals have come."""

    def __init__(self) -> None:
        self._come = 0
        self._sum = 0

    @workflow.run
    async def run(self, count: int) -> int:
        await workflow.wait_condition(lambda: self._come == count)
        return self._sum

    @workflow.signal
    def one(self, number: int) -> None:
        self._come += 1
        self._sum += number


WORKFLOWS: list[Any] = [one_activity, in_sequence, all_at_once, echo_workflow, sleeper, Parked, Counted]
ACTIVITIES: list[Any] = [trivial, echo]
