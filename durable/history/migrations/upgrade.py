"""Run the revisions that a database lacks. Importing this imports Alembic: only a database that is behind needs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool


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


def _no_implicit_begin(raw: Any, _record: object) -> None:
    raw.isolation_level = None


def _begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
