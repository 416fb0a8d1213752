"""Random workflows: programs as plain data, the workflow that interprets them, and a model of what comes of them.

A step is a list, its kind first. ``key`` numbers the activities of a program:

- ``["act", key, value, failures, ms]``: an activity that fails so often, takes so long, and answers ``value``
- ``["once", key, value]``: one attempt at most; ``value``, or ``"lost"``
- ``["bad", key]``: an activity that fails for good; ``"failed"``
- ``["slow", key, value]``: its first attempt outlasts its timeout; ``value``
- ``["beat", key, beats]``: an activity with heartbeats; how many
- ``["nap", ms]``: a timer; ``ms``
- ``["wait", n]``: until n signals are there; those, in order
- ``["late", ms, key]``: a timeout around an activity that does not end; ``"late"``
- ``["seq", steps]`` and ``["par", steps]``: the answers of the steps
- ``["saga", keys]``: do these, then fail: what was undone, in the order of undoing
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol

import msgspec

from durable import RetryPolicy, activity, workflow
from durable.exceptions import ActivityError, ApplicationError, is_cancelled_exception

Step = list[Any]

FOR_EVER = 100_000.0
QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=50), maximum_interval=timedelta(milliseconds=400))
ONCE = RetryPolicy(maximum_attempts=1)
CLEANUP_KEY = 0


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """One workflow. ``ending``: "return", "fail", or, when somebody cancels it, "clean" up before the end."""

    steps: list[Step]
    ending: str
    signals_read: int
    keys: int


class Ledger(Protocol):
    """Where the simulated world notes what activities really did."""

    def begun(self, workflow_id: str, key: int, attempt: int) -> None: ...

    def ended(self, workflow_id: str, key: int, attempt: int) -> None: ...


class Author:
    """Writes programs. The same chance writes the same program."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._keys = CLEANUP_KEY
        self._signals = 0

    def program(self) -> Program:
        steps = [self._step(2) for _ in range(self._chance.randint(1, 4))]
        ending = self._chance.choices(["return", "fail", "clean"], [6, 1, 3])[0]
        return Program(steps=steps, ending=ending, signals_read=self._signals, keys=self._keys)

    def _key(self) -> int:
        self._keys += 1
        return self._keys

    def _step(self, depth: int) -> Step:
        chance = self._chance
        kinds = ["act", "once", "bad", "slow", "beat", "nap", "wait", "late", "saga", "seq", "par"]
        weights = [8, 2, 2, 1, 1, 4, 3, 2, 2, 2, 4]
        kind = chance.choices(kinds if depth else kinds[:-2], weights if depth else weights[:-2])[0]
        match kind:
            case "act":
                return [kind, self._key(), chance.randrange(100), chance.choice([0, 0, 0, 1, 2]), chance.randrange(300)]
            case "once" | "slow":
                return [kind, self._key(), chance.randrange(100)]
            case "bad":
                return [kind, self._key()]
            case "beat":
                return [kind, self._key(), chance.randint(1, 6)]
            case "nap":
                return [kind, chance.choice([0, 1, 20, 300, 1500])]
            case "wait":
                self._signals += chance.randint(1, 2)
                return [kind, self._signals]
            case "late":
                return [kind, chance.choice([1, 50, 400, 1500]), self._key()]
            case "saga":
                return [kind, [self._key() for _ in range(chance.randint(1, 3))], self._key()]
            case _:
                return [kind, [self._step(depth - 1) for _ in range(chance.randint(1, 4))]]


# The model. ---------------------------------------------------------------------------------------------------------


def expected(step: Step) -> Any:
    """What a step answers, whatever goes wrong underneath."""
    match step:
        case ["act", _, value, _, _] | ["slow", _, value] | ["beat", _, value]:
            return value
        case ["once", _, value]:
            return {"one of": [value, "lost"]}
        case ["bad", _]:
            return "failed"
        case ["nap", ms]:
            return ms
        case ["wait", n]:
            return list(range(n))
        case ["late", *_]:
            return "late"
        case ["saga", keys, _]:
            return keys[::-1]
        case ["seq" | "par", steps]:
            return [expected(each) for each in steps]
        case _:
            raise ValueError(f"no such step: {step}")


def fits(answer: Any, model: Any) -> bool:
    """Is ``answer`` one that the model allows?"""
    if isinstance(model, dict):
        return answer in model["one of"]
    if isinstance(model, list):
        return (
            isinstance(answer, list)
            and len(answer) == len(model)
            and all(fits(each, of) for each, of in zip(answer, model, strict=True))
        )
    return bool(answer == model)


def at_most_once_keys(step: Step) -> list[int]:
    """The activities of a step that may be attempted once only."""
    match step:
        case ["once", key, _]:
            return [key]
        case ["seq" | "par", steps]:
            return [key for each in steps for key in at_most_once_keys(each)]
        case _:
            return []


