"""Run the revisions that a database lacks. Importing this imports Alembic: only a database that is behind needs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from durable.history.errors import StoreUnavailable
from durable.history.migrations import repair as repairing


def config() -> Config:
    alembic = Config()
    alembic.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return alembic


def head() -> str | None:
    """The newest revision there is."""
    return ScriptDirectory.from_config(config()).get_current_head()


def upgrade(path: Path) -> None:
    """Bring the file's tables to the newest revision, in one transaction. The caller holds the turnstile."""
    engine = create_engine(URL.create("sqlite+pysqlite", database=str(path)), poolclass=NullPool)
    # The driver would begin a transaction of its own at the first INSERT, after the DDL; begin it before everything.
    event.listen(engine, "connect", _no_implicit_begin)
    event.listen(engine, "begin", _begin)
    alembic = config()
    with engine.begin() as connection:
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, "head")
    engine.dispose()


async def upgrade_postgres(connect: Callable[[], Awaitable[Any]], take_lock: str) -> None:
    """Bring a PostgreSQL database's tables to the newest revision, in one transaction, whose first statement is
    ``take_lock``: so others that come at the same time wait, and find nothing to do. ``connect`` is the driver's."""
    # Whoever waited for the lock must see what was done meanwhile, whatever the server's default is.
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, poolclass=NullPool, isolation_level="READ COMMITTED"
    )
    alembic = config()

    def run(connection: Connection) -> None:
        connection.exec_driver_sql(take_lock)
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, "head")

    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


def repair(path: Path) -> int:
    """Of a file whose tables are of the newest revision: see `repair.repair`. Raises `StoreUnavailable`."""
    engine = create_engine(URL.create("sqlite+pysqlite", database=str(path)), poolclass=NullPool)
    event.listen(engine, "connect", _no_implicit_begin)
    with _explained(), engine.connect() as connection:
        return repairing.repair(connection)


async def repair_postgres(connect: Callable[[], Awaitable[Any]]) -> int:
    """The same of a PostgreSQL database. ``connect`` is the driver's."""
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, poolclass=NullPool, isolation_level="READ COMMITTED"
    )
    with _explained():
        async with engine.connect() as connection:
            return await connection.run_sync(repairing.repair)


@contextmanager
def _explained() -> Generator[None]:
    try:
        yield
    except DBAPIError as error:
        raise StoreUnavailable(
            f"what workers of an older version left out can't be added ({error.orig}): see to that, and run it again"
        ) from error


def _no_implicit_begin(raw: Any, _record: object) -> None:
    raw.isolation_level = None


def _begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
