"""What lists cost: pages of a long list as much as the first; a start without search attributes as much as ever."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durable import Client
from durable.client import RPCError, RPCStatusCode
from durable.client.filter import Filter
from durable.history.errors import SearchTooSlow, StoreUnavailable
from durable.history.host import Machine
from durable.history.stores.postgres import PostgresStore
from durable.history.stores.postgres_address import address
from durable.history.stores.postgres_connection import Connection
from durable.history.stores.postgres_search import SEARCHES as POSTGRES
from durable.history.stores.sql_search import Asked
from durable.history.stores.sqlite import SqliteStore
from durable.history.stores.sqlite_reads import SEARCHES as SQLITE
from durable.history.transition import Shown
from durable.history.values import Payload
from durable.history.visibility.attributes import AttributeType
from durable.history.visibility.parser import parse
from durable.history.visibility.search import Position, Search
from tests.engine.histories import until
from tests.history.worlds import BEGINNING_US, NAMESPACE, ClockedHost, done, start
from tests.postgres import Server, database_of

COUNT = 5_000
"""Runs; each has a start of its own, ten share a customer, a thousand a type."""
NUMBERS = f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {COUNT})"
RUNS = (
    f"{NUMBERS} INSERT INTO durable_runs (run_id, namespace, workflow_id, generation, workflow_type, task_queue, "
    "status, last_event_id, history_bytes, started_us, closed_us, first_execution_run_id, request_id, kind) "
    f"SELECT 'run ' || (100000 + i), '{NAMESPACE}', 'w-' || i, 1, 'type ' || (i % 5), 'q', 2, 1, 1, "
    f"{BEGINNING_US} + i, "
    f"{BEGINNING_US} + 2 * i, 'f', 'r' || i, i % 2 FROM n"
)
ATTRIBUTES = (
    f"{NUMBERS} INSERT INTO durable_search_attributes (run_id, name, ordinal, namespace, kind, started_us, number) "
    f"SELECT 'run ' || (100000 + i), 'Customer', 0, '{NAMESPACE}', i % 2, {BEGINNING_US} + i, i % 3 FROM n"
)
RARE = ATTRIBUTES.replace("'Customer'", "'Rare'").replace("i % 3", "i / 10")
TABLES = ("durable_runs", "durable_search_attributes")
# Statistics of the one table and none of the other are a moment's, and not what is promised here; nor is what a scan
# pays for the dead rows that an earlier test left in this database.
LEFT_ALONE = [
    *(f"ALTER TABLE {table} SET (autovacuum_enabled = false)" for table in TABLES),
    f"TRUNCATE {', '.join(TABLES)}",
]
TYPES = {"Customer": AttributeType.INT, "Rare": AttributeType.INT}
QUERIES = [
    "",
    "ORDER BY StartTime ASC",
    "CloseTime > '1990-01-01T00:00:00Z' ORDER BY CloseTime DESC",
    "ExecutionStatus = 'Completed'",
    "WorkflowType = 'type 2'",
    "TaskQueue = 'q' AND StartTime > '1990-01-01T00:00:00Z'",
    "Customer = 1 AND ExecutionStatus = 'Completed'",
    "Customer = 1",
    "Customer IN (1) AND StartTime > '1990-01-01T00:00:00Z'",
]
FEW = [
    "Rare = 70 ORDER BY CloseTime DESC",
    "Rare IN (70)",
    "Customer = 1 AND Rare = 70",
    "Rare = 70 AND Customer = 1 ORDER BY CloseTime",
    "Customer = 1 AND StartTime > '2200-01-01T00:00:00Z'",
    "Customer = 1 AND StartTime BETWEEN '1960-01-01T00:00:00Z' AND '1960-02-01T00:00:00Z'",
]
"""Few runs pass, or none."""
SIZE = 20


def places(query: str) -> list[Position | None]:
    """The beginning, and a place far behind it."""
    far = 4 * COUNT // 5
    at = far if "ASC" in query else COUNT - far
    keys = BEGINNING_US + (2 * at if "CloseTime" in query else at)
    return [None, Position((keys,), f"run {100_000 + at}")]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("analyzed", [False, True])
def test_a_page_costs_sqlite_the_same_wherever_it_is(crowded: Path, query: str, analyzed: bool) -> None:
    raw = sqlite3.connect(crowded)
    steps: list[int] = []
    if analyzed:
        raw.execute("ANALYZE")
    raw.set_progress_handler(lambda: steps.__setitem__(-1, steps[-1] + 1) or 0, 1)
    for after in places(query):
        asked = SQLITE.listing(NAMESPACE, Search(parse(query), types=TYPES), SIZE, after)
        steps.append(0)
        assert len(raw.execute(asked.text, asked.values).fetchall()) == SIZE
    raw.set_progress_handler(None, 0)
    raw.close()

    assert max(steps) < 12_000 and steps[1] < steps[0] + 2_000, steps


@pytest.mark.parametrize("query", FEW)
@pytest.mark.parametrize("analyzed", [False, True])
def test_sqlite_finds_few_runs_by_what_leads_to_them(crowded: Path, query: str, analyzed: bool) -> None:
    raw = sqlite3.connect(crowded)
    if analyzed:
        raw.execute("ANALYZE")
    steps: list[int] = []
    search = Search(parse(query), types=TYPES)
    weighing = SQLITE.weighing(NAMESPACE, search)
    weights = () if weighing is None else raw.execute(*weighing).fetchall()[0]
    raw.set_progress_handler(lambda: steps.append(1) or 0, 1)
    asked = SQLITE.listing(NAMESPACE, search, SIZE, None, weights)
    found = raw.execute(asked.text, asked.values).fetchall()
    raw.set_progress_handler(None, 0)
    raw.close()

    assert len(found) <= 10 and len(steps) < 3_000, (len(found), len(steps))


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from durable.history.stores.sqlite_file import prepare

    path = tmp_path_factory.mktemp("crowd") / "durable.db"
    prepare(path, synchronous="OFF", busy_timeout_s=10)
    with sqlite3.connect(path) as raw:
        raw.execute(RUNS)
        raw.execute(ATTRIBUTES)
        raw.execute(RARE)
    raw.close()
    return path


@pytest.mark.parametrize("analyzed", [False, True])
async def test_a_page_costs_postgres_the_same_wherever_it_is(
    postgres: str, postgres_server: Server, analyzed: bool
) -> None:
    database = database_of(postgres)
    for statement in [*LEFT_ALONE, RUNS, ATTRIBUTES, RARE, *(["ANALYZE"] if analyzed else [])]:
        postgres_server.run(statement, database)
    async with PostgresStore(postgres, ClockedHost()) as store:
        connection = store._db  # pyright: ignore[reportPrivateUsage]
        async with connection.held() as raw:
            for query in QUERIES:
                pages: list[int] = []
                for after in places(query):
                    asked = POSTGRES.listing(NAMESPACE, Search(parse(query), types=TYPES), SIZE, after)
                    told: Any = await raw.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {asked.text}", *asked.values)
                    plan = json.loads(told[0][0])[0]["Plan"]
                    assert plan["Actual Rows"] == SIZE
                    pages.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
                assert max(pages) < 400 and pages[1] < pages[0] + 60, (query, pages)
            for query in FEW:
                search = Search(parse(query), types=TYPES)
                weighing = POSTGRES.weighing(NAMESPACE, search)
                weights = () if weighing is None else (await raw.fetch(weighing.text, *weighing.values))[0]
                asked = POSTGRES.listing(NAMESPACE, search, SIZE, None, weights)
                told = await raw.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {asked.text}", *asked.values)
                plan = json.loads(told[0][0])[0]["Plan"]
                assert plan["Actual Rows"] <= 10, query
                assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 100, query


def test_a_search_attribute_leads_postgres_to_the_runs_whatever_its_settings_and_statistics_are(
    postgres: str, postgres_server: Server
) -> None:
    database = database_of(postgres)
    for statement in [*LEFT_ALONE, RUNS, ATTRIBUTES, "VACUUM ANALYZE"]:
        postgres_server.run(statement, database)
    for query in ("Customer = 1", "Customer = 1 AND ExecutionStatus = 'Completed'"):
        asked = POSTGRES.listing(NAMESPACE, Search(parse(query), types=TYPES), SIZE, None)
        told = postgres_server.run(f"EXPLAIN (FORMAT JSON) {_literal(asked)}", database)[0][0]

        kinds = set(re.findall(r'"Node Type": "([^"]*)"', told))
        assert kinds <= {"Limit", "Nested Loop", "Index Scan", "Index Only Scan", "Subquery Scan"}, told


def _literal(asked: Asked) -> str:
    """With its values in the text: none of them holds a quote."""
    shown = [f"'{value}'" if isinstance(value, str) else str(value) for value in asked.values]
    return re.sub(r"\$(\d+)(::\w+)?", lambda found: shown[int(found[1]) - 1], asked.text)


@pytest.mark.parametrize("closed", [False, True])
async def test_searches_keep_no_other_read_waiting_and_end_with_their_store(
    postgres: str, postgres_server: Server, closed: bool
) -> None:
    other = Connection(address(postgres))
    async with other.held():
        async with PostgresStore(postgres, ClockedHost()) as store:
            await done(store, start("a"))
            await other.say("BEGIN; LOCK TABLE durable_search_attributes")
            search = Search(parse("Customer = 1 GROUP BY Customer"), types=TYPES)
            searches = [asyncio.create_task(store.count_runs(NAMESPACE, search)) for _ in range(9)]

            async def both_wait() -> bool:
                return postgres_server.run(WAITING, database_of(postgres))[0][0] >= 2

            await until(both_wait)

            assert await store.find(NAMESPACE, "a") is not None
            assert not any(search.done() for search in searches)

            if not closed:
                await other.say("ROLLBACK")
                assert await asyncio.gather(*searches) == [[]] * 9
        for each in searches if closed else ():
            with pytest.raises(StoreUnavailable, match="the database was closed"):
                await each
    await other.close()


async def test_who_closes_a_file_waits_for_no_search(crowded: Path) -> None:
    async with SqliteStore(crowded, Machine()) as store:
        search = asyncio.create_task(store.count_runs(NAMESPACE, ENDLESS))
        await store.attribute_types(NAMESPACE)

    with pytest.raises(StoreUnavailable, match="the database was closed while it was searched"):
        await search


async def test_health_is_no_search(crowded: Path) -> None:
    async with await Client.connect(f"sqlite:///{crowded}") as client:
        store = client.service_client.database.store
        search = asyncio.create_task(store.count_runs(NAMESPACE, ENDLESS))
        await store.attribute_types(NAMESPACE)

        assert await client.service_client.check_health(timeout=timedelta(seconds=10))
        assert not search.done()
    with pytest.raises(StoreUnavailable):
        await search


# What takes too long. -------------------------------------------------------------------------------------------------

WAITING = "SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
ENDLESS = Search(parse(" OR ".join(f"Customer = {n} OR Rare = {n + 10**6}" for n in range(3, 100))), types=TYPES)
"""It takes seconds."""
LONG = Search(parse(" AND ".join(f"HistoryLength != {n}" for n in range(100, 300))))


@pytest.fixture(params=["sqlite", "postgres"])
async def impatient(
    request: pytest.FixtureRequest, crowded: Path, postgres: str, postgres_server: Server
) -> AsyncIterator[SqliteStore | PostgresStore]:
    """A store that gives a search a thousandth of a second."""
    if request.param == "sqlite":
        async with SqliteStore(crowded, Machine(), search_s=0.001) as store:
            yield store
    else:
        postgres_server.run(RUNS, database_of(postgres))
        async with PostgresStore(postgres, ClockedHost(), search_s=0.001) as store:
            yield store


async def test_a_search_that_takes_too_long_is_stopped_and_the_next_one_is_not(
    impatient: SqliteStore | PostgresStore,
) -> None:
    with pytest.raises(SearchTooSlow, match=r"took longer than 0\.001 s, and was stopped: ask for fewer runs"):
        await impatient.count_runs(NAMESPACE, LONG)

    assert await impatient.find(NAMESPACE, "w-7") is not None
    impatient._search_s = 60  # pyright: ignore[reportPrivateUsage]
    assert [each.count for each in await impatient.count_runs(NAMESPACE, Search(parse("")))] == [COUNT // 2]


async def test_a_client_is_told_that_a_search_was_stopped(impatient: SqliteStore | PostgresStore) -> None:
    text = LONG.query.text
    with pytest.raises(RPCError, match="ask for fewer runs") as caught:
        await Filter(text, NAMESPACE, grouped=True).count(impatient)

    assert caught.value.status is RPCStatusCode.DEADLINE_EXCEEDED


# Commits. -------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, postgres: str) -> AsyncIterator[SqliteStore | PostgresStore]:
    made = SqliteStore(None, ClockedHost()) if request.param == "sqlite" else PostgresStore(postgres, ClockedHost())
    async with made as opened:
        yield opened


def having(number: int) -> Shown:
    value = Payload(metadata={"encoding": b"json/plain", "type": b"Int"}, data=b"%d" % number)
    return Shown(memo={}, search_attributes={"Customer": value})


async def test_only_runs_with_search_attributes_pay_for_them(store: SqliteStore | PostgresStore) -> None:
    async def spent(name: str, **changes: Any) -> int:
        before = store.counters.statements
        await done(store, start(name, **changes))
        return store.counters.statements - before

    without = await spent("a"), await spent("b")
    first, later = await spent("c", shown=having(1)), await spent("d", shown=having(2))

    assert without[0] == without[1]
    assert (first - without[0], later - without[0]) == (3, 2)