# The workflow. ------------------------------------------------------------------------------------------------------


@workflow.defn(name="Interpreter")
class Interpreter:
    def __init__(self) -> None:
        self._read: list[int] = []

    @workflow.run
    async def run(self, steps: list[Any], ending: str) -> list[Any]:
        try:
            answers = [await self._do(step) for step in steps]
        except BaseException as error:
            if ending == "clean" and is_cancelled_exception(error):
                await act(CLEANUP_KEY, 0, 0, 0)
            raise
        if ending == "fail":
            raise ApplicationError("as written", type="AsWritten")
        return answers

    @workflow.signal
    def put(self, number: int) -> None:
        self._read.append(number)

    @workflow.query
    def read(self) -> list[int]:
        return self._read

    async def _do(self, step: Step) -> Any:
        match step:
            case ["act", key, value, failures, ms]:
                return await act(key, value, failures, ms)
            case ["once", key, value]:
                return await self._once(key, value)
            case ["bad", key]:
                return await self._bad(key)
            case ["slow", key, value]:
                return await workflow.execute_activity(
                    slow, args=[key, value], start_to_close_timeout=timedelta(milliseconds=400), retry_policy=QUICKLY
                )
            case ["beat", key, beats]:
                return await workflow.execute_activity(
                    beat,
                    args=[key, beats],
                    heartbeat_timeout=timedelta(milliseconds=600),
                    start_to_close_timeout=timedelta(seconds=10),
                    retry_policy=QUICKLY,
                )
            case ["nap", ms]:
                await workflow.sleep(ms / 1000)
                return ms
            case ["wait", n]:
                await workflow.wait_condition(lambda: len(self._read) >= n)
                return self._read[:n]
            case ["late", ms, key]:
                return await self._late(ms, key)
            case ["saga", keys, key]:
                return await self._saga(keys, key)
            case ["seq", steps]:
                return [await self._do(each) for each in steps]
            case ["par", steps]:
                return list(await asyncio.gather(*(self._do(each) for each in steps)))
            case _:
                raise ValueError(f"no such step: {step}")

    async def _once(self, key: int, value: int) -> Any:
        try:
            return await workflow.execute_activity(
                act_once, args=[key, value], start_to_close_timeout=timedelta(seconds=5), retry_policy=ONCE
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return "lost"

    async def _bad(self, key: int) -> str:
        try:
            await bad(key)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
        return "failed"

    async def _late(self, ms: int, key: int) -> str:
        try:
            async with asyncio.timeout(ms / 1000):
                await hang(key)
        except TimeoutError:
            return "late"
        return "an activity that does not end has ended"

    async def _saga(self, keys: list[int], key: int) -> list[int]:
        undone: list[int] = []

        async def undo(done: int) -> None:
            await act(-done, 0, 0, 10)
            undone.append(done)

        try:
            async with workflow.saga() as saga:
                for each in keys:
                    await act(each, 0, 0, 10)
                    saga.compensate_with(undo, each)
                await bad(key)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
        return undone


# Activities. --------------------------------------------------------------------------------------------------------


class _Attempt:
    """What an activity notes in the ledger of its world."""

    def __init__(self, key: int) -> None:
        info = activity.info()
        assert info.workflow_id is not None
        self._of = (info.workflow_id, key, info.attempt)
        self.number = info.attempt
        loop: Any = asyncio.get_running_loop()
        self._ledger: Ledger = loop.ledger

    def __enter__(self) -> _Attempt:
        self._ledger.begun(*self._of)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._ledger.ended(*self._of)


@activity.defn(retry_policy=QUICKLY)
async def act(key: int, value: int, failures: int, ms: int) -> int:
    with _Attempt(key) as attempt:
        await asyncio.sleep(ms / 1000)
        if attempt.number <= failures:
            raise ValueError(f"attempt {attempt.number} fails")
        return value


@activity.defn
async def act_once(key: int, value: int) -> int:
    with _Attempt(key):
        await asyncio.sleep(0.2)
        return value


@activity.defn
async def bad(key: int) -> None:
    with _Attempt(key):
        raise ApplicationError("for good", non_retryable=True)


@activity.defn
async def slow(key: int, value: int) -> int:
    with _Attempt(key) as attempt:
        if attempt.number == 1:
            await asyncio.sleep(FOR_EVER)
        return value


@activity.defn
async def beat(key: int, beats: int) -> int:
    with _Attempt(key):
        done = activity.info().heartbeat_details
        for number in range(done[0] if done else 0, beats):
            activity.heartbeat(number)
            await asyncio.sleep(0.3)
        return beats


@activity.defn
async def hang(key: int) -> None:
    with _Attempt(key):
        await asyncio.sleep(FOR_EVER)


ACTIVITIES: list[Callable[..., Any]] = [act, act_once, bad, slow, beat, hang]
