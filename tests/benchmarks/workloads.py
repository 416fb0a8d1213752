"""W1 to W4 and W6: client and worker in one process, on a SQLite file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from durable import Client, Worker
from durable.history.stores.sqlite import SqliteStore
from tests.benchmarks.definitions import ACTIVITIES, WORKFLOWS, all_at_once, in_sequence, one_activity, sleeper
from tests.benchmarks.figures import Sizes
from tests.benchmarks.meters import Cpu, in_flight, latencies, peak_mib

WARM_UP = 20


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Client]:
    """A client, with a worker beside it; warm."""
    async with await Client.connect(f"sqlite:///{directory / 'bench.db'}") as client:
        async with Worker(client, workflows=WORKFLOWS, activities=ACTIVITIES):
            for number in range(WARM_UP):
                await client.execute_workflow(one_activity, number, id=f"warm-{number}")
            yield client


async def w1(sizes: Sizes, directory: Path) -> dict[str, float]:
    async with running(directory) as client:

        async def one(number: int) -> Any:
            return await client.execute_workflow(one_activity, number, id=f"one-{number}")

        cpu = Cpu()
        times = await latencies(one, sizes.w1_runs)
        return {
            "p50_ms": times.p50_ms,
            "p95_ms": times.p95_ms,
            "p99_ms": times.p99_ms,
            "cpu_us": 1e6 * cpu.used_s / sizes.w1_runs,
            "peak_mib": peak_mib(),
        }


async def w2(sizes: Sizes, directory: Path) -> dict[str, float]:
    async with running(directory) as client:

        async def one(number: int) -> None:
            result = await client.execute_workflow(one_activity, number, id=f"many-{number}")
            assert result == {"number": number, "double": 2 * number}

        counters = _store(client).counters
        commits, statements, rows = counters.commits, counters.statements, counters.rows_written
        cpu = Cpu()
        await in_flight(one, sizes.w2_workflows, sizes.w2_in_flight)
        count = sizes.w2_workflows
        made = counters.commits - commits
        return {
            "per_s": count / cpu.elapsed_s,
            "cpu_us": 1e6 * cpu.used_s / count,
            "batch": 2 * count / made,
            "statements": (counters.statements - statements) / made,
            "rows": (counters.rows_written - rows) / count,
            "peak_mib": peak_mib(),
        }


async def w3(sizes: Sizes, directory: Path) -> dict[str, float]:
    return await _many_activities(in_sequence, sizes.w3_activities, directory)


async def w4(sizes: Sizes, directory: Path) -> dict[str, float]:
    return await _many_activities(all_at_once, sizes.w4_activities, directory)


async def _many_activities(workflow: Any, count: int, directory: Path) -> dict[str, float]:
    async with running(directory) as client:
        cpu = Cpu()
        result = await client.execute_workflow(workflow, count, id="the-one")
        figures = {"per_s": count / cpu.elapsed_s, "cpu_us": 1e6 * cpu.used_s / count, "peak_mib": peak_mib()}
        assert result == sum(range(count))
        return figures


async def w6(sizes: Sizes, directory: Path) -> dict[str, float]:
    """All are started at once; the starts are part of the time."""
    async with running(directory) as client:
        handles: list[Any] = []

        async def start(number: int) -> None:
            handles.append(await client.start_workflow(sleeper, sizes.w6_sleep_s, id=f"sleeper-{number}"))

        async def end(number: int) -> None:
            await handles[number].result()

        cpu = Cpu()
        starting = Cpu()
        await in_flight(start, sizes.w6_workflows, sizes.w6_workflows)
        started_s = starting.elapsed_s
        await in_flight(end, sizes.w6_workflows, sizes.w6_workflows)
        return {
            "beyond_s": cpu.elapsed_s - sizes.w6_sleep_s,
            "late_s": cpu.elapsed_s - started_s - sizes.w6_sleep_s,
            "cpu_us": 1e6 * cpu.used_s / sizes.w6_workflows,
            "peak_mib": peak_mib(),
        }


def _store(client: Client) -> SqliteStore:
    store = client.database.store
    assert isinstance(store, SqliteStore)
    return store
