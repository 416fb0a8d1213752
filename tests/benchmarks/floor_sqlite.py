"""The floor's disk that is a SQLite file: one thread that writes, plain sqlite3, ``synchronous=FULL``."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

from tests.benchmarks.transitions import Transition

TABLES = """
CREATE TABLE runs (run_id TEXT PRIMARY KEY, workflow_id TEXT NOT NULL, last_event_id INTEGER NOT NULL,
                   closed INTEGER NOT NULL);
CREATE TABLE history (run_id TEXT, first_id INTEGER, data BLOB NOT NULL, PRIMARY KEY (run_id, first_id));
CREATE TABLE tasks (run_id TEXT, event_id INTEGER, input BLOB NOT NULL, PRIMARY KEY (run_id, event_id));
"""


class SqliteDisk:
    def __init__(self) -> None:
        self._batches: SimpleQueue[Sequence[Transition] | None] = SimpleQueue()

    async def open(self, url: str, written: Callable[[], None]) -> None:
        self._loop, self._written = asyncio.get_running_loop(), written
        path = url.removeprefix("sqlite:///")
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(TABLES)
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def submit(self, batch: Sequence[Transition]) -> None:
        self._batches.put(batch)

    async def rows(self, statement: str) -> list[Any]:
        return self._db.execute(statement).fetchall()

    async def close(self) -> None:
        self._batches.put(None)
        self._thread.join()
        self._db.close()

    def _write(self) -> None:
        while (batch := self._batches.get()) is not None:
            starts = [(each.run_id, each.workflow_id, each.last_id) for each in batch if each.first_id == 1]
            others = [(each.last_id, each.closed, each.run_id) for each in batch if each.first_id > 1]
            scheduled = [(each.run_id, *task) for each in batch for task in each.scheduled]
            done = [(each.run_id, event_id) for each in batch for event_id in each.done]
            events = [(each.run_id, each.first_id, each.data) for each in batch]
            self._db.execute("BEGIN IMMEDIATE")
            self._many("INSERT INTO runs VALUES (?, ?, ?, 0)", starts)
            self._many("UPDATE runs SET last_event_id = ?, closed = ? WHERE run_id = ?", others)
            self._many("INSERT INTO tasks VALUES (?, ?, ?)", scheduled)
            self._many("DELETE FROM tasks WHERE run_id = ? AND event_id = ?", done)
            self._many("INSERT INTO history VALUES (?, ?, ?)", events)
            self._db.execute("COMMIT")
            self._loop.call_soon_threadsafe(self._written)

    def _many(self, statement: str, rows: list[Any]) -> None:
        if rows:
            self._db.executemany(statement, rows)
