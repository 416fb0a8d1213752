"""Real processes killed at every moment that matters, and one that is stopped and wakes up too late."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from durable import Client, Worker
from durable.client import WorkflowFailureError
from durable.client.description import WorkflowHistory
from durable.client.handle import WorkflowHandle
from durable.exceptions import ActivityError, TimeoutError
from durable.history.events import WorkflowTaskCompleted
from durable.history.values import RunStatus
from tests.engine import orders
from tests.engine.histories import assert_replays, assert_sound, of_type, types, until
from tests.engine.orders import ACTIVITIES, LEASE, WORKFLOWS, Death, Gated, address, order

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.engine.orders"])

BOUNDARIES_MAX = 40
NEVER = Death()


def start(folder: Path, item: str | None, death: Death = NEVER) -> BaseProcess:
    child = _processes.Process(target=orders.process, args=(folder, item, death), daemon=True)
    child.start()
    return child


def finish(folder: Path, item: str, death: Death = NEVER) -> int:
    """The exit code of a process that works on the order."""
    child = start(folder, item, death)
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def effects(folder: Path) -> set[tuple[str, str]]:
    with closing(orders.business(folder)) as db:
        return set(db.execute("SELECT what, item FROM effects"))


@dataclass(frozen=True)
class End:
    """How an order ended, as far as it must not depend on who died meanwhile."""

    status: RunStatus
    result: Any
    effects: frozenset[tuple[str, str]]
    commands: tuple[str, ...]


async def end_of(folder: Path) -> End:
    """The end; the history must be sound, and replay, and nothing be left behind."""
    async with await Client.connect(address(folder)) as client:
        handle = client.get_workflow_handle("order")
        try:
            result: Any = await handle.result()
        except WorkflowFailureError as error:
            result = repr(error.cause), repr(error.cause.__cause__)
        description, history = await handle.describe(), await handle.fetch_history()
        runs = [run async for run in client.list_workflows()]
    assert len(runs) == 1
    assert description.pending_activities == [] and description.pending_messages == []
    assert_sound(history.events)
    await assert_replays(order, history)
    return End(description.status, result, frozenset(effects(folder)), commands(history))


def commands(history: WorkflowHistory) -> tuple[str, ...]:
    """What the workflow's code asked for; when it heard of what happened meanwhile is another matter."""
    asked = ("ActivityTaskScheduled", "TimerStarted", "WorkflowExecutionCompleted", "WorkflowExecutionFailed")
    return tuple(name for name in types(history) if name in asked)


@pytest.fixture(scope="module", params=["tea", "refused"])
def item(request: pytest.FixtureRequest) -> str:
    """One order that is shipped, and one that is refused at the end and compensated."""
    return str(request.param)


def new_folder(path: Path) -> Path:
    path.mkdir()
    return path


async def undisturbed(folder: Path, item: str) -> tuple[End, int]:
    assert finish(folder, item) == 0
    return await end_of(folder), int((folder / "passed").read_text())


async def sweep(tmp_path: Path, item: str, numbers: range, *, before: bool) -> None:
    expected, boundaries = await undisturbed(new_folder(tmp_path / "undisturbed"), item)
    assert {what for what, _ in expected.effects} >= {"reserve", "charge"}
    assert boundaries < BOUNDARIES_MAX
    killed = 0
    for number in numbers:
        if number > boundaries:
            break
        folder = new_folder(tmp_path / f"killed-{number}")
        killed += finish(folder, item, Death(number, before)) == -signal.SIGKILL
        assert finish(folder, item) == 0, f"nobody could go on after a death at boundary {number}"
        assert await end_of(folder) == expected, f"a death at boundary {number} made a difference"
    assert killed, "nobody was killed"


async def test_an_order_survives_deaths_right_after_some_boundaries(tmp_path: Path, item: str) -> None:
    await sweep(tmp_path, item, range(1, BOUNDARIES_MAX, 3), before=False)


async def test_an_order_survives_deaths_right_before_some_commits(tmp_path: Path, item: str) -> None:
    await sweep(tmp_path, item, range(2, BOUNDARIES_MAX, 3), before=True)


@pytest.mark.all
@pytest.mark.timeout(600)
@pytest.mark.parametrize("before", [False, True], ids=["after", "before"])
async def test_an_order_survives_a_death_at_every_boundary(tmp_path: Path, item: str, before: bool) -> None:
    await sweep(tmp_path, item, range(1, BOUNDARIES_MAX), before=before)


@pytest.mark.all
@pytest.mark.timeout(600)
async def test_an_order_survives_the_deaths_of_one_successor_after_another(tmp_path: Path, item: str) -> None:
    """Work goes on as long as each process lives to see one attempt through: the start asked for again, what its
    predecessor left ended, the next attempt taken, its outcome committed."""
    expected, _ = await undisturbed(new_folder(tmp_path / "undisturbed"), item)
    for number in (5, 6, 7):
        folder = new_folder(tmp_path / f"always-{number}")
        deaths = 0
        while finish(folder, item, Death(number)) == -signal.SIGKILL:
            deaths += 1
            assert deaths < 100
        assert deaths > 0
        assert await end_of(folder) == expected


