"""A database examined, whichever it is."""

from __future__ import annotations

from durable.history.errors import StoreUnavailable
from durable.history.host import Host
from durable.history.stores.place import File
from durable.history.upkeep import sqlite
from durable.history.upkeep.finding import Finding, bad
from durable.history.upkeep.tables import locate


async def examine(url: str, host: Host) -> list[Finding]:
    """What can be found out about the database at ``url`` and what it depends on; only looks."""
    try:
        where = locate(url)
    except StoreUnavailable as error:
        return [bad("address", str(error))]
    if isinstance(where, File):
        return await sqlite.examine(where.path, host)
    from durable.history.upkeep import postgres  # its driver may be missing

    return await postgres.examine(url, host)
