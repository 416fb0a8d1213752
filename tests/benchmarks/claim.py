"""What a claim costs that finds one run to do: with few timers pending, and with many."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from durable import Client
from durable.history.store import Store
from durable.history.transition import Claim, WorkerInfo
from tests.benchmarks import bulk
from tests.benchmarks.definitions import one_activity, sleeper
from tests.benchmarks.figures import Sizes
from tests.benchmarks.meters import in_flight, percentile
from tests.benchmarks.workloads import running

A_DAY_S = 86_400.0
QUEUE = "default"
A_WHILE_US = 3_600_000_000


async def measure(sizes: Sizes, url: str) -> dict[str, float]:
    """Two databases, asked in turn: nearly all of a claim is one commit, and no disk is as fast at all times.

    The timers are those of a tenth as many runs as there are few timers.
    """
    async with bulk.another(url, "many") as other:
        for place, timers in ((url, sizes.few_timers), (other, sizes.many_timers)):
            asleep = await sleepers(place, sizes.few_timers // 10)
            await bulk.execute(place, bulk.timers(asleep, timers, asleep))
        async with claiming(url, sizes.claims, "few") as few, claiming(other, sizes.claims, "many") as many:
            times = [(await few(), await many()) for _ in range(sizes.claims)]
    few_ms, many_ms = (percentile(list(each), 50) for each in zip(*times, strict=True))
    return {"few_ms": few_ms, "many_ms": many_ms, "ratio": many_ms / few_ms}


async def sleepers(url: str, count: int) -> int:
    """Runs that sleep for a day, one timer each."""
    count = max(1, count)
    async with running(url) as client:

        async def start(number: int) -> None:
            await client.start_workflow(sleeper, A_DAY_S, id=f"asleep-{number}")

        await in_flight(start, count, count)
    return count


async def claims(url: str, count: int, name: str) -> float:
    """Milliseconds, p50, of claims that take one new run each."""
    async with claiming(url, count, name) as one:
        return percentile([await one() for _ in range(count)], 50)


@asynccontextmanager
async def claiming(url: str, count: int, name: str) -> AsyncIterator[Callable[[], Awaitable[float]]]:
    """So many new runs; each call claims one of them, and tells in how many milliseconds."""
    async with await Client.connect(url) as client:
        for number in range(count):
            await client.start_workflow(one_activity, number, id=f"{name}-{number}", task_queue="claimed")
        store = client.database.store
        me = await registered(store)
        busy: set[str] = set()
        wanted = Claim(
            worker_id=me,
            namespace="default",
            workflow_queues=("claimed", QUEUE),
            activity_queues=("claimed", QUEUE),
            max_runs=1,
            max_activities=1,
            cached={},
            busy=busy,
        )

        async def one() -> float:
            began = time.perf_counter()
            claimed = await store.claim(wanted)
            took_ms = 1000 * (time.perf_counter() - began)
            assert len(claimed.runs) == 1
            busy.add(claimed.runs[0].run.run_id)
            return took_ms

        yield one
        for number in range(count):
            await client.get_workflow_handle(f"{name}-{number}").terminate()


async def registered(store: Store) -> str:
    """A worker that nobody takes for dead."""
    worker = WorkerInfo(
        worker_id=store.new_id(),
        namespace="default",
        identity="bench",
        host=socket.gethostname(),
        pid=os.getpid(),
        lease_us=A_WHILE_US,
    )
    await store.register(worker)
    return worker.worker_id
