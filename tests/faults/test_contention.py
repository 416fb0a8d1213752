"""A PostgreSQL with much going on: deadlocks, what can't be cleared away, ten that begin at once, a storm of news."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

import asyncpg
import pytest

from durable import Client, activity, workflow
from durable.history.errors import SchemaTooNew, StoreUnavailable
from durable.history.host import Machine
from durable.history.stores import open_store
from durable.history.stores.postgres import PostgresStore
from durable.history.stores.postgres_connection import Connection
from durable.history.stores.tables import SCHEMA
from durable.history.transition import Committed, Refusal, Refused, Write
from tests.engine.histories import until
from tests.faults.conftest import MakeWorker
from tests.faults.opening import open_and_start
from tests.forkserver import processes
from tests.history.breaking import WRITES, break_at
from tests.history.worlds import (
    BEGINNING_US,
    NAMESPACE,
    QUEUE,
    ClockedHost,
    cancelling,
    claim,
    close,
    done,
    due,
    info,
    owned,
    send,
    signal,
    start,
    step,
    taken,
    task,
    worker,
)
from tests.postgres import Server, database_of

RUN = "run of order-7"


@pytest.fixture
def host() -> ClockedHost:
    return ClockedHost()


@pytest.fixture
async def store(postgres: str, host: ClockedHost) -> AsyncIterator[PostgresStore]:
    async with PostgresStore(postgres, host) as opened:
        await opened.register(worker("w1"))
        yield opened


@pytest.fixture
async def stranger(postgres: str) -> AsyncIterator[Any]:
    """A session of somebody else, in a transaction."""
    session = await asyncpg.connect(postgres)
    await session.execute("BEGIN")
    yield session
    session.terminate()


# F38: deadlocks, serialization failures. --------------------------------------------------------------------------


@pytest.mark.parametrize("error", [asyncpg.DeadlockDetectedError, asyncpg.SerializationError])
async def test_f38_what_the_server_rolls_back_is_tried_again(store: PostgresStore, error: type[Exception]) -> None:
    async def fail(asked: Coroutine[Any, Any, Any]) -> Any:
        asked.close()
        raise error("could not go on")

    await break_at(store, WRITES, fail)

    await done(store, start())

    assert len(await store.history(RUN)) == 1


async def test_f38_what_is_rolled_back_again_and_again_is_told(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = store._db  # pyright: ignore[reportPrivateUsage]
    read = db.read
    tries = 0

    async def fail(statement: str, *values: object) -> Any:
        nonlocal tries
        if statement.startswith(WRITES):
            tries += 1
            raise asyncpg.SerializationError("could not serialize access")
        return await read(statement, *values)

    monkeypatch.setattr(db, "read", fail)

    with pytest.raises(StoreUnavailable, match=r"too contended.*could not serialize access.*nothing is written"):
        await store.commit([start()])
    assert tries == 8


async def test_f38_a_deadlock_with_a_stranger_costs_neither_its_work(store: PostgresStore, stranger: Any) -> None:
    """Each has what the other one wants next: ours lets go, and comes again."""
    run = await owned(store)
    await done(store, step(run, tasks=(task(RUN, 5),)))
    run = await info(store, RUN)
    await stranger.execute("SELECT 1 FROM durable_activity_tasks FOR UPDATE")
    locked = asyncio.Event()

    async def look_on(asked: Coroutine[Any, Any, Any]) -> Any:
        locked.set()
        return await asked

    await break_at(store, WRITES, look_on)
    write: Write = step(run, cancelled_activities=(cancelling(5),))
    committing = asyncio.ensure_future(store.commit([write]))
    await locked.wait()
    await stranger.execute("SELECT 1 FROM durable_runs FOR UPDATE")
    answer = (await committing)[0]
    await stranger.execute("COMMIT")

    assert isinstance(answer, asyncio.Future) and await answer == Committed(run_id=RUN)
    assert await store.tasks(RUN) == []


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_f38_the_isolation_that_the_server_gives_by_default_makes_no_difference(
    postgres: str, postgres_server: Server, host: ClockedHost, level: str
) -> None:
    """What a closing transition reads once it has locked its run has to be what is there then, and not what was when
    it began."""
    database = database_of(postgres)
    postgres_server.run(f"ALTER DATABASE {database} SET default_transaction_isolation = '{level}'")
    try:
        async with PostgresStore(postgres, host) as store, PostgresStore(postgres, host) as other:
            await store.register(worker("w1"))
            run = await owned(store)

            async def look_and_let_send(asked: Coroutine[Any, Any, Any]) -> None:
                await asked
                await store._db.read("SELECT 1 FROM durable_runs")  # pyright: ignore[reportPrivateUsage]
                await done(other, send(signal("just in time", BEGINNING_US)))

            await break_at(store, "BEGIN", look_and_let_send)
            outcome = (await store.commit([close(run)]))[0]
    finally:
        postgres_server.run(f"ALTER DATABASE {database} RESET default_transaction_isolation")

    assert isinstance(outcome, Refused) and outcome.reason is Refusal.UNREAD


# F40: what can't be cleared away. ---------------------------------------------------------------------------------

COUNT = 20_000
CHURN = f"""
INSERT INTO durable_inbox (namespace, task_queue, run_id, kind, key, due_us, body)
    SELECT '{NAMESPACE}', '{QUEUE}', 'gone ' || n, 2, 0, {{now}} + (n - {COUNT // 2}) * 6000, ''
    FROM generate_series(1, {COUNT}) AS n;
INSERT INTO durable_activity_tasks
    SELECT 'gone ' || n, 5, '{NAMESPACE}', '{QUEUE}', '{QUEUE}', {{now}} - n * 3000,
    {{now}} + (n - {COUNT // 2}) * 6000, NULL, 0, 0, false, false, '', '' FROM generate_series(1, {COUNT}) AS n;
DELETE FROM durable_inbox;
DELETE FROM durable_activity_tasks
"""
"""Messages and tasks of the last minute and of the next one, all of them over."""
PAGES_READ = (
    "SELECT sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)::bigint FROM pg_statio_user_tables"
)


async def pages_of_a_claim(store: PostgresStore, server: Server, database: str) -> int:
    """How many pages the server looks at."""

    async def so_far() -> int:
        async with store._db.held() as raw:  # pyright: ignore[reportPrivateUsage]
            await raw.fetch("SELECT pg_stat_force_next_flush()")
        return int(server.run(PAGES_READ, database)[0][0])

    before = await so_far()
    await store.claim(claim("w1"))
    return await so_far() - before


@pytest.fixture
def undisturbed(postgres: str, postgres_server: Server) -> Iterator[str]:
    """A database in which nobody counts but the test: without rows that are gone, and not looked after."""
    database, tables = database_of(postgres), ("durable_inbox", "durable_activity_tasks")
    postgres_server.run(f"TRUNCATE {', '.join(tables)}", database)
    for table in tables:
        postgres_server.run(f"ALTER TABLE {table} SET (autovacuum_enabled = false)", database)
    yield postgres
    for table in tables:
        postgres_server.run(f"ALTER TABLE {table} RESET (autovacuum_enabled)", database)


async def test_f40_a_claim_does_not_pass_what_an_old_transaction_keeps_from_being_cleared_away(
    undisturbed: str,
    postgres_server: Server,
    stranger: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("durable.history.stores.postgres.HEAVY", 0.0)
    database, machine = database_of(undisturbed), Machine()
    async with PostgresStore(undisturbed, machine) as store:
        await store.register(worker("w1"))
        await store.claim(claim("w1"))
        alone = await pages_of_a_claim(store, postgres_server, database)
        await stranger.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM durable_runs")
        for statement in CHURN.format(now=machine.now_us()).split(";"):
            postgres_server.run(statement, database)
        monkeypatch.setattr("durable.history.stores.horizon.SLOW", 0.0)
        monkeypatch.setattr("durable.history.stores.horizon.SHARE", 10**6)
        store._horizon.whole_at = 0.0  # pyright: ignore[reportPrivateUsage] - wherever a slow one has moved it

        at_first = await pages_of_a_claim(store, postgres_server, database)
        then = [await pages_of_a_claim(store, postgres_server, database) for _ in range(2)]

        assert at_first > alone + 1000 and max(then) < alone + 200, (alone, at_first, then)
        assert sum("`durable doctor` names" in record.getMessage() for record in caplog.records) == 1
        # And it finds what there is; what comes very late, when it looks at everything again.
        now_us = machine.now_us()
        await done(store, start(messages=(due(now_us),)))
        assert taken(await store.claim(claim("w1"))) == [RUN]
        await done(store, start("late", messages=(due(now_us - 10**8),)))
        later = await store.claim(claim("w1"))
        assert "run of late" not in taken(later) and later.next_due_us is not None
        store._horizon.whole_at = 0.0  # pyright: ignore[reportPrivateUsage]
        assert "run of late" in taken(await store.claim(claim("w1")))


# F41: ten at once. ------------------------------------------------------------------------------------------------


@pytest.fixture
def empty(postgres_server: Server) -> Iterator[str]:
    """The URL of a database without tables."""
    name = postgres_server.create(template="template0")
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.mark.parametrize("old", [False, pytest.param(True, marks=pytest.mark.all)], ids=["no tables", "old tables"])
def test_f41_ten_processes_that_begin_at_once_make_the_tables_once(
    empty: str, postgres_server: Server, old: bool
) -> None:
    database, count = database_of(empty), 10
    if old:
        postgres_server.run("CREATE TABLE durable_schema (version_num varchar(32) PRIMARY KEY)", database)
    all_ready = processes.Barrier(count)
    children = [processes.Process(target=open_and_start, args=(empty, n, all_ready)) for n in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join()

    assert [child.exitcode for child in children] == [0] * count
    assert [tuple(row) for row in postgres_server.run("SELECT version_num FROM durable_schema", database)] == [
        (SCHEMA,)
    ]
    assert postgres_server.run("SELECT count(*) FROM durable_runs", database)[0][0] == count


@activity.defn
async def greet(name: str) -> str:
    return f"Hello, {name}"


@workflow.defn
async def greeting(name: str) -> str:
    return await greet(name)


async def test_f41_an_old_worker_is_refused_by_newer_tables_and_one_that_runs_goes_on(
    postgres: str, postgres_server: Server, make_worker: MakeWorker
) -> None:
    database = database_of(postgres)
    async with await Client.connect(postgres) as client, make_worker(client, greeting, greet):
        postgres_server.run("UPDATE durable_schema SET version_num = '9999'", database)
        try:
            with pytest.raises(SchemaTooNew, match=r"newer version of durable.*9999.*use that version"):
                await Client.connect(postgres)
            assert await client.execute_workflow(greeting, "Ada", id="ada") == "Hello, Ada"
        finally:
            postgres_server.run(f"UPDATE durable_schema SET version_num = '{SCHEMA}'", database)


@pytest.mark.parametrize("level", ["read committed", "repeatable read"])
async def test_f41_who_waits_for_the_one_that_makes_the_tables_sees_them_then(
    empty: str, postgres_server: Server, level: str
) -> None:
    database = database_of(empty)
    postgres_server.run(f"ALTER DATABASE {database} SET default_transaction_isolation = '{level}'")

    async def one(number: int) -> None:
        async with open_store(empty) as store:
            await done(store, start(f"order-{number}"))

    await asyncio.gather(*(one(number) for number in range(5)))

    assert postgres_server.run("SELECT count(*) FROM durable_pulse", database)[0][0] == 1


# F44: a storm of news. --------------------------------------------------------------------------------------------


async def test_f44_who_is_alone_tells_nobody(store: PostgresStore) -> None:
    store.changed()
    for i in range(5):
        await done(store, start(f"order-{i}"))

    assert store.watch.hears and store.watch.told == 0 and not store.changed()


async def test_f44_two_hundred_commits_are_told_together_and_wait_for_no_telling(
    store: PostgresStore, postgres: str, host: ClockedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who tells waits for all others of the server that tell: here, for ever."""
    telling: list[Connection] = []
    goes_on = asyncio.Event()
    say = Connection.say

    async def wait_first(db: Connection, statement: str) -> None:
        if "NOTIFY" in statement:
            telling.append(db)
            await goes_on.wait()
        await say(db, statement)

    async with PostgresStore(postgres, host) as other:

        async def met() -> bool:
            return bool(store.watch.told)  # which answers whoever has come

        async def heard() -> bool:
            return other.changed()

        async def told_again() -> bool:
            return len(telling) == 2

        await until(met)
        other.changed()
        before = store.watch.told
        monkeypatch.setattr(Connection, "say", wait_first)
        for i in range(200):
            await done(store, start(f"order-{i}"))
        assert store.counters.commits >= 200 and len(telling) == 1
        goes_on.set()
        await until(heard)
        await until(told_again)
        await done(store, start("last"))

    committing = (store._db, store._side)  # pyright: ignore[reportPrivateUsage]
    assert store.watch.told - before <= 3 and not set(telling).intersection(committing)


async def test_f44_news_is_heard_though_nothing_comes_after_it(
    store: PostgresStore, postgres: str, host: ClockedHost, caplog: pytest.LogCaptureFixture
) -> None:
    """What is said while others are told is told again."""
    with caplog.at_level(logging.WARNING, "durable.store"):
        async with PostgresStore(postgres, host) as other:

            async def heard() -> bool:
                return other.changed()

            for i in range(3):
                await done(store, start(f"order-{i}"))
                await until(heard)
    assert caplog.records == []
