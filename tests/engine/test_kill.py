"""Real processes killed at every moment that matters, and one that is stopped and wakes up too late; on each store."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
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
from tests.chaos.places import Place, Rows
from tests.engine import orders
from tests.engine.histories import assert_replays, assert_sound, of_type, types, until
from tests.engine.orders import ACTIVITIES, LEASE, WORKFLOWS, Death, Gated, Scene, order
from tests.forkserver import processes

BOUNDARIES_MAX = 40
NEVER = Death()

NewScene = Callable[[str], Scene]


def start(scene: Scene, item: str | None, death: Death = NEVER) -> BaseProcess:
    child = processes.Process(target=orders.process, args=(scene, item, death), daemon=True)
    child.start()
    return child


def finish(scene: Scene, item: str, death: Death = NEVER) -> int:
    """The exit code of a process that works on the order."""
    child = start(scene, item, death)
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def effects(scene: Scene) -> set[tuple[str, str]]:
    with closing(orders.business(scene.folder)) as db:
        return set(db.execute("SELECT what, item FROM effects"))


@dataclass(frozen=True)
class End:
    """How an order ended, as far as it must not depend on who died meanwhile."""

    status: RunStatus
    result: Any
    effects: frozenset[tuple[str, str]]
    commands: tuple[str, ...]


async def end_of(scene: Scene) -> End:
    """The end; the history must be sound, and replay, and nothing be left behind."""
    async with await Client.connect(scene.address) as client:
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
    return End(description.status, result, frozenset(effects(scene)), commands(history))


def commands(history: WorkflowHistory) -> tuple[str, ...]:
    """What the workflow's code asked for; when it heard of what happened meanwhile is another matter."""
    asked = ("ActivityTaskScheduled", "TimerStarted", "WorkflowExecutionCompleted", "WorkflowExecutionFailed")
    return tuple(name for name in types(history) if name in asked)


@pytest.fixture(scope="module", params=["tea", "refused"])
def item(request: pytest.FixtureRequest) -> str:
    """One order that is shipped, and one that is refused at the end and compensated."""
    return str(request.param)


@pytest.fixture
def new_scene(new_place: Callable[[], Place], tmp_path: Path) -> NewScene:
    """Makes the scenes of a test, by their names."""

    def make(name: str) -> Scene:
        folder = tmp_path / name
        folder.mkdir()
        return Scene(new_place().address, folder)

    return make


async def undisturbed(scene: Scene, item: str) -> tuple[End, int]:
    assert finish(scene, item) == 0
    return await end_of(scene), int((scene.folder / "passed").read_text())


async def sweep(new_scene: NewScene, item: str, numbers: range, *, before: bool) -> None:
    expected, boundaries = await undisturbed(new_scene("undisturbed"), item)
    assert {what for what, _ in expected.effects} >= {"reserve", "charge"}
    assert boundaries < BOUNDARIES_MAX
    killed = 0
    for number in numbers:
        if number > boundaries:
            break
        scene = new_scene(f"killed-{number}")
        killed += finish(scene, item, Death(number, before)) == -signal.SIGKILL
        assert finish(scene, item) == 0, f"nobody could go on after a death at boundary {number}"
        assert await end_of(scene) == expected, f"a death at boundary {number} made a difference"
    assert killed, "nobody was killed"


async def test_an_order_survives_deaths_right_after_some_boundaries(new_scene: NewScene, item: str) -> None:
    await sweep(new_scene, item, range(1, BOUNDARIES_MAX, 3), before=False)


async def test_an_order_survives_deaths_right_before_some_commits(new_scene: NewScene, item: str) -> None:
    await sweep(new_scene, item, range(2, BOUNDARIES_MAX, 3), before=True)


@pytest.mark.all
@pytest.mark.timeout(600)
@pytest.mark.parametrize("before", [False, True], ids=["after", "before"])
async def test_an_order_survives_a_death_at_every_boundary(new_scene: NewScene, item: str, before: bool) -> None:
    await sweep(new_scene, item, range(1, BOUNDARIES_MAX), before=before)


@pytest.mark.all
@pytest.mark.timeout(600)
async def test_an_order_survives_the_deaths_of_one_successor_after_another(new_scene: NewScene, item: str) -> None:
    """Work goes on as long as each process lives to see one attempt through: the start asked for again, what its
    predecessor left ended, the next attempt taken, its outcome committed."""
    expected, _ = await undisturbed(new_scene("undisturbed"), item)
    for number in (5, 6, 7):
        scene = new_scene(f"always-{number}")
        deaths = 0
        while finish(scene, item, Death(number)) == -signal.SIGKILL:
            deaths += 1
            assert deaths < 100
        assert deaths > 0
        assert await end_of(scene) == expected


