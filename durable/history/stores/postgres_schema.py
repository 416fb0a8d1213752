"""The tables of a PostgreSQL database: made if there are none, brought up to date if they are old; by one at a time."""

from __future__ import annotations

from functools import partial

from sqlalchemy.dialects import postgresql as dialects

from durable.history.errors import SchemaTooNew, StoreUnavailable
from durable.history.stores.ddl import schema_statements
from durable.history.stores.postgres_connection import ISOLATION, Connection, connect
from durable.history.stores.postgres_errors import NOT_ALLOWED
from durable.history.stores.tables import SCHEMA, VERSION_TABLE, pulse

MIGRATION_LOCK = 0x6475_7261_626C_65  # "durable"
# Not to_regclass: whoever waited for the lock would be told what was true before.
FIND_VERSION = f"SELECT count(*) FROM pg_class WHERE relname = '{VERSION_TABLE}' AND pg_table_is_visible(oid)"
READ_VERSION = f"SELECT version_num FROM {VERSION_TABLE}"
TAKE_LOCK = f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"


async def prepare(db: Connection) -> None:
    """Nothing, when the tables are of today: then a role that may not make any will do."""
    async with db.held(), db.reading():
        version = await _version(db)
    if version == SCHEMA:
        return
    try:
        async with db.held():
            # Not `transaction`: many processes may start at once, and wait here for the one that makes the tables.
            await db.say(f"BEGIN {ISOLATION}")
            try:
                await db.read(TAKE_LOCK)
                version = await _version(db)
                if version is None:
                    await _create(db)
                await db.say("COMMIT")
            except BaseException:
                await db.say("ROLLBACK")
                raise
            if version not in (None, SCHEMA):
                from durable.history.migrations.upgrade import upgrade_postgres

                await upgrade_postgres(partial(connect, db.address), TAKE_LOCK)
    except StoreUnavailable as error:
        if isinstance(error.__cause__, NOT_ALLOWED):
            raise StoreUnavailable(
                f"the {db.address.name} has no tables of this version yet, and this role may not make them "
                f"({error.__cause__}): open it once with a role that may"
            ) from error
        raise


async def _version(db: Connection) -> str | None:
    """The revision of the tables; None where there are none, "" before the first revision."""
    if not await db.one(FIND_VERSION):
        return None
    rows = await db.read(READ_VERSION)
    version = str(rows[0][0]) if rows else ""
    if version > SCHEMA:
        raise SchemaTooNew(
            f"the {db.address.name} was made by a newer version of durable (its tables are revision {version}, this "
            f"version knows {SCHEMA}): use that version here too"
        )
    return version


async def _create(db: Connection) -> None:
    for statement in schema_statements(dialects.dialect()):  # type: ignore[no-untyped-call]
        await db.say(statement)
    await db.say(f"INSERT INTO {pulse.name} VALUES (1, 0)")
    await db.say(f"INSERT INTO {VERSION_TABLE} VALUES ('{SCHEMA}')")
