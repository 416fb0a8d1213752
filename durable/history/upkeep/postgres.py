"""A PostgreSQL looked after from outside: its tables, and its health, as far as this role may see it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
import msgspec
from sqlalchemy.dialects import postgresql as dialects

from durable.history.errors import StoreUnavailable
from durable.history.host import Host
from durable.history.stores.postgres_address import Address, address
from durable.history.stores.postgres_connection import Connection, connect
from durable.history.stores.postgres_errors import HELD_UP
from durable.history.stores.postgres_schema import FIND_VERSION, READ_VERSION, prepare
from durable.history.stores.tables import SCHEMA, metadata
from durable.history.upkeep import load, postgres_judge, revisions
from durable.history.upkeep.finding import Finding, bad
from durable.history.upkeep.postgres_judge import SETTINGS, Blocked, Privileges, Seen, Sessions, Transaction

LOOKS = 5
"""A pooler hands out the session that was used last, so two clients that ask in turn get the same one."""

LONG_S = 60.0
"""A transaction open for that long is in the way: nothing that was deleted since it began can be cleared away."""
BLOCKED_S = 1.0
"""The engine gives up waiting for a lock long before."""

PATIENCE = "SET LOCAL statement_timeout = '20s'; SET LOCAL lock_timeout = '2s'"

SESSION = "SELECT pg_backend_pid()"
VERSION = "SELECT current_setting('server_version')"
READ_SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY($1)"
# A transaction of the doctor's is read-only itself, so it asks what others would get.
REPLICA = "SELECT pg_is_in_recovery()"
CLOCK = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
SIZE = "SELECT pg_database_size(current_database())"
COUNT_SESSIONS = """
SELECT current_setting('max_connections')::int
     - current_setting('superuser_reserved_connections')::int
     - (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend'),
    (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend' AND backend_start IS NULL)
"""
# Of another role's sessions, only a role in pg_read_all_stats sees more than that they are there. Transactions in other
# databases count too when they hold the horizon: but for shared tables, each database has its own.
LONG_TRANSACTIONS = """
SELECT pid::text, coalesce(usename::text, ''), application_name, coalesce(state, ''),
    extract(epoch FROM clock_timestamp() - xact_start)::float8
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    AND xact_start < clock_timestamp() - make_interval(secs => $1)
UNION ALL
SELECT gid, owner::text, '', 'prepared', extract(epoch FROM clock_timestamp() - prepared)::float8
FROM pg_prepared_xacts
WHERE database = current_database() AND prepared < clock_timestamp() - make_interval(secs => $1)
ORDER BY 5 DESC
"""
# Who waits for a row waits for its writer's transaction; the table is told by the lock that the waiter has on it.
BLOCKED = """
SELECT waiter.pid, waiter.application_name, min(relation.relname)::text, pg_blocking_pids(waiter.pid),
    extract(epoch FROM clock_timestamp() - waiter.query_start)::float8
FROM pg_stat_activity AS waiter
JOIN pg_locks AS held ON held.pid = waiter.pid
JOIN pg_class AS relation ON relation.oid = held.relation AND relation.relname = ANY($1)
WHERE waiter.datname = current_database() AND waiter.wait_event_type = 'Lock'
    AND waiter.query_start < clock_timestamp() - make_interval(secs => $2)
    AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
GROUP BY waiter.pid, waiter.application_name, waiter.query_start
ORDER BY waiter.query_start
"""
THERE = (
    "SELECT relname::text FROM pg_class WHERE relname = ANY($1) AND relkind IN ('r', 'p') AND pg_table_is_visible(oid)"
)
PRIVILEGES = """
SELECT name,
    has_table_privilege(name, 'SELECT'),
    has_table_privilege(name, 'INSERT') AND has_table_privilege(name, 'UPDATE') AND has_table_privilege(name, 'DELETE')
FROM unnest($1::text[]) AS name
"""
SEQUENCE = "SELECT has_sequence_privilege(pg_get_serial_sequence('durable_inbox', 'id'), 'USAGE')"


async def revision(url: str) -> str | None:
    """The revision of the tables; None where there are none, "" before the first revision."""
    async with _connection(url) as db, _reading(db):
        return await _revision(db)


async def upgrade(where: Address) -> None:
    """Make the tables, or bring them up to date."""
    db = Connection(where)
    try:
        await prepare(db)
    finally:
        await db.close()


async def repair(where: Address) -> int:
    """What workers of an older version have left out, in tables of today; of how many runs."""
    from durable.history.migrations.upgrade import repair_postgres

    return await repair_postgres(partial(connect, where))


async def examine(url: str, host: Host) -> list[Finding]:
    """All that can be found out; what is broken, or missing, is a finding as well."""
    found: list[Finding] = []
    try:
        async with _connection(url) as db, _connection(url) as other:
            found.append(postgres_judge.pooler(await _sessions(db, other), told=address(url).pooled))
            async with _reading(db):
                found += await _server(db, host)
                found += await _content(db)
    except StoreUnavailable as error:
        found.append(bad("database", str(error)))
    return found


async def _server(db: Connection, host: Host) -> list[Finding]:
    driver: Any = asyncpg
    asked_us = host.now_us()
    server_us: int = await db.one(CLOCK)
    answered_us = host.now_us()
    settings = {str(name): str(value) for name, value in await db.read(READ_SETTINGS, list(SETTINGS))}
    left, unseen = (await db.read(COUNT_SESSIONS))[0]
    return [
        postgres_judge.server(await db.one(VERSION), str(driver.__version__), await db.one(SIZE)),
        postgres_judge.primary(await db.one(REPLICA), settings),
        postgres_judge.settings(settings),
        postgres_judge.connections(left),
        postgres_judge.clock(server_us - (asked_us + answered_us) // 2, (answered_us - asked_us) // 2),
        postgres_judge.transactions([Transaction(*row) for row in await db.read(LONG_TRANSACTIONS, LONG_S)], unseen),
        postgres_judge.blocked([Blocked(*row) for row in await db.read(BLOCKED, sorted(metadata.tables), BLOCKED_S)]),
    ]


async def _content(db: Connection) -> list[Finding]:
    if await db.one(FIND_VERSION) and not await db.one("SELECT has_table_privilege('durable_schema', 'SELECT')"):
        return [postgres_judge.may_not_look()]
    version = await _revision(db)
    found = [revisions.judge(version)]
    if version != SCHEMA:
        return found
    there = {str(row[0]) for row in await db.read(THERE, sorted(metadata.tables))}
    if gone := metadata.tables.keys() - there:
        return [*found, *revisions.missing(gone)]
    rights = [Privileges(*row) for row in await db.read(PRIVILEGES, sorted(there))]
    found.append(postgres_judge.rights(rights, counts=await db.one(SEQUENCE)))
    if not all(right.reads for right in rights):
        return found
    now_us: int = await db.one(CLOCK)
    dialect = dialects.dialect()  # type: ignore[no-untyped-call]
    ask = load.Statements(dialect, now_us)
    rows: list[Sequence[Sequence[Any]]] = [
        await db.read(text) for text in (ask.workers, ask.parked, ask.runs, ask.tasks)
    ]
    return [*found, *load.judge(load.load(*rows), now_us)]


async def _sessions(one: Connection, other: Connection) -> Sessions:
    """Which of the server's sessions two connections get, one transaction after the other."""
    async with one.held() as raw, other.held():
        seen = [Seen(await _session(one), await _session(other)) for _ in range(LOOKS)]
        return Sessions(raw.get_server_pid(), seen)


async def _session(db: Connection) -> int:
    async with db.reading():
        pid: int = await db.one(SESSION)
        return pid


async def _revision(db: Connection) -> str | None:
    if not await db.one(FIND_VERSION):
        return None
    rows = await db.read(READ_VERSION)
    return str(rows[0][0]) if rows else ""


@asynccontextmanager
async def _connection(url: str) -> AsyncGenerator[Connection]:
    """To any server that the URL names, a standby too, and in a way that suits a pooler."""
    if "target_session_attrs=" not in url:
        url += f"{'&' if '?' in url else '?'}target_session_attrs=any"
    db = Connection(msgspec.structs.replace(address(url), pooled=True))
    try:
        yield db
    finally:
        await db.close()


@asynccontextmanager
async def _reading(db: Connection) -> AsyncGenerator[None]:
    """Raises `StoreUnavailable` where another one's lock is in the way."""
    try:
        async with db.held(), db.reading():
            await db.say(PATIENCE)
            yield
    except HELD_UP as error:
        raise StoreUnavailable(
            f"the {db.address.name} can't be read: its tables are locked ({error}); look again in a while, or end the "
            "transaction that has them locked"
        ) from error
