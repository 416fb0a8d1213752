"""The stores, and which one a URL means."""

from __future__ import annotations

from typing import Any

from durable.history.errors import StoreUnavailable
from durable.history.host import Host, Machine
from durable.history.store import Store
from durable.history.stores.place import place
from durable.history.stores.postgres_address import Address


def open_store(url: str, host: Host | None = None, **options: Any) -> Store:
    """The store that ``url`` names; nothing is opened before ``async with``.

    ``sqlite:///app.db`` is a file beside the program, ``sqlite:////var/lib/app.db`` an absolute path, ``sqlite://``
    a database that lasts as long as the store is open (``?file_system=any`` after a path has a file opened that is on a
    network file system, which SQLite may damage); ``postgresql://user:password@host/name`` is a database of
    PostgreSQL (``?pooler=transaction`` behind a transaction pooler). Options are those of the store's class.
    """
    where = place(url)
    if isinstance(where, Address):
        return _postgres(url, host or Machine(), options)
    from durable.history.stores.sqlite import SqliteStore

    if where is None:
        return SqliteStore(None, host or Machine(), **options)
    return SqliteStore(where.path, host or Machine(), anywhere=where.anywhere, **options)


def _postgres(url: str, host: Host, options: dict[str, Any]) -> Store:
    try:
        from durable.history.stores.postgres import PostgresStore
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise StoreUnavailable(
            "a PostgreSQL database needs the driver asyncpg: pip install 'durable[postgres]'"
        ) from error
    return PostgresStore(url, host, **options)
