"""Nothing grows with the work that was done: no memory, connections, descriptors, tasks, threads, dead rows."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from durable.history.stores.sqlite_file import WAL_BYTES_MAX
from tests.chaos.audit import LEFT_OVER
from tests.chaos.flows import LEDGER
from tests.chaos.places import PostgresPlace, SqlitePlace
from tests.chaos.soak import BLOCKS_PER_WORKFLOW, Level, growth, soak
from tests.postgres import Server

ROUNDS = 25
WORKFLOWS = 200
OWN_KB = 4096
"""What the allocator may keep more at the end: a kilobyte for every workflow."""
STEADY = ("tasks", "threads", "descriptors", "connections", "rows", "workers")


M_ARENA_MAX = -8
"""In glibc's malloc.h."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a process takes is read from /proc")


@pytest.fixture(autouse=True)
def one_arena() -> None:
    """With an arena for each thread, what the allocator keeps grows for a long time though nothing does."""
    ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEDGER, str(tmp_path / "ledger"))
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # pytest would keep what is logged


def assert_steady(levels: Sequence[Level]) -> None:
    print(*levels, sep="\n")
    assert {name: growth(levels, name) for name in STEADY} == dict.fromkeys(STEADY, 0)
    assert growth(levels, "size") <= 0
    assert growth(levels, "blocks") < BLOCKS_PER_WORKFLOW * WORKFLOWS * ROUNDS
    assert growth(levels, "own_kb") < OWN_KB


@pytest.mark.all
@pytest.mark.timeout(900)
async def test_nothing_grows_on_sqlite(tmp_path: Path) -> None:
    file = tmp_path / "durable.db"
    place = SqlitePlace(file)

    async def connections() -> int:
        return 0

    async def log_size() -> int:
        """How often it is larger than it may be."""
        return (await asyncio.to_thread(os.path.getsize, f"{file}-wal")) // (2 * WAL_BYTES_MAX)

    assert_steady(await soak(place, ROUNDS, WORKFLOWS, connections, log_size))


@pytest.mark.all
@pytest.mark.timeout(900)
async def test_nothing_grows_on_postgres(own_postgres_server: Server) -> None:
    place = PostgresPlace(own_postgres_server.url(own_postgres_server.create()))

    async def connections() -> int:
        (row,) = await place.ask("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return int(row[0])

    async def tables_size() -> int:
        """In pages, swept: what no open transaction keeps from being swept is used again."""
        for name in LEFT_OVER:
            await place.ask(f"VACUUM {name}")
        (row,) = await place.ask("SELECT " + " + ".join(f"pg_relation_size('{name}')" for name in LEFT_OVER))
        return int(row[0]) // 8192

    assert_steady(await soak(place, ROUNDS, WORKFLOWS, connections, tables_size))
