"""Opening a PostgreSQL database: its tables, what is refused and how that is said, and what its statements cost."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from durable.history.errors import StoreUnavailable
from durable.history.migrations.upgrade import upgrade_postgres
from durable.history.stores import open_store
from durable.history.stores.postgres import PostgresStore
from durable.history.stores.postgres_address import address
from durable.history.stores.postgres_connection import Raw, connect
from durable.history.stores.postgres_errors import unavailable
from durable.history.stores.postgres_schema import TAKE_LOCK
from durable.history.stores.postgres_sql import statements
from tests.history.worlds import ClockedHost, claim, done, start, taken, worker
from tests.postgres import Server, database_of


@pytest.fixture
def empty(postgres_server: Server) -> Iterator[str]:
    """The URL of a database without tables."""
    name = postgres_server.create(template="template0")
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture
def no_ddl(postgres: str, postgres_server: Server) -> Iterator[str]:
    """The URL of a role that may use the tables, and make none."""
    database = database_of(postgres)
    postgres_server.run("CREATE ROLE no_ddl LOGIN")
    tables = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"
    postgres_server.run(f"GRANT {tables} TO no_ddl", database)
    postgres_server.run("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO no_ddl", database)
    yield postgres.replace("postgres@", "no_ddl@")
    postgres_server.run("DROP OWNED BY no_ddl", database)
    postgres_server.run("DROP ROLE no_ddl")


# Tables. ----------------------------------------------------------------------------------------------------------


async def test_an_empty_database_gets_its_tables(empty: str) -> None:
    async with open_store(empty) as store:
        await done(store, start())
    async with open_store(empty) as store:
        assert len(await store.list_runs("default")) == 1


COLUMNS = (
    "SELECT table_name, column_name, data_type, is_nullable, collation_name, column_default, is_identity "
    "FROM information_schema.columns WHERE table_name LIKE 'durable%' ORDER BY 1, 2"
)
INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE tablename LIKE 'durable%' ORDER BY 1, 2"


async def test_the_migrations_make_the_same_tables(empty: str, postgres: str, postgres_server: Server) -> None:
    await upgrade_postgres(partial(connect, address(empty)), TAKE_LOCK)

    for what in (COLUMNS, INDEXES):
        migrated, made = (
            [tuple(row) for row in postgres_server.run(what, database_of(url))] for url in (empty, postgres)
        )
        # Alembic makes its own table as it likes.
        own = [row for row in migrated if row[0] != "durable_schema"]
        assert own == [row for row in made if row[0] != "durable_schema"] and own
    async with open_store(empty) as store:
        await done(store, start())


async def test_a_database_that_is_behind_is_brought_up_to_date(empty: str, postgres_server: Server) -> None:
    postgres_server.run("CREATE TABLE durable_schema (version_num varchar(32) PRIMARY KEY)", database_of(empty))

    async with open_store(empty) as store:
        await done(store, start())


async def test_a_role_that_may_make_no_tables_uses_those_that_are_there(no_ddl: str) -> None:
    async with open_store(no_ddl, ClockedHost()) as store:
        await store.register(worker("w1"))
        await done(store, start())
        assert taken(await store.claim(claim("w1"))) == ["run of order-7"]
        await store.release("w1")


async def test_a_role_that_may_make_no_tables_says_so_when_there_are_none(no_ddl: str, empty: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"has no tables.*may not make them.*open it once with a role that may"):
        await open_store(empty.replace("postgres@", "no_ddl@")).__aenter__()


# What is refused. -------------------------------------------------------------------------------------------------


async def test_a_database_that_is_not_there_is_told(postgres_server: Server) -> None:
    with pytest.raises(StoreUnavailable, match=r"'nowhere'.*create it first"):
        await open_store(postgres_server.url("nowhere")).__aenter__()


async def test_a_server_that_does_not_run_is_told() -> None:
    with pytest.raises(StoreUnavailable, match=r"'app' at localhost:1 can't be used.*does the server run") as told:
        await open_store("postgresql://user:secret@localhost:1/app").__aenter__()

    assert "secret" not in str(told.value)


async def test_a_user_that_is_not_there_is_told(postgres: str) -> None:
    with pytest.raises(StoreUnavailable, match="look at the user"):
        await open_store(postgres.replace("postgres@", "nobody@")).__aenter__()


@pytest.fixture
def guarded(postgres: str, postgres_server: Server) -> Iterator[str]:
    """The URL of a role that has to show its password, which is a secret."""
    rules = Path(postgres.partition("host=")[2]) / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all guarded scram-sha-256\n{before}")
    postgres_server.run("SELECT pg_reload_conf()")
    postgres_server.run("CREATE ROLE guarded SUPERUSER LOGIN PASSWORD 'secret'")
    yield postgres.replace("postgres@", "guarded:secret@")
    rules.write_text(before)
    postgres_server.run("SELECT pg_reload_conf()")
    postgres_server.run("DROP ROLE guarded")


async def test_a_wrong_password_is_told_at_once_and_without_it(guarded: str) -> None:
    async with open_store(guarded) as store:
        assert await store.list_runs("default") == []

    with pytest.raises(StoreUnavailable, match="look at the user and the password") as told:
        await open_store(guarded.replace("secret", "guessed")).__aenter__()

    assert "guessed" not in str(told.value)


def test_a_password_is_not_told() -> None:
    told = str(unavailable(OSError("no route"), address("postgresql://user:secret@db.example/app")))

    assert "secret" not in told and "db.example" in told


def test_a_missing_driver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("durable.history.stores.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asyncpg", None)

    with pytest.raises(StoreUnavailable, match=r"pip install 'durable\[postgres\]'"):
        open_store("postgresql://localhost/app")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
async def test_all_spellings_of_a_url_mean_the_same(postgres: str, scheme: str) -> None:
    async with open_store(postgres.replace("postgresql", scheme)) as store:
        assert await store.list_runs("default") == []


def test_an_unknown_pooler_is_refused() -> None:
    with pytest.raises(StoreUnavailable, match="pooler=statement is unknown: write pooler=transaction"):
        open_store("postgresql://localhost/app?pooler=statement")


# What statements cost. --------------------------------------------------------------------------------------------

LARGE = ("durable_runs", "durable_history", "durable_inbox", "durable_activity_tasks")
NOTHING_KNOWN = (
    "UPDATE pg_class SET relpages = 0, reltuples = -1 WHERE relname LIKE 'durable%'",
    "DELETE FROM pg_statistic WHERE starelid IN (SELECT oid FROM pg_class WHERE relname LIKE 'durable%')",
)
"""As of tables that are new. Of those that autovacuum has found empty PostgreSQL believes that they stay so, and then
any index is as good as another."""
SCAN = re.compile(r"(Seq Scan|Index Scan|Index Only Scan|Bitmap Heap Scan).* on (durable_\w+)")
BY_ITS_KEY = re.compile(r"\s*(Index Cond|Recheck Cond)")


async def test_every_statement_finds_its_rows_by_an_index(postgres: str) -> None:
    """So that none costs more for closed runs and pending timers, which it does not ask for."""
    session = await connect(address(postgres))
    try:
        await session.execute("VACUUM ANALYZE")  # as autovacuum may, whenever it likes
        await session.execute("BEGIN")
        for statement in NOTHING_KNOWN:
            await session.execute(statement)
        await session.execute("SET plan_cache_mode = force_generic_plan")
        bad: list[str] = []
        for group, texts in vars(statements()).items():
            for name, text in vars(texts).items():
                text = text if isinstance(text, str) else text.text
                plan = await explained(session, f"{group}_{name}", text)
                if walks(plan):
                    bad.append(f"{group}.{name}:\n" + "\n".join(plan))
    finally:
        await session.close(timeout=1)

    assert not bad, "\n\n".join(bad)


async def explained(session: Raw, name: str, text: str) -> list[str]:
    nulls = ", ".join(["NULL"] * max((int(number) for number in re.findall(r"\$(\d+)", text)), default=0))
    await session.execute(f"PREPARE {name} AS {text}")
    rows = await session.fetch(f"EXPLAIN (COSTS OFF) EXECUTE {name}" + (f"({nulls})" if nulls else ""))
    return [str(row[0]) for row in rows]


def walks(plan: list[str]) -> list[str]:
    """The scans that read a large table from end to end."""
    found: list[str] = []
    for line, following in zip(plan, [*plan[1:], ""], strict=True):
        scan = SCAN.search(line)
        if scan and scan[2] in LARGE and (scan[1] == "Seq Scan" or not BY_ITS_KEY.match(following)):
            found.append(line)
    return found


CROWD = """
INSERT INTO durable_runs SELECT 'closed ' || n, 'default', 'closed ' || n, 1, 'Order', 'orders', 2, NULL, 9, 9, 1, 2,
    'closed ' || n, 'r' || n, NULL FROM generate_series(1, {count}) AS n;
