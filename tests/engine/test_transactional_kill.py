"""Transactional activities whose worker's process is killed, or stopped and replaced: they happen once all the same."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from durable import Client, RetryPolicy, activity, workflow
from durable.history.events import ActivityTaskCompleted
from tests.chaos.places import Place
from tests.engine.conftest import worker_for
from tests.engine.histories import of_type, until
from tests.forkserver import processes

LEASE = timedelta(seconds=0.5)
MINUTE = timedelta(minutes=1)


@activity.defn(transactional=MINUTE, no_thread_cancel_exception=True)
def pay(folder: Path, how: str) -> str:
    """The first attempt never gets to its end in time; it says where it is with files."""
    if (folder / "begun").exists():
        _add()
        return "the second"
    try:
        if how == "killed":
            _add()
        (folder / "begun").touch()
        while not (folder / "go on").exists():
            time.sleep(0.01)
        _add()
        return "the first"
    finally:
        (folder / "over").touch()


def _add() -> None:
    activity.session().execute(text("UPDATE purse SET paid = paid + 1"))


@workflow.defn
async def paying(folder: Path, how: str) -> str:
    soon = RetryPolicy(initial_interval=timedelta(milliseconds=5))
    return await workflow.execute_activity(pay, args=[folder, how], start_to_close_timeout=MINUTE, retry_policy=soon)


def work(address: str, folder: Path) -> None:
    asyncio.run(_work(address, folder))


async def _work(address: str, folder: Path) -> None:
    async with await Client.connect(address) as client, worker_for(client, paying, pay, lease=LEASE):
        await there(folder / "over")


async def there(path: Path) -> None:
    async def is_there() -> bool:
        return await asyncio.to_thread(path.exists)

    await until(is_there)


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_it_happens_once_though_its_process_dies_or_wakes_up_too_late(
    new_place: Callable[[], Place], tmp_path: Path, how: str
) -> None:
    place = new_place()
    async with await Client.connect(place.address) as client:
        async with client.engine().begin() as connection:
            await connection.execute(text("DROP TABLE IF EXISTS purse"))
            await connection.execute(text("CREATE TABLE purse (paid BIGINT)"))
            await connection.execute(text("INSERT INTO purse VALUES (0)"))
        child = processes.Process(target=work, args=(place.address, tmp_path), daemon=True)
        child.start()
        handle = await client.start_workflow(paying, args=[tmp_path, how], id="run")
        await there(tmp_path / "begun")
        assert child.pid is not None
        if how == "killed":
            child.kill()
        else:
            place.freeze(child.pid)
        async with worker_for(client, paying, pay, lease=LEASE):
            assert await handle.result() == "the second"
            (tmp_path / "go on").touch()
            if how == "stopped":
                os.kill(child.pid, signal.SIGCONT)
            await asyncio.to_thread(child.join)
        async with client.engine().begin() as connection:
            assert (await connection.execute(text("SELECT paid FROM purse"))).scalar_one() == 1
            await connection.execute(text("DROP TABLE purse"))
        history = await handle.fetch_history()
    assert (tmp_path / "over").exists() == (how == "stopped")
    assert len(of_type(history, ActivityTaskCompleted)) == 1
