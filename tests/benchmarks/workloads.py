"""W1 to W4 and W6: client and worker in one process, on either store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from durable import Client, Worker
from tests.benchmarks.definitions import ACTIVITIES, WORKFLOWS, all_at_once, in_sequence, one_activity, sleeper
from tests.benchmarks.figures import Sizes
from tests.benchmarks.meters import Cpu, in_flight, latencies, peak_mib

WARM_UP = 20


@asynccontextmanager
async def running(url: str) -> AsyncIterator[Client]:
    """A client, with a worker beside it; warm."""
    async with await Client.connect(url) as client:
        async with Worker(client, workflows=WORKFLOWS, activities=ACTIVITIES):
            for number in range(WARM_UP):
                await client.execute_workflow(one_activity, number, id=f"warm-{number}")
            yield client


async def w1(sizes: Sizes, url: str) -> dict[str, float]:
    async with running(url) as client:

        async def one(number: int) -> Any:
            return await client.execute_workflow(one_activity, number, id=f"one-{number}")

        cpu = Cpu(url)
        times = await latencies(one, sizes.w1_runs)
        return {
            "p50_ms": times.p50_ms,
            "p95_ms": times.p95_ms,
            "p99_ms": times.p99_ms,
            "cpu_us": 1e6 * cpu.used_s / sizes.w1_runs,
            "server_us": 1e6 * cpu.server_s / sizes.w1_runs,
            "peak_mib": peak_mib(),
        }


async def w2(sizes: Sizes, url: str) -> dict[str, float]:
    async with running(url) as client:

        async def one(number: int) -> None:
            result = await client.execute_workflow(one_activity, number, id=f"many-{number}")
            assert result == {"number": number, "double": 2 * number}

        store: Any = client.database.store
        before = msgspec.structs.replace(store.counters)
        cpu = Cpu(url)
        await in_flight(one, sizes.w2_workflows, sizes.w2_in_flight)
        count, after = sizes.w2_workflows, store.counters
        made = after.commits - before.commits
        return {
            "per_s": count / cpu.elapsed_s,
            "cpu_us": 1e6 * cpu.used_s / count,
            "batch": 2 * count / made,
            "statements": (after.statements - before.statements) / made,
            # SQLite alone tells how many rows a statement has written.
            "rows": (getattr(after, "rows_written", 0) - getattr(before, "rows_written", 0)) / count,
            "server_us": 1e6 * cpu.server_s / count,
            "peak_mib": peak_mib(),
        }


async def w3(sizes: Sizes, url: str) -> dict[str, float]:
    return await _many_activities(in_sequence, sizes.w3_activities, url)


async def w4(sizes: Sizes, url: str) -> dict[str, float]:
    return await _many_activities(all_at_once, sizes.w4_activities, url)


async def _many_activities(workflow: Any, count: int, url: str) -> dict[str, float]:
    async with running(url) as client:
        cpu = Cpu(url)
        result = await client.execute_workflow(workflow, count, id="the-one")
        figures = {"per_s": count / cpu.elapsed_s, "cpu_us": 1e6 * cpu.used_s / count}
        assert result == sum(range(count))
        return {**figures, "server_us": 1e6 * cpu.server_s / count, "peak_mib": peak_mib()}


async def w6(sizes: Sizes, url: str) -> dict[str, float]:
    """All are started at once; the starts are part of the time."""
    async with running(url) as client:
        handles: list[Any] = []

        async def start(number: int) -> None:
            handles.append(await client.start_workflow(sleeper, sizes.w6_sleep_s, id=f"sleeper-{number}"))

        async def end(number: int) -> None:
            await handles[number].result()

        cpu = Cpu(url)
        starting = Cpu()
        await in_flight(start, sizes.w6_workflows, sizes.w6_workflows)
        started_s = starting.elapsed_s
        await in_flight(end, sizes.w6_workflows, sizes.w6_workflows)
        return {
            "beyond_s": cpu.elapsed_s - sizes.w6_sleep_s,
            "late_s": cpu.elapsed_s - started_s - sizes.w6_sleep_s,
            "cpu_us": 1e6 * cpu.used_s / sizes.w6_workflows,
            "server_us": 1e6 * cpu.server_s / sizes.w6_workflows,
            "peak_mib": peak_mib(),
        }
