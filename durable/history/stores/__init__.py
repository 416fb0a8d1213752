"""The stores, and which one a URL means."""

from __future__ import annotations

from typing import Any

from durable.history.errors import StoreUnavailable
from durable.history.host import Host, Machine
from durable.history.store import Store


def open_store(url: str, host: Host | None = None, **options: Any) -> Store:
    """The store that ``url`` names; nothing is opened before ``async with``.

    ``sqlite:///app.db`` is a file beside the program, ``sqlite:////var/lib/app.db`` an absolute path, ``sqlite://``
    a database that lasts as long as the store is open. Options are those of the store's class.
    """
    from durable.history.stores.sqlite import SqliteStore

    scheme, mark, rest = url.partition("://")
    if not mark:
        raise StoreUnavailable(f"{url!r} is not a database URL; write sqlite:///{url} for a file of that name")
    if scheme in ("postgresql", "postgres", "postgresql+asyncpg"):
        raise StoreUnavailable("this version of durable keeps its runs in SQLite only; use a URL like sqlite:///app.db")
    if scheme not in ("sqlite", "sqlite+aiosqlite", "sqlite+pysqlite"):
        raise StoreUnavailable(f"no store is known for {scheme}:// URLs; use one like sqlite:///app.db, or sqlite://")
    return SqliteStore(_path(url, rest), host or Machine(), **options)


def _path(url: str, rest: str) -> str | None:
    if rest in ("", "/", "/:memory:"):
        return None
    if "?" in rest:
        raise StoreUnavailable(f"{url!r}: options after ? are not understood; give them to open_store by name")
    if not rest.startswith("/"):
        host = rest.split("/")[0]
        raise StoreUnavailable(f"{url!r} names a host, {host!r}; a SQLite file has none: write sqlite:///{rest}")
    return rest[1:]
