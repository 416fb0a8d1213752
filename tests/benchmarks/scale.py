"""`python -m tests.benchmarks.scale URL`: what several worker processes bring that share one PostgreSQL.

Client and workers are processes of their own, so all that they tell each other goes through the database; 0 workers are
one in the client's own process.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from multiprocessing.process import BaseProcess
from statistics import median
from typing import Any

import asyncpg
import msgspec

from durable import Client, Worker
from tests.benchmarks.definitions import ACTIVITIES, WORKFLOWS, all_at_once, in_sequence, one_activity
from tests.benchmarks.figures import FULL, Sizes
from tests.benchmarks.meters import Cpu, in_flight, latencies
from tests.forkserver import processes

Row = dict[str, float]

WARM_UP = 40


CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'durable'
"""
BYTES = """
SELECT sum(pg_total_relation_size(oid))::bigint, (SELECT count(*) FROM durable_runs WHERE status <> 1)
FROM pg_class WHERE relname LIKE 'durable\\_%' AND relkind = 'r'
"""


def worker(client: Client) -> Worker:
    return Worker(client, workflows=WORKFLOWS, activities=ACTIVITIES)


def serve(url: str, ready: Any, over: Any) -> None:
    async def work() -> None:
        async with await Client.connect(url) as client:
            async with worker(client):
                ready.set()
                await asyncio.to_thread(over.wait)

    asyncio.run(work())


@asynccontextmanager
async def workers(url: str, count: int) -> AsyncIterator[None]:
    """So many worker processes, all of them ready; at the end they hand everything back."""
    signs = [processes.Event() for _ in range(count)]
    over = processes.Event()
    children: list[BaseProcess] = [
        processes.Process(target=serve, args=(url, sign, over), daemon=True) for sign in signs
    ]
    try:
        for child in children:
            child.start()
        for sign in signs:
            await asyncio.to_thread(sign.wait)
        yield
    finally:
        over.set()
        for child in children:
            await asyncio.to_thread(child.join)


async def measure(url: str, count: int, sizes: Sizes, name: str) -> Row:
    """All workloads, one after the other, with ids that begin with ``name``."""
    async with workers(url, count), await Client.connect(url) as client:
        async with nullcontext() if count else worker(client):
            return await figures(url, client, sizes, name)


async def figures(url: str, client: Client, sizes: Sizes, name: str) -> Row:
    async def one(number: int) -> None:
        await client.execute_workflow(one_activity, number, id=f"{name}-{number}")

    async def many(workflow: Callable[..., Awaitable[int]], activities: int) -> float:
        cpu = Cpu()
        await client.execute_workflow(workflow, activities, id=f"{name}-{workflow.__name__}")
        return activities / cpu.elapsed_s

    await in_flight(one, WARM_UP, WARM_UP)
    times = await latencies(lambda number: one(1_000_000 + number), sizes.w1_runs)
    cpu = Cpu()
    await in_flight(lambda number: one(2_000_000 + number), sizes.w2_workflows, sizes.w2_in_flight)
    w2 = sizes.w2_workflows / cpu.elapsed_s
    connections = (await ask(url, CONNECTIONS))[0]
    return {
        "W1 p50, ms": times.p50_ms,
        "W1 p99, ms": times.p99_ms,
        "W2, workflows/s": w2,
        "W3, activities/s": await many(in_sequence, sizes.w3_activities),
        "W4, activities/s": await many(all_at_once, sizes.w4_activities),
        "connections": connections,
    }


async def ask(url: str, question: str) -> Sequence[Any]:
    connection = await asyncpg.connect(url)
    try:
        row: Sequence[Any] = await connection.fetchrow(question)
        return row
    finally:
        await connection.close()


def told(values: Sequence[float]) -> str:
    return f"{median(values):,.0f} ({min(values):,.0f} – {max(values):,.0f})"


async def main(url: str, counts: Sequence[int], sizes: Sizes) -> None:
    """Round after round, so that a busy moment of the machine does not meet one number of workers only."""
    rows: dict[int, list[Row]] = {count: [] for count in counts}
    for number in range(sizes.rounds):
        for count in counts:
            print(f"round {number + 1} of {sizes.rounds}: {count} worker processes", file=sys.stderr, flush=True)
            rows[count].append(await measure(url, count, sizes, f"{os.getpid()}-{number}-{count}"))
    print("| | " + " | ".join(f"{count} workers" if count else "one process" for count in counts) + " |")
    print("|---|" + "---|" * len(counts))
    for figure in rows[counts[0]][0]:
        cells = (told([row[figure] for row in rows[count]]) for count in counts)
        print(f"| {figure} | " + " | ".join(cells) + " |")
    size, closed = await ask(url, BYTES)
    print(f"{size / closed:,.0f} bytes a closed workflow, indexes included, of {closed:,}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale")
    parser.add_argument("url", metavar="URL", help="postgresql://…: a database that is there for this alone")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4], metavar="N", help="0 1 2 4")
    parser.add_argument("--rounds", type=int, default=FULL.rounds, metavar="N", help=str(FULL.rounds))
    given = parser.parse_args()
    asyncio.run(main(given.url, given.workers, msgspec.structs.replace(FULL, rounds=given.rounds)))
