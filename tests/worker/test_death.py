"""A worker that learns of its own death: what it has in memory ends in good order, its work goes on in a new life."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from durable import Client, Worker, workflow
from durable.history.database import Database
from durable.history.errors import WorkerDead
from durable.history.host import Machine
from durable.history.stores.sqlite import SqliteStore
from durable.history.transition import Claim, Claimed, Outcome, Renewal, Transition, WorkerInfo, Write

closed_in: list[str] = []


@workflow.defn
class Holding:
    def __init__(self) -> None:
        self.free = False

    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.wait_condition(lambda: self.free)
        finally:
            closed_in.append(threading.current_thread().name)
        return "free"

    @workflow.signal
    def release(self) -> None:
        self.free = True


class Deadly(SqliteStore):
    """Holds up the first commit of a step until the worker has been told that it was declared dead meanwhile."""

    held = False

    def __init__(self, path: Path, host: Machine) -> None:
        super().__init__(str(path), host)
        self.path = path
        self.told = asyncio.Event()
        self._told_on = asyncio.get_running_loop()

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        if not self.held and any(isinstance(write, Transition) for write in writes):
            with closing(sqlite3.connect(self.path)) as connection, connection:
                died = connection.execute("UPDATE durable_workers SET dead_us = renewed_us").rowcount
            self.held = bool(died)
            if died:
                await self.told.wait()
        return await super().commit(writes)

    async def renew(self, worker: WorkerInfo) -> Renewal:
        renewal = await super().renew(worker)
        if not renewal.alive:
            self._told_on.call_soon_threadsafe(self._told_on.call_later, 0.1, self.told.set)
        return renewal

    async def claim(self, claim: Claim) -> Claimed:
        try:
            return await super().claim(claim)
        except WorkerDead:
            self._told_on.call_later(0.1, self.told.set)
            raise


async def test_a_copy_whose_commit_was_under_way_when_its_worker_died_is_closed_on_the_workflow_thread(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = Machine()
    store = Deadly(tmp_path / "app.db", host)
    closed_in.clear()
    async with Client(await Database(store, host).open()) as client:
        handle = await client.start_workflow(Holding.run, id="w")
        async with Worker(client, workflows=[Holding], lease=timedelta(seconds=1)):
            await store.told.wait()
            await handle.signal(Holding.release)
            assert await handle.result(rpc_timeout=timedelta(seconds=20)) == "free"
    gc.collect()

    assert "declared dead" in caplog.text and "Task was destroyed" not in caplog.text
    assert len(closed_in) == 2 and all(name.startswith("durable-workflow") for name in closed_in)