# With a worker in this process, to take over. -------------------------------------------------------------------------


@pytest.fixture
async def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    monkeypatch.setenv("ORDERS_FOLDER", str(tmp_path))
    async with await Client.connect(address(tmp_path)) as client:
        yield client


def worker(client: Client) -> Worker:
    return Worker(client, workflows=WORKFLOWS, activities=ACTIVITIES, lease=LEASE)


async def at_the_gate(folder: Path, pid: int) -> None:
    async def arrived() -> bool:
        with closing(orders.business(folder)) as db:
            return bool(db.execute("SELECT 1 FROM effects WHERE what = 'at the gate' AND pid = ?", (pid,)).fetchall())

    await until(arrived)


def worker_ids(folder: Path, pid: int) -> set[str]:
    with closing(sqlite3.connect(folder / "durable.db", timeout=30)) as db:
        return {row[0] for row in db.execute("SELECT worker_id FROM durable_workers WHERE pid = ?", (pid,))}


def history_rows(folder: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "durable.db", timeout=30)) as db:
        return db.execute("SELECT * FROM durable_history ORDER BY 1, 2").fetchall()


async def test_an_attempt_that_may_run_once_is_not_repeated_when_its_process_dies(
    tmp_path: Path, client: Client
) -> None:
    handle = await client.start_workflow(orders.once, id="once")
    child = start(tmp_path, None)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    async with worker(client):
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
    assert isinstance(caught.value.cause, ActivityError) and isinstance(caught.value.cause.cause, TimeoutError)
    assert caught.value.cause.cause.message == "the worker that ran the activity died"
    with closing(orders.business(tmp_path)) as db:
        assert db.execute("SELECT count(*) FROM effects WHERE what = 'fragile'").fetchone() == (1,)


async def test_a_worker_that_was_stopped_beyond_its_lease_cannot_append_anything(
    tmp_path: Path, client: Client
) -> None:
    closing_run = await client.start_workflow(Gated.run, args=["a", 0], id="closing")
    open_run = await client.start_workflow(Gated.run, args=["b", 2], id="open")
    child = start(tmp_path, None)
    pid = child.pid
    assert pid is not None
    try:
        await at_the_gate(tmp_path, pid)

        async def both_there() -> bool:
            return len(effects(tmp_path)) == 2

        await until(both_there)
        (stopped,) = worker_ids(tmp_path, pid)
        (tmp_path / "deaf").touch()
        stop(tmp_path, pid)
        async with worker(client):
            (tmp_path / "open").touch()
            await open_run.signal(Gated.tell, "one")
            # Its runs go on here meanwhile; the attempts that it holds count as over.
            assert await closing_run.result() == [os.getpid()]
            await until(lambda: _read(open_run, 1))
            rows = history_rows(tmp_path)
            mine = [event.identity for event in await _tasks(open_run)][1:]
            assert mine and stopped not in mine

            os.kill(pid, signal.SIGCONT)
            # It wakes with a copy of each run and sees its attempts through: the runs' steps are refused, and then the
            # attempts' results. At last it learns of its death, and begins anew.
            assert await until(lambda: _refused(tmp_path)) == ["CLOSED", "FENCED", "MISSING", "MISSING"]
            (tmp_path / "deaf").unlink()
            await until(lambda: _another(tmp_path, pid, stopped))
            assert history_rows(tmp_path) == rows
            await open_run.signal(Gated.tell, "two")
            assert await open_run.result() == [os.getpid(), "one", "two"]
        for handle in (closing_run, open_run):
            history = await handle.fetch_history()
            assert_sound(history.events)
            await assert_replays(Gated, history)
            assert stopped not in [event.identity for event in of_type(history, WorkflowTaskCompleted)][1:]
    finally:
        os.kill(pid, signal.SIGKILL)
        child.join()


def stop(folder: Path, pid: int) -> None:
    """SIGSTOP, but not while it holds the file's turnstile: whoever stops there stops all writers."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        while b"T" not in subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True).stdout:
            pass  # the signal is on its way
        with open(folder / "durable.db-lock", "rb+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                os.kill(pid, signal.SIGCONT)


async def _refused(folder: Path) -> list[str]:
    """The reasons, once there are two for each of the two runs."""
    reasons = (folder / "refused").read_text().split()
    return sorted(reasons) if len(reasons) >= 4 else []


async def _another(folder: Path, pid: int, stopped: str) -> bool:
    return bool(worker_ids(folder, pid) - {stopped})


async def _read(handle: WorkflowHandle[Any], signals: int) -> bool:
    return types(await handle.fetch_history()).count("WorkflowExecutionSignaled") >= signals


async def _tasks(handle: WorkflowHandle[Any]) -> list[WorkflowTaskCompleted]:
    return of_type(await handle.fetch_history(), WorkflowTaskCompleted)