# With a worker in this process, to take over. -------------------------------------------------------------------------


@pytest.fixture
def place(new_place: Callable[[], Place]) -> Place:
    return new_place()


@pytest.fixture
def scene(place: Place, tmp_path: Path) -> Scene:
    return Scene(place.address, tmp_path)


@pytest.fixture
async def client(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    monkeypatch.setenv("ORDERS_FOLDER", str(scene.folder))
    async with await Client.connect(scene.address) as client:
        yield client


def worker(client: Client) -> Worker:
    return Worker(client, workflows=WORKFLOWS, activities=ACTIVITIES, lease=LEASE)


async def at_the_gate(scene: Scene, pid: int) -> None:
    async def arrived() -> bool:
        with closing(orders.business(scene.folder)) as db:
            return bool(db.execute("SELECT 1 FROM effects WHERE what = 'at the gate' AND pid = ?", (pid,)).fetchall())

    await until(arrived)


async def worker_ids(place: Place, pid: int) -> set[str]:
    return {row[0] for row in await place.ask(f"SELECT worker_id FROM durable_workers WHERE pid = {pid}")}


async def history_rows(place: Place) -> Rows:
    return await place.ask("SELECT * FROM durable_history ORDER BY 1, 2")


async def test_an_attempt_that_may_run_once_is_not_repeated_when_its_process_dies(scene: Scene, client: Client) -> None:
    handle = await client.start_workflow(orders.once, id="once")
    child = start(scene, None)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    async with worker(client):
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
    assert isinstance(caught.value.cause, ActivityError) and isinstance(caught.value.cause.cause, TimeoutError)
    assert caught.value.cause.cause.message == "the worker that ran the activity died"
    with closing(orders.business(scene.folder)) as db:
        assert db.execute("SELECT count(*) FROM effects WHERE what = 'fragile'").fetchone() == (1,)


async def test_a_worker_that_was_stopped_beyond_its_lease_cannot_append_anything(
    place: Place, scene: Scene, client: Client
) -> None:
    closing_run = await client.start_workflow(Gated.run, args=["a", 0], id="closing")
    open_run = await client.start_workflow(Gated.run, args=["b", 2], id="open")
    child = start(scene, None)
    pid = child.pid
    assert pid is not None
    try:
        await at_the_gate(scene, pid)

        async def both_there() -> bool:
            return len(effects(scene)) == 2

        await until(both_there)
        (stopped,) = await worker_ids(place, pid)
        (scene.folder / "deaf").touch()
        place.freeze(pid)
        async with worker(client):
            (scene.folder / "open").touch()
            await open_run.signal(Gated.tell, "one")
            # Its runs go on here meanwhile; the attempts that it holds count as over.
            assert await closing_run.result() == [os.getpid()]
            await until(lambda: _read(open_run, 1))
            rows = await history_rows(place)
            mine = [event.identity for event in await _tasks(open_run)][1:]
            assert mine and stopped not in mine

            os.kill(pid, signal.SIGCONT)
            # It wakes with a copy of each run and sees its attempts through: the runs' steps are refused, and then the
            # attempts' results. At last it learns of its death, and begins anew.
            assert await until(lambda: _refused(scene.folder)) == ["CLOSED", "FENCED", "MISSING", "MISSING"]
            (scene.folder / "deaf").unlink()
            await until(lambda: _another(place, pid, stopped))
            assert await history_rows(place) == rows
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


async def _refused(folder: Path) -> list[str]:
    """The reasons, once there are two for each of the two runs."""
    reasons = (folder / "refused").read_text().split()
    return sorted(reasons) if len(reasons) >= 4 else []


async def _another(place: Place, pid: int, stopped: str) -> bool:
    return bool(await worker_ids(place, pid) - {stopped})


async def _read(handle: WorkflowHandle[Any, Any], signals: int) -> bool:
    return types(await handle.fetch_history()).count("WorkflowExecutionSignaled") >= signals


async def _tasks(handle: WorkflowHandle[Any, Any]) -> list[WorkflowTaskCompleted]:
    return of_type(await handle.fetch_history(), WorkflowTaskCompleted)
