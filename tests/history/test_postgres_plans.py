"""No statement of a PostgreSQL store costs more when there are many closed runs, pending timers and retries."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from durable.history.stores.postgres import PostgresStore
from durable.history.stores.postgres_connection import Connection
from tests.history.hot_path import FEW, GROWING, MANY, ask, filling, grown
from tests.history.worlds import ClockedHost, claim, worker
from tests.postgres import Server

BLOB = "'\\x81c4'::bytea"
PARAMETER = re.compile(r"\$(\d+)")
GENERIC = "SET LOCAL plan_cache_mode = force_generic_plan; PREPARE asked AS "


class Watcher:
    """Has each statement explained before it is asked: once carried out and undone, with its values; once without."""

    def __init__(self) -> None:
        self.is_on = False
        self.pages: dict[str, list[int]] = defaultdict(list)
        """How many pages of tables and indexes it looked at."""
        self.rows: dict[str, list[int]] = defaultdict(list)
        """How many rows it looked at."""
        self.generic: dict[str, dict[str, Any]] = {}
        """The plan that PostgreSQL goes over to when it has seen some values."""
        self.plans: dict[str, dict[str, Any]] = {}

    def begin(self) -> None:
        self.is_on, self.pages, self.rows = True, defaultdict(list), defaultdict(list)

    async def see(self, raw: Any, statement: str, values: tuple[object, ...]) -> None:
        if not self.is_on or not any(name in statement for name in GROWING):
            return
        async with undone(raw):
            answer = await raw.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement}", *values)
        plan = json.loads(answer)[0]["Plan"]
        self.plans[statement] = plan
        self.pages[statement].append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
        self.rows[statement].append(round(sum(visited(node) for node in nodes(plan))))
        if statement not in self.generic:
            self.generic[statement] = await generic_plan(raw, statement)


@asynccontextmanager
async def undone(raw: Any) -> AsyncIterator[None]:
    """What is written in the block is not, whether a transaction is under way or not."""
    begin, end = ("SAVEPOINT seen", "ROLLBACK TO seen") if raw.is_in_transaction() else ("BEGIN", "ROLLBACK")
    await raw.execute(begin)
    yield
    await raw.execute(end)


async def generic_plan(raw: Any, statement: str) -> dict[str, Any]:
    width = max((int(each) for each in PARAMETER.findall(statement)), default=0)
    given = f"({', '.join(['NULL'] * width)})" if width else ""
    async with undone(raw):
        await raw.execute(f"{GENERIC}{statement}")
        answer = await raw.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked{given}")
        await raw.execute("DEALLOCATE asked")
    plan: dict[str, Any] = json.loads(answer)[0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", []):
        yield from nodes(each)


def visited(node: dict[str, Any]) -> float:
    """The rows that this part of a plan brought, and those that it looked at in vain."""
    rows: float = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    return rows * node["Actual Loops"]


def walks(plans: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """The tables that grow, and that a plan reads from end to end, by themselves or by an index; and the statement."""
    return [
        (node["Relation Name"], statement)
        for statement, plan in plans.items()
        for node in nodes(plan)
        if node.get("Relation Name") in GROWING
        and node["Node Type"] != "ModifyTable"
        and not ("Index Cond" in node or "Recheck Cond" in node or "TID Cond" in node)
    ]


@pytest.fixture
def watcher(monkeypatch: pytest.MonkeyPatch) -> Watcher:
    watcher = Watcher()
    read, write = Connection.read, Connection.write

    async def watched_read(self: Connection, statement: str, *values: object) -> Any:
        await watcher.see(self._session, statement, values)
        return await read(self, statement, *values)

    async def watched_write(self: Connection, statement: str, *values: object) -> int:
        await watcher.see(self._session, statement, values)
        return await write(self, statement, *values)

    monkeypatch.setattr(Connection, "read", watched_read)
    monkeypatch.setattr(Connection, "write", watched_write)
    return watcher


@pytest.fixture
def database(postgres_server: Server) -> Iterator[str]:
    """One that is not lent again: it is made so full that to empty it takes longer than to make another one."""
    name = postgres_server.create()
    yield name
    postgres_server.drop(name)


async def test_no_statement_costs_more_with_twenty_thousand_closed_runs_and_pending_timers(
    watcher: Watcher, postgres_server: Server, database: str
) -> None:
    host, pages, rows = ClockedHost(), [], []
    async with PostgresStore(postgres_server.url(database), host) as store:
        await store.register(worker("w2", lease_s=3600))
        for first, last in ((0, FEW), (FEW, MANY)):
            for statement in [*filling(first, last, BLOB), "ANALYZE"]:
                postgres_server.run(statement, database)
            watcher.begin()
            await ask(store, host, f"with {last}")
            watcher.is_on = False
            pages.append(watcher.pages)
            rows.append(watcher.rows)

    assert len(pages[0]) > 40
    assert grown(*rows, lambda count: count + count // 10 + 5) == []
    assert grown(*pages, lambda count: 2 * count + 20) == []
    assert walks(watcher.generic) == []
    assert walks(watcher.plans) == []


async def test_a_claim_is_not_planned_anew_each_time_however_many_timers_there_are(
    postgres_server: Server, database: str
) -> None:
    host = ClockedHost()
    async with PostgresStore(postgres_server.url(database), host) as store:
        await store.register(worker("w1", lease_s=3600))
        for statement in [*filling(0, FEW, BLOB), "ANALYZE"]:
            postgres_server.run(statement, database)
        for _ in range(10):
            await store.claim(claim())

        async with store._db.held() as raw:
            ((generic, custom),) = await raw.fetch(
                "SELECT sum(generic_plans), sum(custom_plans) FROM pg_prepared_statements "
                "WHERE statement LIKE '%inbox%'"
            )

    assert generic > 0 and custom == 0