INSERT INTO durable_runs SELECT 'parked ' || n, 'default', 'parked ' || n, 1, 'Order', 'orders', 1, NULL, 9, 9, 1, NULL,
    'parked ' || n, 'r' || n, 'broken' FROM generate_series(1, {count}) AS n;
INSERT INTO durable_inbox (namespace, task_queue, run_id, kind, key, due_us, body)
    SELECT 'default', 'orders', 'parked ' || n, 2, n, {later} + n, '' FROM generate_series(1, {count}) AS n;
INSERT INTO durable_activity_tasks SELECT 'parked ' || n, 5, 'default', 'orders', 'orders', {later} + n, {later} + n,
    NULL, 0, 0, false, false, '', '' FROM generate_series(1, {count}) AS n;
"""
PAGES_READ = (
    "SELECT sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)::bigint FROM pg_statio_user_tables"
)


async def pages_of_a_claim(store: PostgresStore, postgres_server: Server, database: str) -> int:
    """How many pages the server looks at for a claim that finds nothing."""

    async def so_far() -> int:
        async with store._db.held() as raw:  # pyright: ignore[reportPrivateUsage]
            await raw.fetch("SELECT pg_stat_force_next_flush()")
        return int(postgres_server.run(PAGES_READ, database)[0][0])

    await store.claim(claim("w1"))
    before = await so_far()
    found = await store.claim(claim("w1"))
    assert found.runs == [] and found.activities == []
    return await so_far() - before


async def test_a_claim_costs_the_same_with_many_timers_parked_and_closed_runs_as_with_none(
    postgres: str, postgres_server: Server
) -> None:
    database, host = database_of(postgres), ClockedHost()
    async with PostgresStore(postgres, host) as store:
        await store.register(worker("w1"))
        alone = await pages_of_a_claim(store, postgres_server, database)

        crowd = CROWD.format(count=20_000, later=host.now_us() + 10**9)
        for statement in crowd.split(";")[:-1]:
            postgres_server.run(statement, database)
        crowded = await pages_of_a_claim(store, postgres_server, database)

    assert crowded < alone + 30, (alone, crowded)
