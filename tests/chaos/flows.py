"""The workflow that lives through the chaos, and its activities, which note every attempt in a ledger of their own."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from durable import RetryPolicy, activity, workflow
from durable.exceptions import ActivityError, TimeoutError

LEDGER = "CHAOS_LEDGER"
LOST = -1
"""The answer of an activity whose attempts were used up by deaths."""
FEW_ATTEMPTS = 4

_soon = {"initial_interval": timedelta(milliseconds=20), "maximum_interval": timedelta(milliseconds=200)}
SOON = RetryPolicy(**_soon)
FEW = RetryPolicy(**_soon, maximum_attempts=FEW_ATTEMPTS)
ONCE = RetryPolicy(maximum_attempts=1)


class Note(NamedTuple):
    """A line of the ledger: an attempt has begun, or has had its effect (``done``)."""

    workflow_id: str
    step: str
    attempt: int
    pid: int
    done: bool


def note(step: str, *, done: bool) -> None:
    """One write that appends: what a process has noted stays, and is whole, whenever it is killed."""
    info = activity.info()
    line = f"{info.workflow_id} {step} {info.attempt} {os.getpid()} {int(done)}\n"
    ledger = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(ledger, line.encode())
    finally:
        os.close(ledger)


def read_ledger(path: Path) -> list[Note]:
    lines = [line.split() for line in path.read_text().splitlines()]
    return [Note(id, step, int(attempt), int(pid), done == "1") for id, step, attempt, pid, done in lines]


def pause(number: int) -> float:
    """Seconds: some attempts are short, some are long enough to be met by a death."""
    return (number * 7 % 11) / 100


@activity.defn(retry_policy=SOON)
async def begin(number: int) -> int:
    note("begin", done=False)
    await asyncio.sleep(pause(number))
    note("begin", done=True)
    return number + 1


@activity.defn(retry_policy=SOON)
async def fail_first(number: int) -> int:
    note("fail_first", done=False)
    if activity.info().attempt == 1:
        raise ConnectionError("nobody answers")
    note("fail_first", done=True)
    return number + 2


@activity.defn(retry_policy=FEW)
def in_thread(number: int) -> int:
    note("in_thread", done=False)
    time.sleep(pause(number + 1))
    note("in_thread", done=True)
    return number + 3


@activity.defn(retry_policy=ONCE)
async def only_once(number: int) -> int:
    note("only_once", done=False)
    await asyncio.sleep(pause(number + 2))
    note("only_once", done=True)
    return number + 4


@activity.defn(retry_policy=SOON)
async def finish(number: int) -> int:
    note("finish", done=False)
    await asyncio.sleep(pause(number + 3))
    note("finish", done=True)
    return number + 5


@dataclass(frozen=True)
class Step:
    """What an activity must answer to ``number``: that and ``adds``, or LOST after so many attempts (0: never)."""

    adds: int
    attempts_max: int


STEPS = {
    "begin": Step(1, 0),
    "fail_first": Step(2, 0),
    "in_thread": Step(3, FEW_ATTEMPTS),
    "only_once": Step(4, 1),
    "finish": Step(5, 0),
}


async def or_lost(answer: Awaitable[int]) -> int:
    try:
        return await answer
    except ActivityError as error:
        if not isinstance(error.cause, TimeoutError):
            raise
        return LOST


@workflow.defn
class Trip:
    """Five activities, a timer and a signal."""

    def __init__(self) -> None:
        self._heard: list[int] = []

    @workflow.run
    async def run(self, number: int) -> list[int]:
        answers = [await begin(number)]
        both = await asyncio.gather(fail_first(number), or_lost(in_thread(number)))
        await workflow.sleep(timedelta(milliseconds=20 + 50 * (number % 8)))
        answers += [*both, await or_lost(only_once(number))]
        await workflow.wait_condition(lambda: bool(self._heard))
        answers.append(await finish(number))
        return answers + self._heard

    @workflow.signal
    def hear(self, word: int) -> None:
        self._heard.append(word)

    @workflow.query
    def heard(self) -> list[int]:
        return self._heard


WORKFLOWS = (Trip,)
ACTIVITIES = (begin, fail_first, in_thread, only_once, finish)
