"""`durable db`: the tables of a database, in sentences."""

from __future__ import annotations

from durable.cli import reach
from durable.history.stores.tables import SCHEMA as SCHEMA
from durable.history.upkeep import tables
from durable.history.upkeep.revisions import Standing, named, standing, told, way_out


async def upgrade(address: str) -> str:
    before = await tables.revision(address)
    await tables.upgrade(address)
    if standing(before) is Standing.TODAY:
        repaired = await tables.repair(address)
        done = f"runs of an older version's workers that lists find again: {repaired}" if repaired else ""
        return f"{done or 'nothing to do'}; {told(before)}"
    return f"from {named(before)} to {named(await tables.revision(address))}"


async def current(address: str) -> str | None:
    reach.check(address, create=False)
    return await tables.revision(address)


def in_words(revision: str | None) -> str:
    """What `current` found."""
    return f"{named(revision)} (this version of durable knows {SCHEMA})"


async def check(address: str) -> tuple[str, bool]:
    """Whether the tables are up to date, in a sentence and for a machine."""
    revision = await current(address)
    if standing(revision) is Standing.TODAY:
        return told(revision), True
    return f"{told(revision)}: {way_out(revision)}", False


async def sql(address: str, start: str | None) -> str:
    return tables.sql(address, start)
