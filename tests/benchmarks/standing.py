"""What costs without anything happening: the memory of parked runs, an idle worker; and the way back, replay."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import asyncpg

from durable.converter import DataConverter
from durable.history import codec
from durable.worker.rebuild import rebuild
from durable.worker.replay import Environment
from durable.workflow.definition import WorkflowDefinition
from tests.benchmarks.definitions import in_sequence, sleeper
from tests.benchmarks.figures import Sizes
from tests.benchmarks.meters import Cpu, in_flight, resident_kib
from tests.benchmarks.workloads import running

A_DAY_S = 86_400.0
STARTS_AT_ONCE = 200
REPLAYS = 10
"""One takes a tenth of a second, and a processor that has waited for a disk takes longer to get up to speed."""
SETTLE_S = 2.5
"""Longer than the poller's longest wait: what starting the runs set going is over then."""


async def replay(sizes: Sizes, url: str) -> dict[str, float]:
    """Stored rows to a run that can go on: decoded, replayed, compared."""
    async with running(url) as client:
        return {
            "per_s": await _rate(client, sizes.replay_activities),
            "short_per_s": await _rate(client, max(1, sizes.replay_activities // 10)),
        }


async def _rate(client: Any, activities: int) -> float:
    handle = await client.start_workflow(in_sequence, activities, id=f"long-{activities}")
    await handle.result()
    events, elapsed_s = zip(*[await replayed(client, handle) for _ in range(REPLAYS)], strict=True)
    return float(sum(events) / sum(elapsed_s))


async def replayed(client: Any, handle: Any) -> tuple[int, float]:
    """How many events of a workflow `in_sequence` were replayed, in how many seconds, once they were read."""
    rows = await client.database.store.history(handle.result_run_id)
    environment = Environment(namespace="default", converter=DataConverter.default)
    definition = WorkflowDefinition.must_be(in_sequence)
    cpu = Cpu()
    events = codec.decode_history(rows)
    rebuilt = rebuild(definition, handle.result_run_id, events, environment)
    elapsed_s = cpu.elapsed_s
    rebuilt.run.evict()
    return len(events), elapsed_s


async def parked(sizes: Sizes, url: str) -> dict[str, float]:
    """Runs in a sleep of a day, in a worker's memory; then the worker left alone: once to count what it asks, and once
    to see what it costs when nobody counts."""
    with _statements() as (statements, count_no_more):
        return await _parked(sizes, url, statements, count_no_more)


async def _parked(
    sizes: Sizes, url: str, statements: list[None], count_no_more: Callable[[], None]
) -> dict[str, float]:
    async with running(url) as client:

        async def start(number: int) -> None:
            await client.start_workflow(sleeper, A_DAY_S, id=f"parked-{number}")

        before = resident_kib()
        await in_flight(start, sizes.parked_runs, STARTS_AT_ONCE)
        after = resident_kib()
        await asyncio.sleep(min(SETTLE_S, sizes.idle_s))
        counted, before_count = Cpu(), len(statements)
        await asyncio.sleep(sizes.idle_s)
        per_s = (len(statements) - before_count) / counted.elapsed_s
        count_no_more()
        cpu = Cpu()
        await asyncio.sleep(sizes.idle_s)
        return {
            "kib": (after - before) / sizes.parked_runs,
            "cpu_percent": 100 * cpu.used_s / cpu.elapsed_s,
            "statements_per_s": per_s,
        }


@contextmanager
def _statements() -> Iterator[tuple[list[None], Callable[[], None]]]:
    """Grows with each statement that a connection made meanwhile executes, ``PRAGMA data_version`` apart. The other
    ends that on SQLite, where to count what is asked 40 times a second costs as much as to ask it."""
    counted: list[None] = []
    traced: list[sqlite3.Connection] = []
    sqlite_connect, postgres_connect = sqlite3.connect, asyncpg.connect

    def count(statement: str) -> None:
        if statement != "PRAGMA data_version":
            counted.append(None)

    def sqlite(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = sqlite_connect(*args, **options)
        connection.set_trace_callback(count)
        traced.append(connection)
        return connection

    async def postgres(*args: Any, **options: Any) -> Any:
        connection = await postgres_connect(*args, **options)
        connection.add_query_logger(lambda record: count(record.query))
        return connection

    def count_no_more() -> None:
        for connection in traced:
            with suppress(sqlite3.ProgrammingError):  # it is closed, or another thread's
                connection.set_trace_callback(None)

    sqlite3.connect = sqlite  # type: ignore[assignment]
    asyncpg.connect = postgres
    try:
        yield counted, count_no_more
    finally:
        sqlite3.connect, asyncpg.connect = sqlite_connect, postgres_connect
