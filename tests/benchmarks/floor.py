"""The floor: what the shape costs bare. Six events and two commits a workflow, group commit, one who writes.

No retries, leases, timers, conversion or errors; tables of its own; as durable as the engine.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from tests.benchmarks.figures import Sizes
from tests.benchmarks.floor_postgres import PostgresDisk
from tests.benchmarks.floor_sqlite import SqliteDisk
from tests.benchmarks.meters import Cpu, in_flight, latencies, peak_mib
from tests.benchmarks.transitions import Transition


class Disk(Protocol):
    """Writes batch after batch, each in one commit, and calls ``written`` on the loop after each."""

    async def open(self, url: str, written: Callable[[], None]) -> None: ...

    def submit(self, batch: Sequence[Transition]) -> None: ...

    async def rows(self, statement: str) -> list[Any]: ...

    async def close(self) -> None: ...


class Floor:
    """``async with``; then ``run`` workflows. ``commits`` counts."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._disk: Disk = SqliteDisk() if url.startswith("sqlite") else PostgresDisk()
        self._waiting: list[tuple[Transition, asyncio.Future[None]]] = []
        self._under_way: list[tuple[Transition, asyncio.Future[None]]] = []
        self.commits = 0

    async def __aenter__(self) -> Floor:
        await self._disk.open(self._url, self._written)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._disk.close()

    async def run(self, workflow_id: str, *steps: Sequence[int]) -> list[dict[str, int]]:
        """One workflow. Each step is the numbers of activities that run at once; it returns the last step's results."""
        run_id = str(uuid.uuid4())
        last_id, done, results = 0, list[int](), list[dict[str, int]]()
        news = [("WorkflowExecutionStarted", msgspec.json.encode(steps[0][0]))]
        for step in steps:
            first_id = last_id + 1
            arguments = [msgspec.json.encode(number) for number in step]
            said = [*news, ("WorkflowTaskCompleted", b""), *(("ActivityTaskScheduled", each) for each in arguments)]
            last_id += len(said)
            scheduled = list(enumerate(arguments, last_id - len(arguments) + 1))
            await self._commit(Transition(run_id, workflow_id, first_id, last_id, False, said, scheduled, done))
            results = await asyncio.gather(*[_activity(msgspec.json.decode(each)) for each in arguments])
            done = [event_id for event_id, _ in scheduled]
            news = [("ActivityTaskCompleted", msgspec.json.encode(each)) for each in results]
        said = [*news, ("WorkflowTaskCompleted", b""), ("WorkflowExecutionCompleted", news[-1][1])]
        await self._commit(
            Transition(run_id, workflow_id, last_id + 1, last_id + len(said), True, said, [], done),
        )
        return results

    async def rows(self, statement: str) -> list[Any]:
        """What is there; ask only while nothing runs."""
        return [tuple(row) for row in await self._disk.rows(statement)]

    async def _commit(self, transition: Transition) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((transition, done))
        if not self._under_way:
            self._hand_over()
        await done

    def _hand_over(self) -> None:
        self._under_way, self._waiting = self._waiting, []
        if self._under_way:
            self._disk.submit([transition for transition, _ in self._under_way])

    def _written(self) -> None:
        self.commits += 1
        for _, done in self._under_way:
            done.set_result(None)
        self._hand_over()


async def _activity(number: int) -> dict[str, int]:
    return {"number": number, "double": 2 * number}


async def measure(sizes: Sizes, url: str) -> dict[str, float]:
    async with Floor(url) as floor:
        await latencies(lambda number: floor.run(f"warm-{number}", [number]), 10)
        times = await latencies(lambda number: floor.run(f"one-{number}", [number]), sizes.w1_runs)
        w2 = Cpu(url)
        await in_flight(lambda number: floor.run(f"many-{number}", [number]), sizes.w2_workflows, sizes.w2_in_flight)
        figures = {
            "p50_ms": times.p50_ms,
            "per_s": sizes.w2_workflows / w2.elapsed_s,
            "cpu_us": 1e6 * w2.used_s / sizes.w2_workflows,
            "server_us": 1e6 * w2.server_s / sizes.w2_workflows,
        }
        w3 = Cpu()
        await floor.run("sequence", *([number] for number in range(sizes.w3_activities)))
        figures["w3_per_s"] = sizes.w3_activities / w3.elapsed_s
        w4 = Cpu()
        await floor.run("at once", range(sizes.w4_activities))
        figures["w4_per_s"] = sizes.w4_activities / w4.elapsed_s
        return {**figures, "peak_mib": peak_mib()}
