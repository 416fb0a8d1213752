"""`python -m tests.benchmarks.listing [URL]`: what pages of a long list cost, near its beginning and far behind.

Without a URL in a new SQLite file; a PostgreSQL database must be there for this alone. Its runs are written by SQL:
they have a row and a search attribute each, and no history.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from durable import Client
from tests.benchmarks import bulk

QUERIES = [
    "",
    "WorkflowType = 'Type 3'",
    "ExecutionStatus = 'Running'",
    "CustomerId = 'customer 7'",
    "StartTime < '2026-01-01T00:00:00Z' ORDER BY StartTime ASC",
    "CloseTime IS NOT NULL ORDER BY CloseTime DESC",
]
PAGE_SIZE = 100
STEPS = 20_000
BEGINNING_US = 1_700_000_000_000_000


def filling(first: int, last: int) -> list[str]:
    numbers = f"WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {last})"
    run_id, start = "'run ' || (10000000 + i)", f"{BEGINNING_US} + 1000 * i"
    return [
        f"{numbers} INSERT INTO durable_runs (run_id, namespace, workflow_id, generation, workflow_type, task_queue, "
        "status, last_event_id, history_bytes, started_us, closed_us, first_execution_run_id, request_id) "
        f"SELECT {run_id}, 'default', 'order-' || i, 1, 'Type ' || (i % 10), 'default', 1 + (i % 3), 5, 500, {start}, "
        f"CASE WHEN i % 3 = 0 THEN NULL ELSE {start} + 5 END, {run_id}, {run_id} FROM n",
        f"{numbers} INSERT INTO durable_search_attributes (run_id, name, ordinal, namespace, kind, started_us, "
        f"keyword) SELECT {run_id}, 'CustomerId', 0, 'default', 0, {start}, 'customer ' || (i % 100) FROM n",
    ]


LAST = [
    "INSERT INTO durable_search_attribute_types VALUES ('default', 'CustomerId', 2) ON CONFLICT DO NOTHING",
    "ANALYZE",
]


async def fill(url: str, runs: int) -> None:
    statements = [each for first in range(0, runs, STEPS) for each in filling(first, min(first + STEPS, runs))]
    await bulk.execute(url, statements + LAST)


async def pages(client: Client, query: str) -> list[float]:
    """Milliseconds of each page, from the first to the last."""
    runs = client.list_workflows(query, page_size=PAGE_SIZE)
    taken: list[float] = []
    while not taken or runs.next_page_token is not None:
        begun = time.perf_counter()
        await runs.fetch_next_page()
        taken.append((time.perf_counter() - begun) * 1000)
    return taken


def row(query: str, taken: Sequence[float]) -> str:
    """The medians of the first, the middle and the last tenth."""
    tenth = max(1, len(taken) // 10)
    middle = (len(taken) - tenth) // 2
    parts = (taken[:tenth], taken[middle : middle + tenth], taken[-tenth:])
    cells = " | ".join(f"{median(part):.2f}" for part in parts)
    return f"| {query or 'all'} | {len(taken):,} | {cells} | {max(taken):.1f} |"


async def main(url: str, runs: int) -> None:
    async with await Client.connect(url):
        pass  # makes the tables
    print(f"{runs:,} runs are written", file=sys.stderr, flush=True)
    await fill(url, runs)
    async with await Client.connect(url) as client:
        print(f"pages of {PAGE_SIZE} among {runs:,} runs, ms (medians):\n")
        print("| query | pages | first tenth | middle | last tenth | slowest |\n|---|---|---|---|---|---|")
        for query in QUERIES:
            print(row(query, await pages(client, query)), flush=True)
        begun = time.perf_counter()
        counted = await client.count_workflows("GROUP BY ExecutionStatus")
        print(f"\ncounting all {counted.count:,} by their status: {(time.perf_counter() - begun) * 1000:.0f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.listing")
    parser.add_argument("url", metavar="URL", nargs="?", help="postgresql://…: a database that is there for this alone")
    parser.add_argument("--runs", type=int, default=1_000_000, metavar="N", help="1,000,000")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(given.url or f"sqlite:///{Path(folder) / 'list.db'}", given.runs))
