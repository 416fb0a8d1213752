"""A write as a part of somebody else's transaction in the same PostgreSQL database, over their SQLAlchemy connection.

Whatever its driver: the statements are put into its words. What the store's own commits do asynchronously is done here
without ever waiting for the event loop, so that it serves sync sessions too.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError

from durable.history.stores import postgres_commit
from durable.history.stores.postgres_commit import Tried
from durable.history.stores.postgres_connection import Question, columns
from durable.history.stores.postgres_errors import HELD_UP
from durable.history.stores.postgres_retry import Outrun
from durable.history.stores.postgres_together import PARAMETER
from durable.history.transition import Send, Transition, Write

T = TypeVar("T")

HELD_UP_STATE = "55P03"
NO_TRANSACTION_STATE = "25P01"
DATA_CLASSES = ("22", "23", "54")
"""Of SQLSTATEs: data exceptions, violated constraints, and values that are too long for an index."""
IDENTITY = (
    "SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint, current_database(), "
    "to_regclass('durable_runs')::oid"
)
"""Tells servers apart, their databases, and the schemas in them; whatever the role may do. It lasts until a restart."""
SETTINGS = ("current_setting('transaction_isolation')", "current_setting('lock_timeout')")
PATIENCE = "25ms"
"""So long a start waits for one of the same workflow that is not committed; then it is tried again, as long as it may
be. (PostgreSQL by itself waits without an end, and who waits there can't be cancelled.)"""
LIMIT_WAIT = "SELECT set_config('lock_timeout', $1, true)"


class Joined:
    """Asks as the store's own connection does."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._numbered = connection.dialect.paramstyle == "numeric_dollar"

    async def read(self, statement: str, *values: object) -> list[Sequence[Any]]:
        return list(self._execute(statement, values).fetchall())

    async def read_all(self, questions: Sequence[Question]) -> list[list[Sequence[Any]]]:
        # One by one: not every driver reads rows within a row.
        return [await self.read(statement, *values) for statement, values in questions]

    async def write(self, statement: str, *values: object) -> int:
        return int(self._execute(statement, values).rowcount)

    async def write_many(self, statement: str, rows: Sequence[Sequence[object]]) -> int:
        return await self.write(statement, *columns(rows)) if rows else 0

    async def say(self, statement: str) -> None:
        for each in statement.split("; "):
            self._execute(each, ())

    def _execute(self, statement: str, values: Sequence[object]) -> Any:
        if not self._numbered:
            # These drivers know parameters by their places, and take % for the beginning of one.
            places = [int(number) for number in PARAMETER.findall(statement)]
            statement = PARAMETER.sub("%s", statement.replace("%", "%%"))
            values = [values[place - 1] for place in places]
        try:
            return self._connection.exec_driver_sql(statement, tuple(values))
        except DBAPIError as error:
            state = _state(error)
            if state == HELD_UP_STATE:
                raise HELD_UP(str(error.orig)) from error
            if state[:2] in DATA_CLASSES or isinstance(error, DataError):  # psycopg finds some by itself
                raise asyncpg.DataError(str(error.orig)) from error
            raise


def write(connection: Connection, identity: Sequence[object], write: Write, now_us: Callable[[], int]) -> Tried:
    """Its outcome, if the transaction commits; None: somebody else holds what it needs, and it may be tried again.

    ``identity`` is the database's, as `IDENTITY` asks for it. ValueError when the connection's is another. Whatever is
    raised, nothing of it is in the transaction.
    """
    if connection.dialect.name != "postgresql":
        raise ValueError(
            f"the session is one of {connection.dialect.name}, and this client's database is a PostgreSQL: what is to "
            "be one transaction has to be one database"
        )
    return driven(_write(Joined(connection), identity, write, now_us))


async def _write(db: Joined, identity: Sequence[object], write: Write, now_us: Callable[[], int]) -> Tried:
    *found, isolation, lock_timeout = (await db.read(", ".join((IDENTITY, *SETTINGS))))[0]
    if tuple(found) != tuple(identity):
        raise ValueError(
            f"the session's database is {found[1]!r}, and not the one that this client is connected to, or its "
            "search_path finds other tables there: what is to be one transaction has to be one database"
        )
    if isolation != "read committed" and _needs_latest(write):
        # It would see the run open after it was closed, or not see what it was sent, and a message be lost.
        raise ValueError(
            f"this can't be done in a transaction that is {isolation}, for it has to see what is there now: "
            "use READ COMMITTED"
        )
    outcomes: dict[int, Tried] = {}
    await _begin(db)
    try:
        if isinstance(write, Transition):
            await db.read(LIMIT_WAIT, PATIENCE)
        await postgres_commit.apply(db, [(0, write)], now_us(), outcomes)
        if isinstance(write, Transition):
            await db.read(LIMIT_WAIT, lock_timeout)
    except Outrun:
        outcomes[0] = None
    except BaseException:
        with suppress(DBAPIError):  # the connection is lost
            await db.say("ROLLBACK TO durable; RELEASE durable")
        raise
    if outcomes[0] is None:
        await db.say("ROLLBACK TO durable")
    await db.say("RELEASE durable")
    return outcomes[0]


def _needs_latest(write: Write) -> bool:
    return isinstance(write, Send) or (
        isinstance(write, Transition) and write.start is not None and write.start.replaces is not None
    )


async def _begin(db: Joined) -> None:
    try:
        await db.say("SAVEPOINT durable")
    except DBAPIError as error:
        if _state(error) != NO_TRANSACTION_STATE:
            raise
        raise ValueError(
            "the session has no transaction, for each of its statements is committed by itself: its isolation level "
            "must not be AUTOCOMMIT, and no SQL of its own may end the transaction"
        ) from error


def driven(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    work.close()
    raise AssertionError("it waits for the event loop")


def _state(error: DBAPIError) -> str:
    """The SQLSTATE, as psycopg, psycopg2 and the adapter of asyncpg have it; "" of an error that has none."""
    found = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    return str(found or "")
