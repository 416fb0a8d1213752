"""What lists cost: pages of a long list as much as the first; a start without search attributes as much as ever."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from durable.client import RPCError, RPCStatusCode
from durable.client.filter import Filter
from durable.history.errors import SearchTooSlow
from durable.history.host import Machine
from durable.history.stores.postgres import PostgresStore
from durable.history.stores.postgres_search import SEARCHES as POSTGRES
from durable.history.stores.sqlite import SqliteStore
from durable.history.stores.sqlite_reads import SEARCHES as SQLITE
from durable.history.transition import Shown
from durable.history.values import Payload
from durable.history.visibility.attributes import AttributeType
from durable.history.visibility.parser import parse
from durable.history.visibility.search import Position, Search
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
# Statistics of the one table and none of the other are a moment's, and not what is promised here.
LEFT_ALONE = [
    f"ALTER TABLE {table} SET (autovacuum_enabled = false)" for table in ("durable_runs", "durable_search_attributes")
]
TYPES = {"Customer": AttributeType.INT}
QUERIES = [
    "",
    "ORDER BY StartTime ASC",
    "CloseTime > '1990-01-01T00:00:00Z' ORDER BY CloseTime DESC",
    "ExecutionStatus = 'Completed'",
    "WorkflowType = 'type 2'",
    "TaskQueue = 'q' AND StartTime > '1990-01-01T00:00:00Z'",
    "Customer = 1 AND ExecutionStatus = 'Completed'",
]
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


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from durable.history.stores.sqlite_file import prepare

    path = tmp_path_factory.mktemp("crowd") / "durable.db"
    prepare(path, synchronous="OFF", busy_timeout_s=10)
    with sqlite3.connect(path) as raw:
        raw.execute(RUNS)
        raw.execute(ATTRIBUTES)
    raw.close()
    return path


@pytest.mark.parametrize("analyzed", [False, True])
async def test_a_page_costs_postgres_the_same_wherever_it_is(
    postgres: str, postgres_server: Server, analyzed: bool
) -> None:
    database = database_of(postgres)
    for statement in [*LEFT_ALONE, RUNS, ATTRIBUTES, *(["ANALYZE"] if analyzed else [])]:
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


# What takes too long. -------------------------------------------------------------------------------------------------

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
