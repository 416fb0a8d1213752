"""Workers that stop, are full of blocking activities, or are forked."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from durable import Client, activity, workflow
from durable.client.handle import WorkflowHandle
from durable.history.events import ActivityTaskStarted
from tests.chaos.places import Place
from tests.cli.processes import ROOT, Shell
from tests.engine.histories import until
from tests.faults.conftest import MakeWorker

# Stopping. --------------------------------------------------------------------------------------------------------


@activity.defn
async def ends_when_told() -> int:
    await activity.wait_for_worker_shutdown()
    return activity.info().attempt


class Attempts:
    """Activities of which the first attempt does not end by itself; the next one tells the attempts of both."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.over = asyncio.Event()

    def _again(self) -> bool:
        self.begun.append(activity.info().attempt)
        return len(self.begun) > 1

    @activity.defn
    async def endless(self) -> list[int]:
        if not self._again():
            await self.over.wait()
        return self.begun

    @activity.defn
    async def stubborn(self) -> list[int]:
        """Does not even end when it is cancelled."""
        again = self._again()
        while not (again or self.over.is_set()):
            try:
                await self.over.wait()
            except asyncio.CancelledError:
                continue
        return self.begun


@workflow.defn
async def one_activity(name: str) -> list[int] | int:
    result: list[int] | int = await workflow.execute_activity(name, start_to_close_timeout=timedelta(minutes=1))
    return result


async def started(handle: WorkflowHandle[object, object]) -> None:
    """Its activity is under way."""

    async def under_way() -> bool:
        return any(each.attempt for each in (await handle.describe()).pending_activities)

    await until(under_way)


async def test_f30_a_worker_that_stops_takes_no_more_work_and_keeps_what_ends_within_the_grace_period(
    client: Client, address: str, make_worker: MakeWorker
) -> None:
    async with await Client.connect(address) as other:
        stopping = make_worker(
            client, one_activity, ends_when_told, identity="stopping", graceful_shutdown_timeout=timedelta(seconds=50)
        )
        async with stopping:
            first = await client.start_workflow(one_activity, "ends_when_told", id="first")
            await started(first)
        assert await first.result() == 1
        second = await client.start_workflow(one_activity, "ends_when_told", id="second")

        async with make_worker(other, one_activity, ends_when_told, graceful_shutdown_timeout=timedelta(seconds=50)):
            await started(second)
        assert await second.result() == 1

    begun = [event for event in (await first.fetch_history()).events if isinstance(event, ActivityTaskStarted)]
    assert [(event.identity, event.attempt) for event in begun] == [("stopping", 1)]


