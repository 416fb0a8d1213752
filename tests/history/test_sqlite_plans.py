"""No statement of a SQLite store costs more when there are many closed runs, pending timers and retries."""

from __future__ import annotations

import functools
import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from durable.history.stores.sqlite import SqliteStore
from tests.history.hot_path import FEW, GROWING, MANY, ask, filling, grown
from tests.history.worlds import ClockedHost, worker

BLOB = "x'81c4'"


class Watcher:
    """Counts, for each statement, the steps that SQLite's machine takes for it: the same ones on any computer.

    Each is counted until the next one is asked; the plans are kept too.
    """

    def __init__(self) -> None:
        self.is_on = False
        self.steps: dict[str, list[int]] = defaultdict(list)
        self.plans: dict[str, list[str]] = {}


class Watched(sqlite3.Connection):
    def __init__(self, *args: Any, watcher: Watcher, **options: Any) -> None:
        super().__init__(*args, **options)
        self._watcher = watcher
        self._counted: list[int] = [0]
        self.set_progress_handler(self._count, 1)

    def _count(self) -> int:
        self._counted[-1] += 1
        return 0

    def _begin(self, statement: str, values: Any) -> None:
        if not self._watcher.is_on or not any(name in statement for name in GROWING):
            self._counted = [0]
            return
        if statement not in self._watcher.plans:
            rows = super().execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
            self._watcher.plans[statement] = [row[3] for row in rows]
        self._counted = self._watcher.steps[statement]
        self._counted.append(0)

    def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:
        self._begin(statement, values)
        return super().execute(statement, values)

    def executemany(self, statement: str, rows: Any) -> sqlite3.Cursor:
        self._begin(statement, rows[0])
        return super().executemany(statement, rows)


@pytest.fixture
def watcher(monkeypatch: pytest.MonkeyPatch) -> Watcher:
    watcher = Watcher()
    watched = functools.partial(sqlite3.connect, factory=functools.partial(Watched, watcher=watcher))
    monkeypatch.setattr(sqlite3, "connect", watched)
    return watcher


def fill(path: Path, first: int, last: int, *, analyzed: bool) -> None:
    with closing(sqlite3.Connection(path, isolation_level=None)) as db:
        db.execute("BEGIN")
        for statement in filling(first, last, BLOB):
            db.execute(statement)
        db.execute("COMMIT")
        if analyzed:
            db.execute("ANALYZE")


@pytest.mark.parametrize("analyzed", [False, True])
async def test_no_statement_costs_more_with_twenty_thousand_closed_runs_and_pending_timers(
    watcher: Watcher, tmp_path: Path, analyzed: bool
) -> None:
    host, path, costs = ClockedHost(), tmp_path / "app.db", []
    async with SqliteStore(str(path), host, synchronous="OFF") as store:
        await store.register(worker("w2", lease_s=3600))
        for first, last in ((0, FEW), (FEW, MANY)):
            fill(path, first, last, analyzed=analyzed)
            watcher.is_on, watcher.steps = True, defaultdict(list)
            await ask(store, host, f"with {last}")
            watcher.is_on = False
            costs.append(watcher.steps)

    assert len(costs[0]) > 40
    assert grown(*costs, lambda steps: steps + steps // 10 + 10) == []


@pytest.mark.parametrize("analyzed", [False, True])
async def test_no_statement_walks_through_a_table_that_grows(watcher: Watcher, tmp_path: Path, analyzed: bool) -> None:
    host, path = ClockedHost(), tmp_path / "app.db"
    async with SqliteStore(str(path), host, synchronous="OFF") as store:
        await store.register(worker("w2", lease_s=3600))
        fill(path, 0, FEW, analyzed=analyzed)
        watcher.is_on = True
        await ask(store, host, "with some")

    walks = [(line, text) for text, plan in watcher.plans.items() for line in plan if is_walk(line)]
    assert watcher.plans and walks == []


def is_walk(line: str) -> bool:
    """A line of a plan: does it read all of a growing table, or of one of its indexes?"""
    return line.startswith("SCAN ") and any(name in line for name in GROWING)
