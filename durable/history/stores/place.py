"""Pure: what a database's URL names: a SQLite file, or a PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from durable.history.errors import StoreUnavailable
from durable.history.stores.postgres_address import Address, address


class File(NamedTuple):
    """A SQLite file. ``anywhere``: on any file system, whether SQLite is safe there or not."""

    path: Path
    anywhere: bool = False


def place(url: str) -> File | Address | None:
    """A SQLite file, None for one that is temporary; or the address of a PostgreSQL.

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
    return _file(url, rest)


def _file(url: str, rest: str) -> File | None:
    if rest in ("", "/", "/:memory:"):
        return None
    rest, mark, option = rest.partition("?")
    if mark and option != "file_system=any":
        raise StoreUnavailable(
            f"{url!r}: the option {option!r} is not understood; the only one for SQLite is ?file_system=any, which "
            "opens a file on a network file system all the same"
        )
    if not rest.startswith("/"):
        host = rest.split("/")[0]
        raise StoreUnavailable(f"{url!r} names a host, {host!r}; a SQLite file has none: write sqlite:///{rest}")
    return File(Path(rest[1:]), anywhere=bool(mark))
