"""What the processes do that share a SQLite file: write, work, and be killed in the middle of a write."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Sequence
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

from durable import Client, Worker, activity, workflow
from durable.history.store import Store
from durable.history.stores import open_store
from tests.history.worlds import NAMESPACE, done, due, info, start, step, worker

LEASE = timedelta(minutes=5)
LOOK = 0.005

BATCH = 20


def write(address: str, names: Sequence[str], rounds: int) -> None:
    """A writer for each of the names, and a reader that they share; nobody waits for a lock of SQLite's own."""

    async def writer(name: str, reader: Store) -> None:
        seen = 0
        async with open_store(address, busy_timeout_s=0) as store:
            await store.register(worker(name))
            for number in range(rounds):
                run_id = (await done(store, start(f"{name}-{number}", messages=(due(0),)))).run_id
                there = len(await reader.list_runs(NAMESPACE))
                assert there > seen, "what was there is gone"
                seen = there
                await done(store, step(await info(store, run_id), await store.inbox(run_id)))
                await store.renew(worker(name))

    async def main() -> None:
        async with open_store(address, busy_timeout_s=0) as reader:
            await asyncio.gather(*(writer(name, reader) for name in names))

    asyncio.run(main())


def write_until_killed(address: str, wal_bytes_max: int, bytes_max: int, acknowledged: Connection) -> None:
    """Commit batches, and tell of each one that is acknowledged, until a file would grow beyond ``bytes_max``: there,
    in the middle of the write, the kernel kills this process."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)

    async def main() -> None:
        async with open_store(address, wal_bytes_max=wal_bytes_max) as store:
            resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, bytes_max))
            number = 0
            while True:
                await store.commit([start(f"{number}-{place}") for place in range(BATCH)])
                acknowledged.send(number)
                number += 1

    asyncio.run(main())


# Two that work together. ------------------------------------------------------------------------------------------


@activity.defn
async def meet(folder: str) -> int:
    """Waits until it runs in two processes at once; tells in which this one is."""
    os.close(os.open(f"{folder}/{os.getpid()}", os.O_CREAT))
    while len(os.listdir(folder)) < 2:  # noqa: ASYNC110 (the other one is in another process)
        await asyncio.sleep(LOOK)
    return os.getpid()


@workflow.defn
async def together(folder: str) -> list[int]:
    return await asyncio.gather(meet(folder), meet(folder))


def sharing(client: Client) -> Any:
    """A worker that runs one activity at a time."""
    return Worker(client, workflows=[together], activities=[meet], max_concurrent_activities=1, lease=LEASE)


def work(address: str, ready: Connection) -> None:
    async def main() -> None:
        async with await Client.connect(address) as client, sharing(client):
            ready.send(os.getpid())
            await asyncio.Event().wait()

    asyncio.run(main())