@pytest.mark.parametrize("name", ["endless", "stubborn"])
async def test_f30_what_does_not_end_runs_elsewhere_at_once_as_if_it_had_not_begun(
    client: Client, address: str, make_worker: MakeWorker, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable.worker.activities.LAST_WORDS", 0.05)
    work = Attempts()
    async with await Client.connect(address) as other:
        async with make_worker(client, one_activity, work.endless, work.stubborn):
            handle = await client.start_workflow(one_activity, name, id="held")
            await started(handle)
        async with make_worker(other, one_activity, work.endless, work.stubborn):
            assert await handle.result() == [1, 1]
    work.over.set()


@pytest.fixture
def process_one(tmp_path: Path) -> Shell:
    """Starts processes as containers do: each is process 1, for which signals have no effect by default."""
    unshare = ("unshare", "--pid", "--fork", "--kill-child")
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("making a container takes rights that are not there")
    shutil.copy(Path(__file__).with_name("draining.py"), tmp_path)
    return Shell(tmp_path, by=unshare)


def terminate_child(pid: int) -> None:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(int(children[0]), 15)


async def test_f30_sigterm_lets_process_one_of_a_container_finish_what_it_does(process_one: Shell) -> None:
    async with process_one.worker("draining.py") as worker, await Client.connect(process_one.address) as client:
        handle = await client.start_workflow("ending", id="ending")
        assert await worker.prints() == "begun by 1"
        terminate_child(worker.pid)
        ended = await worker.ended()
        assert await handle.result() == 1

    assert ended.code == 0, ended


@pytest.mark.all
async def test_f30_sigterm_ends_a_worker_although_a_thread_of_it_hangs(process_one: Shell) -> None:
    async with await Client.connect(process_one.address) as client:
        handle = await client.start_workflow("hanging", id="hanging")
        for _ in range(2):
            async with process_one.worker("draining.py", "--grace", "0") as worker:
                assert await worker.prints() == "begun by 1"
                terminate_child(worker.pid)
                ended = await worker.ended()
            assert ended.code == 0, ended
            assert "did not end within 2 s of being cancelled" in ended.err
        pending = (await handle.describe()).pending_activities

    assert [each.attempt for each in pending] == [0]


# Full of what blocks. ---------------------------------------------------------------------------------------------

THREADS = 40
LIMITS = {"start_to_close_timeout": timedelta(minutes=5), "heartbeat_timeout": timedelta(minutes=5)}


class Blocking:
    def __init__(self) -> None:
        self.begun = 0
        self.goes_on = threading.Event()

    @activity.defn
    def block(self) -> None:
        self.begun += 1
        activity.heartbeat("I block")
        self.goes_on.wait()


@pytest.fixture
def blocking() -> Iterator[Blocking]:
    blocking = Blocking()
    yield blocking
    blocking.goes_on.set()


@activity.defn
async def quick() -> str:
    return "quick"


@workflow.defn
class Blocked:
    """As many blocking activities at once as it is told; answers a query meanwhile."""

    @workflow.run
    async def run(self, count: int) -> None:
        await asyncio.gather(*(workflow.execute_activity("block", **LIMITS) for _ in range(count)))

    @workflow.query
    def answers(self) -> bool:
        return True


@workflow.defn
async def nimble() -> str:
    await workflow.sleep(timedelta(milliseconds=1))
    return await quick()


HEARTBEATS = "SELECT progress FROM durable_activity_tasks"
RENEWED = "SELECT renewed_us FROM durable_workers"


async def test_f31_activities_that_block_all_threads_hold_up_nothing_else(
    client: Client, address: str, place: Place, make_worker: MakeWorker, blocking: Blocking
) -> None:
    """Neither heartbeats, nor polling, timers, queries and async activities, nor the lease."""

    async def all_beat() -> bool:
        return sum(b"I block" in bytes(row[0]) for row in await place.ask(HEARTBEATS)) == THREADS

    async def last_renewal() -> int:
        return int((await place.ask(RENEWED))[0][0])

    async def renewed() -> bool:
        return await last_renewal() > before

    worker = make_worker(client, Blocked, nimble, blocking.block, quick, lease=timedelta(seconds=1))
    async with worker, await Client.connect(address) as other:
        blocked = await other.start_workflow(Blocked.run, THREADS, id="blocked")
        await until(all_beat)
        before = await last_renewal()

        assert await other.execute_workflow(nimble, id="nimble") == "quick"
        assert await blocked.query(Blocked.answers)
        await until(renewed)

        blocking.goes_on.set()
        await blocked.result()


async def test_f31_what_finds_no_free_thread_waits_in_the_queue_for_whoever_has_one(
    client: Client, address: str, place: Place, make_worker: MakeWorker, blocking: Blocking
) -> None:
    """And not in a worker that has none, where its time would run."""
    owned = "SELECT count(*) FROM durable_activity_tasks WHERE owner IS NOT NULL"

    async def all_begun() -> bool:
        return blocking.begun == 5

    async with make_worker(client, Blocked, blocking.block, activity_threads=3):
        handle = await client.start_workflow(Blocked.run, 5, id="blocked")

        async def three_begun() -> bool:
            return blocking.begun == 3

        await until(three_begun)
        assert (await place.ask(owned))[0][0] == 3
        async with await Client.connect(address) as other, make_worker(other, blocking.block, activity_threads=3):
            await until(all_begun)
            blocking.goes_on.set()
            await handle.result()


# Forked. ----------------------------------------------------------------------------------------------------------


def test_f32_a_process_that_is_forked_from_an_engine_is_refused_and_does_not_harm_it(address: str) -> None:
    program = Path(__file__).with_name("forking.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    ended = subprocess.run(
        [sys.executable, program, address], env=environment, capture_output=True, text=True, timeout=50
    )

    *refused, served = ended.stdout.splitlines()
    assert ended.returncode == 0, ended.stderr
    parent = served.removeprefix("Hello, parent! Yours, ")
    assert parent.isdigit() and len(refused) == 3
    for sentence in refused:
        assert sentence.startswith(f"process {parent} made this client") and "connect after the fork" in sentence
