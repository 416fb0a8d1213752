"""The tables of a database, whichever it is: their revision, what brings them up to date, and that as SQL."""

from __future__ import annotations

from durable.history.errors import StoreUnavailable
from durable.history.stores import open_store
from durable.history.stores.place import File, place
from durable.history.stores.postgres_address import Address
from durable.history.upkeep import sqlite


async def revision(url: str) -> str | None:
    """The revision of the tables; None where there are none, or no file, "" before the first revision. Only reads."""
    where = locate(url)
    if isinstance(where, File):
        return sqlite.revision(where.path)
    from durable.history.upkeep import postgres  # its driver may be missing

    return await postgres.revision(url)


async def upgrade(url: str) -> None:
    """Bring the tables to today's revision; make them, and a SQLite file, if there are none.

    Raises `SchemaTooNew` for those of a newer version, `StoreUnavailable` where it can't be done.
    """
    where = locate(url)
    if isinstance(where, File):
        sqlite.upgrade(where.path, anywhere=where.anywhere)
        return
    from durable.history.upkeep import postgres  # its driver may be missing

    await postgres.upgrade(where)


async def repair(url: str) -> int:
    """In tables of today, add what workers of an older version have left out since these were made; of how many runs.

    Again it does nothing. Workers may be at work. Raises `StoreUnavailable`.
    """
    where = locate(url)
    if isinstance(where, File):
        return sqlite.repair(where.path)
    from durable.history.upkeep import postgres  # its driver may be missing

    return await postgres.repair(where)


def sql(url: str, start: str | None) -> str:
    """What `upgrade` does to the tables of revision ``start`` (None: there are none), in the language of a database
    like this one, which is not opened."""
    from durable.history.migrations.script import script  # Alembic: nothing else here needs it

    return script("postgresql" if isinstance(locate(url), Address) else "sqlite", start)


def locate(url: str) -> File | Address:
    """Where it is; its driver is there."""
    where = place(url)
    if where is None:
        raise StoreUnavailable(f"{url} is a database that ends with this command: name a file, as sqlite:///app.db")
    open_store(url)
    return where if isinstance(where, Address) else where._replace(path=where.path.absolute())
