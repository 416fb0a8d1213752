"""Rounds of the same work in this process, and what must not grow from one to the next."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from durable import Client, Worker
from tests.chaos.audit import LEFT_OVER
from tests.chaos.flows import ACTIVITIES, WORKFLOWS, Trip
from tests.chaos.places import Place

WARM_UP = 4
"""Rounds until caches are filled, pools are made, and statements are prepared."""
AT_ENDS = 5
BLOCKS_PER_WORKFLOW = 0.5
"""Less than a block of memory for every other workflow is noise: whatever is kept of a workflow is several."""

Measure = Callable[[], Awaitable[int]]


@dataclass(frozen=True, kw_only=True)
class Level:
    """How much there is of what, once a round is over, its worker has stopped, and its client is still there.

    ``rows`` are left over in queues; ``size`` is what the database says that these take, in a unit of its own.
    """

    tasks: int
    threads: int
    descriptors: int
    blocks: int
    own_kb: int
    connections: int
    rows: int
    workers: int
    size: int


async def soak(place: Place, rounds: int, workflows: int, connections: Measure, size: Measure) -> list[Level]:
    """A level for each round after the first few."""
    levels: list[Level] = []
    async with await Client.connect(place.address) as client:
        for number in range(WARM_UP + rounds):
            await _round(client, number, workflows)
            levels.append(await _level(place, connections, size))
    return levels[WARM_UP:]


async def _round(client: Client, number: int, workflows: int) -> None:
    async with Worker(client, workflows=WORKFLOWS, activities=ACTIVITIES, max_concurrent_activities=50):

        async def trip(index: int) -> None:
            handle = await client.start_workflow(Trip.run, index, id=f"trip-{number}-{index}")
            await handle.query(Trip.heard)
            await handle.signal(Trip.hear, index)
            await handle.result()

        await asyncio.gather(*(trip(index) for index in range(workflows)))


async def _level(place: Place, connections: Measure, size: Measure) -> Level:
    for _ in range(3):
        gc.collect()
    return Level(
        tasks=len(asyncio.all_tasks()),
        threads=threading.active_count(),
        descriptors=len(os.listdir("/proc/self/fd")),
        blocks=sys.getallocatedblocks(),
        own_kb=_own_kb(),
        connections=await connections(),
        rows=sum([int((await place.ask(f"SELECT count(*) FROM {name}"))[0][0]) for name in LEFT_OVER]),
        workers=int((await place.ask("SELECT count(*) FROM durable_workers"))[0][0]),
        size=await size(),
    )


def _own_kb() -> int:
    """What is in memory, but for what is in files: a database that grows is mapped more and more."""
    resident, shared = Path("/proc/self/statm").read_text().split()[1:3]
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGESIZE") // 1024


def growth(levels: Sequence[Level], of: str) -> float:
    """How much more there is in the last rounds than in the first ones."""
    values: list[Any] = [getattr(level, of) for level in levels]
    return float(median(values[-AT_ENDS:]) - median(values[:AT_ENDS]))
