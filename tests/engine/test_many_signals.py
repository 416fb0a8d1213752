"""More signals at once than a worker reads at once: it reads on, though nothing else tells it to."""

from __future__ import annotations

import asyncio

from durable import Client, workflow
from durable.history.transition import MESSAGES_PER_RUN_MAX
from tests.engine.conftest import MakeWorker

MANY = MESSAGES_PER_RUN_MAX + 1


@workflow.defn
async def take(count: int) -> list[int]:
    return [await workflow.receive("put", int) for _ in range(count)]


async def test_signals_beyond_what_a_claim_reads_are_read_without_anything_else_happening(
    client: Client, make_worker: MakeWorker
) -> None:
    handle = await client.start_workflow(take, MANY, id="many")
    await asyncio.gather(*[handle.signal("put", number) for number in range(MANY)])

    async with make_worker(take):
        assert await handle.result() == list(range(MANY))
