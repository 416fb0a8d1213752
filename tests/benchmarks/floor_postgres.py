"""The floor's disk that is a PostgreSQL: one asyncpg connection, each batch three statements that insert arrays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg

from tests.benchmarks.transitions import Transition

TABLES = """
CREATE TABLE runs (run_id text COLLATE "C" PRIMARY KEY, workflow_id text NOT NULL, last_event_id bigint NOT NULL,
                   closed boolean NOT NULL);
CREATE TABLE history (run_id text COLLATE "C", first_id bigint, data bytea NOT NULL, PRIMARY KEY (run_id, first_id));
CREATE TABLE tasks (run_id text COLLATE "C", event_id bigint, input bytea NOT NULL, PRIMARY KEY (run_id, event_id));
"""
RUNS = """
INSERT INTO runs SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::boolean[])
ON CONFLICT (run_id) DO UPDATE SET last_event_id = excluded.last_event_id, closed = excluded.closed
"""
TASKS = """
WITH gone AS (
    DELETE FROM tasks USING unnest($4::text[], $5::bigint[]) AS done(run_id, event_id)
    WHERE tasks.run_id = done.run_id AND tasks.event_id = done.event_id
)
INSERT INTO tasks SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[])
"""
HISTORY = "INSERT INTO history SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[])"


class PostgresDisk:
    async def open(self, url: str, written: Callable[[], None]) -> None:
        self._written = written
        self._writing: asyncio.Task[None] | None = None
        self._db = await asyncpg.connect(url, server_settings={"enable_seqscan": "off"})
        await self._db.execute(TABLES)

    def submit(self, batch: Sequence[Transition]) -> None:
        self._writing = asyncio.create_task(self._write(batch))

    async def rows(self, statement: str) -> list[Any]:
        rows: list[Any] = await self._db.fetch(statement)
        return rows

    async def close(self) -> None:
        if self._writing is not None:
            await self._writing
        await self._db.close()

    async def _write(self, batch: Sequence[Transition]) -> None:
        db = self._db
        tasks = [(each.run_id, *task) for each in batch for task in each.scheduled]
        done = [(each.run_id, event_id) for each in batch for event_id in each.done]
        runs = [(each.run_id, each.workflow_id, each.last_id, each.closed) for each in batch]
        async with db.transaction():
            await db.execute(RUNS, *_columns(runs, 4))
            await db.execute(TASKS, *_columns(tasks, 3), *_columns(done, 2))
            await db.execute(HISTORY, *_columns([(each.run_id, each.first_id, each.data) for each in batch], 3))
        self._written()


def _columns(rows: list[Any], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
