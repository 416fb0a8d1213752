"""What a process of these tests does that opens a database together with others."""

from __future__ import annotations

import asyncio
from multiprocessing.synchronize import Barrier

from durable.history.host import Machine
from durable.history.stores.postgres import PostgresStore
from tests.history.worlds import done, start


def open_and_start(url: str, number: int, all_ready: Barrier) -> None:
    async def main() -> None:
        all_ready.wait()
        async with PostgresStore(url, Machine()) as store:
            await done(store, start(f"order-{number}"))

    asyncio.run(main())
