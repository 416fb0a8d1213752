"""The floor: what the shape costs bare. Six events and two commits a workflow, group commit, one writer thread.

No retries, leases, timers, conversion or errors; tables of its own, plain sqlite3 with ``synchronous=FULL``.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import uuid
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgspec

from tests.benchmarks.figures import Sizes
from tests.benchmarks.meters import Cpu, in_flight, latencies, peak_mib

TABLES = """
CREATE TABLE runs (run_id TEXT PRIMARY KEY, workflow_id TEXT NOT NULL, last_event_id INTEGER NOT NULL,
                   closed INTEGER NOT NULL);
CREATE TABLE history (run_id TEXT, first_id INTEGER, data BLOB NOT NULL, PRIMARY KEY (run_id, first_id));
CREATE TABLE tasks (run_id TEXT PRIMARY KEY, input BLOB NOT NULL);
"""


class Event(msgspec.Struct, omit_defaults=True):
    id: int
    type: str
    at_us: int
    data: bytes = b""


class Start(msgspec.Struct):
    run_id: str
    workflow_id: str
    input: bytes
    events: bytes


class End(msgspec.Struct):
    run_id: str
    events: bytes


_Waiting = tuple[Start | End, "asyncio.Future[None]"]


class Floor:
    """``async with``; then ``run`` workflows. ``commits`` counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[_Waiting] = []
        self._batches: SimpleQueue[list[_Waiting] | None] = SimpleQueue()
        self._writing = False
        self.commits = 0

    async def __aenter__(self) -> Floor:
        self._loop = asyncio.get_running_loop()
        self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(TABLES)
        self._thread = threading.Thread(target=self._write)
        self._thread.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._batches.put(None)
        self._thread.join()
        self._db.close()

    async def run(self, workflow_id: str, number: int) -> dict[str, int]:
        run_id = str(uuid.uuid4())
        argument = msgspec.json.encode(number)
        began = [
            Event(1, "WorkflowExecutionStarted", number, argument),
            Event(2, "WorkflowTaskCompleted", number),
            Event(3, "ActivityTaskScheduled", number, argument),
        ]
        await self._commit(Start(run_id, workflow_id, argument, msgspec.msgpack.encode(began)))
        result = await _activity(msgspec.json.decode(argument))
        encoded = msgspec.json.encode(result)
        ended = [
            Event(4, "ActivityTaskCompleted", number, encoded),
            Event(5, "WorkflowTaskCompleted", number),
            Event(6, "WorkflowExecutionCompleted", number, encoded),
        ]
        await self._commit(End(run_id, msgspec.msgpack.encode(ended)))
        return result

    def rows(self, statement: str) -> list[Any]:
        """What is there; ask only while nothing runs."""
        return self._db.execute(statement).fetchall()

    async def _commit(self, write: Start | End) -> None:
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((write, done))
        if not self._writing:
            self._hand_over()
        await done

    def _hand_over(self) -> None:
        self._writing = bool(self._waiting)
        if self._writing:
            self._batches.put(self._waiting)
            self._waiting = []

    def _write(self) -> None:
        while (batch := self._batches.get()) is not None:
            starts = [write for write, _ in batch if isinstance(write, Start)]
            ends = [write for write, _ in batch if isinstance(write, End)]
            db = self._db
            db.execute("BEGIN IMMEDIATE")
            self._many("INSERT INTO runs VALUES (?, ?, 3, 0)", [(each.run_id, each.workflow_id) for each in starts])
            self._many("INSERT INTO tasks VALUES (?, ?)", [(each.run_id, each.input) for each in starts])
            self._many("UPDATE runs SET last_event_id = 6, closed = 1 WHERE run_id = ?", [(e.run_id,) for e in ends])
            self._many("DELETE FROM tasks WHERE run_id = ?", [(each.run_id,) for each in ends])
            rows = [(each.run_id, 1, each.events) for each in starts] + [(each.run_id, 4, each.events) for each in ends]
            self._many("INSERT INTO history VALUES (?, ?, ?)", rows)
            db.execute("COMMIT")
            self.commits += 1
            self._loop.call_soon_threadsafe(self._committed, batch)

    def _many(self, statement: str, rows: list[Any]) -> None:
        if rows:
            self._db.executemany(statement, rows)

    def _committed(self, batch: list[_Waiting]) -> None:
        for _, done in batch:
            done.set_result(None)
        self._hand_over()


async def _activity(number: int) -> dict[str, int]:
    return {"number": number, "double": 2 * number}


async def measure(sizes: Sizes, directory: Path) -> dict[str, float]:
    async with Floor(directory / "floor.db") as floor:
        await latencies(lambda number: floor.run(f"warm-{number}", number), 10)
        times = await latencies(lambda number: floor.run(f"one-{number}", number), sizes.w1_runs)
        cpu = Cpu()
        await in_flight(lambda number: floor.run(f"many-{number}", number), sizes.w2_workflows, sizes.w2_in_flight)
        return {
            "p50_ms": times.p50_ms,
            "per_s": sizes.w2_workflows / cpu.elapsed_s,
            "cpu_us": 1e6 * cpu.used_s / sizes.w2_workflows,
            "peak_mib": peak_mib(),
        }
