"""W5: workflows that wait, a worker that is killed, and how soon another one has them all going again."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from durable import Client, Worker
from tests.benchmarks.definitions import ACTIVITIES, WORKFLOWS, Parked
from tests.benchmarks.figures import Sizes
from tests.benchmarks.meters import in_flight

READY = b"ready\n"
BETWEEN_LOOKS_S = 0.02
STARTS_AT_ONCE = 100


async def measure(sizes: Sizes, url: str) -> dict[str, float]:
    """Resumed is a run whose code, brought back by the new worker, has taken a signal and ended.

    The signals are sent while no worker lives. The first figure holds the start of a Python process.
    """
    async with await Client.connect(url) as client:
        handles: list[Any] = []

        async def start(number: int) -> None:
            handles.append(await client.start_workflow(Parked.run, sizes.w5_activities, id=f"parked-{number}"))

        async def tell(number: int) -> None:
            await handles[number].signal(Parked.go_on)

        async def end(number: int) -> None:
            assert await handles[number].result() == sizes.w5_activities

        async with _worker(url) as first:
            await _line(first)
            await in_flight(start, sizes.w5_workflows, STARTS_AT_ONCE)
            await _until_all_wait(client, sizes)
            first.send_signal(signal.SIGKILL)
            killed = time.perf_counter()
        async with _worker(url) as second:
            await in_flight(tell, sizes.w5_workflows, STARTS_AT_ONCE)
            ending = asyncio.create_task(in_flight(end, sizes.w5_workflows, sizes.w5_workflows))
            await _line(second)
            ready = time.perf_counter()
            await ending
            ended = time.perf_counter()
    return {"from_kill_s": ended - killed, "from_ready_s": ended - ready}


@asynccontextmanager
async def _worker(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    command = (sys.executable, "-m", "tests.benchmarks.crash", url)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _line(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    if await process.stdout.readline() != READY:
        raise RuntimeError(f"the worker process {process.pid} did not come up")


async def _until_all_wait(client: Client, sizes: Sizes) -> None:
    """Until all have done their activities: each is scheduled, started, completed, and followed by a workflow task."""
    last_event_id = 4 + 6 * sizes.w5_activities
    list_runs = client.database.store.list_runs
    # Another process commits what is waited for: there is nothing to await.
    while any(run.last_event_id < last_event_id for run in await list_runs(client.namespace)):  # noqa: ASYNC110
        await asyncio.sleep(BETWEEN_LOOKS_S)


async def work(url: str) -> None:
    """The worker process: it works until it is killed."""
    async with await Client.connect(url) as client:
        async with Worker(client, workflows=WORKFLOWS, activities=ACTIVITIES, lease=timedelta(seconds=5)):
            sys.stdout.buffer.write(READY)
            sys.stdout.buffer.flush()
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
