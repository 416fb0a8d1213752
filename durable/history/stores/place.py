"""Pure: what a database's URL names: a SQLite file, or a PostgreSQL."""

from __future__ import annotations

from durable.history.errors import StoreUnavailable
from durable.history.stores.postgres_address import Address, address


def place(url: str) -> str | Address | None:
    """The path of a SQLite file, None for one that is temporary; or the address of a PostgreSQL.

    Raises `StoreUnavailable` for what names neither.
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        raise StoreUnavailable(f"{url!r} is not a database URL; write sqlite:///{url} for a file of that name")
    if scheme in ("postgresql", "postgres", "postgresql+asyncpg"):
        return address(url)
    if scheme not in ("sqlite", "sqlite+aiosqlite", "sqlite+pysqlite"):
        raise StoreUnavailable(
            f"no store is known for {scheme}:// URLs; use one like sqlite:///app.db, or postgresql://…"
        )
    return _path(url, rest)


def _path(url: str, rest: str) -> str | None:
    if rest in ("", "/", "/:memory:"):
        return None
    if "?" in rest:
        raise StoreUnavailable(f"{url!r}: options after ? are not understood; give them to open_store by name")
    if not rest.startswith("/"):
        host = rest.split("/")[0]
        raise StoreUnavailable(f"{url!r} names a host, {host!r}; a SQLite file has none: write sqlite:///{rest}")
    return rest[1:]
