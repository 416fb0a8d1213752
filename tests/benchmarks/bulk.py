"""Many rows at once, by SQL of the database's own: for tables that have grown, in a moment."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from urllib.parse import urlsplit

import asyncpg
from sqlalchemy import Table

from durable.history.stores.place import File, place
from durable.history.stores.tables import history, inbox, runs
from durable.service.address import database_url

STEPS = 20_000


async def execute(url: str, statements: Sequence[str]) -> None:
    """Each a transaction of its own; nobody else is to write meanwhile. What the server, or the operating system, else
    does by and by, while something is measured, is done before it returns."""
    where = place(database_url(url))
    if isinstance(where, File):
        with closing(sqlite3.connect(where.path, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous=OFF")
            db.execute("PRAGMA cache_size=-500000")
            for statement in statements:
                db.execute(statement)
            db.execute("PRAGMA synchronous=FULL")  # so that the disk has it all, and is idle when something is measured
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return
    connection = await asyncpg.connect(url)
    await connection.execute("SET synchronous_commit = off")
    for statement in [*statements, "VACUUM ANALYZE", "CHECKPOINT"]:
        await connection.execute(statement)
    await connection.close()


@asynccontextmanager
async def another(url: str, name: str) -> AsyncIterator[str]:
    """The URL of another database beside this one, with nothing in it; it goes with the file's directory, or at the
    end."""
    where = place(database_url(url))
    if isinstance(where, File):
        yield f"{url}-{name}"
        return
    connection = await asyncpg.connect(url)
    new = f"{urlsplit(url).path.strip('/')}_{name}"
    await connection.execute(f"CREATE DATABASE {new}")
    try:
        yield urlsplit(url)._replace(path=f"/{new}").geturl()
    finally:
        await connection.execute(f"DROP DATABASE {new} WITH (FORCE)")
        await connection.close()


def numbers(first: int, last: int) -> str:
    """``n(i)``, from ``first`` to before ``last``."""
    return f"WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {last})"


def copied(table: Table, new: dict[str, str], which: str, first: int, last: int) -> str:
    """A row for each number, and for each row of ``which``: the same one, but for ``new`` columns."""
    names = [column.name for column in table.columns if not (table is inbox and column.name == "id")]
    values = ", ".join(new.get(name, f"old.{name}") for name in names)
    return (
        f"{numbers(first, last)} INSERT INTO {table.name} ({', '.join(names)}) "
        f"SELECT {values} FROM n CROSS JOIN (SELECT * FROM {table.name} {which}) AS old"
    )


def closed_runs(run_id: str, first: int, last: int) -> list[str]:
    """Copies of a closed run, with its history."""
    of_run = f"WHERE run_id = '{run_id}'"
    statements: list[str] = []
    for begin in range(first, last, STEPS):
        end = min(begin + STEPS, last)
        # As an id is: what came later sorts later.
        own = "'0000-' || (1000000000 + i)"
        new = {
            "run_id": own,
            "first_execution_run_id": own,
            "request_id": own,
            "workflow_id": "'order-' || i",
            "started_us": "old.started_us - 1000000000 + i",
            "closed_us": "old.closed_us - 1000000000 + i",
        }
        statements += [
            copied(runs, new, of_run, begin, end),
            copied(history, {"run_id": own}, of_run, begin, end),
        ]
    return statements


def timers(first: int, last: int, runs: int) -> list[str]:
    """From ``first`` to ``last``: copies of what came first into the inbox, the one timer of each of ``runs`` runs."""
    new = {"key": f"old.key + 1000000 + {first} + i", "due_us": "old.due_us + i"}
    each = max(1, STEPS // runs)
    begins = range(first // runs, last // runs, each)
    return [copied(inbox, new, f"ORDER BY id LIMIT {runs}", i, min(i + each, last // runs)) for i in begins]
