"""What a workflow costs beside its database: thread hops, encodings, Python calls, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.history import codec, host
from tests.engine.conftest import MakeWorker

WORKFLOWS = 40
IN_FLIGHT = 20


@activity.defn
async def step(number: int) -> dict[str, int]:
    return {"number": number}


@workflow.defn
async def one(number: int) -> dict[str, int]:
    return await step(number)


@workflow.defn
async def many(count: int) -> int:
    for number in range(count):
        await step(number)
    return count


pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


async def crowd(client: Client, prefix: str) -> None:
    """Many workflows, so many at a time."""
    turn = asyncio.Semaphore(IN_FLIGHT)

    async def run(number: int) -> None:
        async with turn:
            await client.execute_workflow(one, number, id=f"{prefix}-{number}")

    await asyncio.gather(*[run(number) for number in range(WORKFLOWS)])


class Calls:
    """Counts the calls of Python functions, in this thread and in those that lanes begin from now on."""

    def __init__(self) -> None:
        self.is_on = False
        self.count = 0

    def __call__(self, _frame: Any, event: str, _argument: Any) -> None:
        if event == "call" and self.is_on:
            self.count += 1

    async def during(self, work: Awaitable[Any]) -> int:
        self.count, self.is_on = 0, True
        try:
            await work
        finally:
            self.is_on = False
        return self.count


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Any:
    calls = Calls()
    serve = host.ThreadLane._serve  # pyright: ignore[reportPrivateUsage]

    def serve_counted(lane: host.ThreadLane) -> None:
        sys.setprofile(calls)
        serve(lane)

    monkeypatch.setattr(host.ThreadLane, "_serve", serve_counted)
    before = sys.getprofile()
    sys.setprofile(calls)
    yield calls
    sys.setprofile(before)


async def test_python_calls_a_workflow(calls: Calls, client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(one, step):
        await crowd(client, "warm")
        spent = await calls.during(crowd(client, "counted"))

    assert 200 < spent / WORKFLOWS < 800


async def test_python_calls_an_activity(calls: Calls, client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(many, step):
        await client.execute_workflow(many, 5, id="warm")
        spent = await calls.during(client.execute_workflow(many, 50, id="counted"))

    assert 200 < spent / 50 < 600


async def test_thread_hops_a_workflow(client: Client, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, each of its two steps is a hop to the code and one to the database; among others they are shared."""
    hops: Counter[str] = Counter()
    lanes: dict[int, str] = {}
    begin, run = host.ThreadLane.__init__, host.ThreadLane.run

    def begin_named(lane: host.ThreadLane, name: str) -> None:
        begin(lane, name)
        lanes[id(lane)] = name

    def run_counted(lane: host.ThreadLane, work: Callable[[], Any], /) -> Any:
        hops[lanes.get(id(lane), "older")] += 1
        return run(lane, work)

    monkeypatch.setattr(host.ThreadLane, "__init__", begin_named)
    monkeypatch.setattr(host.ThreadLane, "run", run_counted)
    async with make_worker(one, step):
        await client.execute_workflow(one, 1, id="warm")
        alone: list[int] = []
        for number in range(5):
            hops.clear()
            await client.execute_workflow(one, number, id=f"alone-{number}")
            alone.append(hops["durable-workflow"])
        hops.clear()
        await crowd(client, "crowd")

    assert min(alone) == 2
    assert hops["durable-workflow"] < WORKFLOWS / 2


async def test_encodings_a_workflow(client: Client, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row of history once; the activity's spec and progress once."""
    encoded: Counter[str] = Counter()
    encode = codec.encode

    def encode_counted(value: Any) -> bytes:
        encoded[type(value).__name__] += 1
        return encode(value)

    monkeypatch.setattr(codec, "encode", encode_counted)
    async with make_worker(one, step):
        await client.execute_workflow(one, 1, id="warm")
        encoded.clear()
        await client.execute_workflow(one, 2, id="counted")

    assert encoded == {"list": 2, "ActivitySpec": 1, "ActivityProgress": 1}


async def test_a_workflow_that_has_ended_leaves_nothing_to_the_garbage_collector(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(one, step):
        await crowd(client, "warm")
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            await crowd(client, "counted")
            gc.collect()
            left = Counter(type(each).__module__ + "." + type(each).__qualname__ for each in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

    ours = {name: count for name, count in left.items() if name.startswith("durable.")}
    # The run that ended last is let go of with the next one.
    assert all(count <= 1 for count in ours.values()), ours
