"""Faults of ownership: workers that are paused, deaf, taken for dead, or two; a run has one writer all the same."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durable import Client, RetryPolicy, activity, workflow
from durable.client import WorkflowFailureError
from durable.client.handle import WorkflowHandle
from durable.exceptions import TerminatedError
from durable.history.database import Database
from durable.history.events import (
    ActivityTaskCompleted,
    ActivityTaskTimedOut,
    ClosingEvent,
    TimerFired,
    WorkflowTaskCompleted,
)
from durable.history.host import Machine
from durable.history.stores import open_store
from durable.history.transition import Claim, Refusal
from durable.service import RPCError
from durable.worker import leases, life
from tests.chaos.places import Place
from tests.engine.histories import assert_replays, assert_sound, of_type, types, until
from tests.faults.conftest import MakeWorker
from tests.faults.flows import SOON, Gated, gate, harmless, notes
from tests.faults.hooks import Hold, is_closing, is_report, is_step, note_refused
from tests.faults.processes import spawn

BRIEF = timedelta(seconds=0.5)
"""The lease of who is to be taken for dead."""
PUNCTUAL = timedelta(seconds=2)
"""The lease of who is to find that out: it renews every 0.4 s, and may be late by 0.6 s."""
HOUR_US = 3600 * 1_000_000
ONCE = RetryPolicy(maximum_attempts=1)


@pytest.fixture
async def other(address: str) -> AsyncIterator[Client]:
    """A second connection: for a worker that shares nothing with the first but the database."""
    async with await Client.connect(address) as other:
        yield other


@workflow.defn
class Waiting:
    """Does one piece of work, then waits for two words."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        done = await workflow.execute_activity("work", result_type=str, start_to_close_timeout=timedelta(seconds=60))
        await workflow.wait_condition(lambda: len(self.heard) >= 2)
        return [done, *self.heard]

    @workflow.signal
    def hear(self, word: str) -> None:
        self.heard.append(word)


@workflow.defn
async def working() -> str:
    return await workflow.execute_activity(
        "work", result_type=str, start_to_close_timeout=timedelta(seconds=60), retry_policy=SOON
    )


def work_of(name: str, begun: list[str]) -> Any:
    """The activity "work", done by ``name``."""

    @activity.defn(name="work")
    async def work() -> str:
        begun.append(name)
        return name

    return work


class Held:
    """The activity "work", which lasts until the test ends it."""

    def __init__(self, name: str) -> None:
        self.begun = 0
        self.end = asyncio.Event()
        self.stops = asyncio.Event()

        async def hear() -> None:
            await activity.wait_for_worker_shutdown()
            self.stops.set()

        @activity.defn(name="work")
        async def work() -> str:
            self.begun += 1
            hearing = asyncio.ensure_future(hear())
            await self.end.wait()
            hearing.cancel()
            return name

        self.activity = work


async def nothing_left(place: Place) -> None:
    assert [list(row) for row in await place.ask("SELECT count(*) FROM durable_inbox")] == [[0]]
    assert [list(row) for row in await place.ask("SELECT count(*) FROM durable_activity_tasks")] == [[0]]
    assert not await place.ask("SELECT run_id FROM durable_runs WHERE owner IS NOT NULL")


async def found_dead(place: Place, identity: str) -> None:
    async def is_dead() -> bool:
        found = f"SELECT 1 FROM durable_workers WHERE identity = '{identity}' AND dead_us IS NOT NULL"
        return bool(await place.ask(found))

    await until(is_dead)


async def end_of(workflow: Any, handle: WorkflowHandle[Any, Any]) -> Any:
    """The result; the history must be sound, end once, and replay."""
    result = await handle.result()
    history = await handle.fetch_history()
    assert_sound(history.events)
    assert len(of_type(history, ClosingEvent)) == 1  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await assert_replays(workflow, history)
    return result


# F1 ---------------------------------------------------------------------------------------------------------------


@contextmanager
def process(address: str, folder: Path) -> Iterator[int]:
    child = spawn(address, folder)
    try:
        assert child.pid is not None
        yield child.pid
    finally:
        child.kill()
        child.join()


async def test_f01_a_paused_worker_that_wakes_up_can_not_append(
    place: Place, client: Client, make_worker: MakeWorker, tmp_path: Path
) -> None:
    closing = await client.start_workflow(Gated.run, args=[str(tmp_path), 0], id="closing")
    open_run = await client.start_workflow(Gated.run, args=[str(tmp_path), 2], id="open")
    with process(place.address, tmp_path) as pid:

        async def both_at_the_gate() -> bool:
            return notes(tmp_path, "gate") == [pid, pid]

        async def has_tried_to_append() -> list[str]:
            reasons = (tmp_path / "refused").read_text().split()
            return sorted(reasons) if len(reasons) >= 4 else []

        await until(both_at_the_gate)
        ((paused,),) = await place.ask(f"SELECT worker_id FROM durable_workers WHERE pid = {pid}")
        (tmp_path / "deaf").touch()
        place.freeze(pid)
        async with make_worker(client, Gated, gate, lease=PUNCTUAL):
            (tmp_path / "open").touch()
            await open_run.signal(Gated.tell, "one")
            assert await closing.result() == [os.getpid()]

            async def both_read_here() -> bool:
                history = await open_run.fetch_history()
                read = {"WorkflowExecutionSignaled", "ActivityTaskCompleted"} <= set(types(history))
                return read and types(history)[-1] == "WorkflowTaskCompleted"

            await until(both_read_here)
            rows = await place.ask("SELECT * FROM durable_history ORDER BY 1, 2")

            os.kill(pid, signal.SIGCONT)
            # It has a copy of each run, and sees its attempts through: first its steps are refused, then the results.
            assert await until(has_tried_to_append) == ["CLOSED", "FENCED", "MISSING", "MISSING"]
            assert await place.ask("SELECT * FROM durable_history ORDER BY 1, 2") == rows
            await open_run.signal(Gated.tell, "two")
            assert await end_of(Gated, open_run) == [os.getpid(), "one", "two"]
            steps = of_type(await open_run.fetch_history(), WorkflowTaskCompleted)[1:]
            assert steps and paused not in {step.identity for step in steps}


# F2, F5: recovery -------------------------------------------------------------------------------------------------


async def test_f02_a_stale_list_of_what_is_to_be_done_executes_nothing_again(
    place: Place, client: Client, other: Client, make_worker: MakeWorker
) -> None:
    begun: list[str] = []
    handle = await client.start_workflow(working, id="w")
    refused = note_refused(other)
    with (
        Hold(other, "claim", lambda claimed: bool(claimed.runs), answer=True) as stale,
        Hold(other, "renew") as no_sign_of_life,
    ):
        async with make_worker(other, working, work_of("stale", begun), lease=BRIEF, identity="stale"):
            await stale.arrived()
            async with make_worker(client, working, work_of("fresh", begun), lease=PUNCTUAL):
                assert await handle.result() == "fresh"
                rows = await place.ask("SELECT * FROM durable_history ORDER BY 1, 2")

                stale.let_go()

                async def is_refused() -> bool:
                    return bool(refused)

                await until(is_refused)
                no_sign_of_life.let_go()
                assert await place.ask("SELECT * FROM durable_history ORDER BY 1, 2") == rows
    assert begun == ["fresh"] and await end_of(working, handle) == "fresh"
    assert {each.reason for each in refused} == {Refusal.CLOSED}
    await nothing_left(place)


@pytest.mark.parametrize("first", ["loser", "winner"])
async def test_f05_of_two_that_recover_a_run_at_once_one_wins(
    place: Place, client: Client, other: Client, make_worker: MakeWorker, first: str
) -> None:
    begun: list[str] = []
    handle = await client.start_workflow(Waiting.run, id="w")
    async with make_worker(client, Waiting, work_of("before", begun)):

        async def is_waiting() -> bool:
            return "ActivityTaskCompleted" in types(await handle.fetch_history())

        await until(is_waiting)
    await handle.signal(Waiting.hear, "one")
    refused = note_refused(other), note_refused(client)
    with (
        Hold(other, "renew"),
        Hold(other, "commit", is_step) as losing,
        Hold(client, "commit", is_step) as winning,
    ):
        async with make_worker(other, Waiting, work_of("loser", begun), lease=BRIEF, identity="loser"):
            await losing.arrived()
            async with make_worker(client, Waiting, work_of("winner", begun), lease=PUNCTUAL):
                # Both have received the signal now, each in a copy of its own.
                await winning.arrived()
                order = (losing, winning) if first == "loser" else (winning, losing)
                order[0].let_go()

                async def has_lost() -> bool:
                    return bool(refused[0])

                async def has_won() -> bool:
                    return types(await handle.fetch_history())[-1] == "WorkflowTaskCompleted"

                await until(has_lost if first == "loser" else has_won)
                order[1].let_go()
                await until(has_won if first == "loser" else has_lost)
                await handle.signal(Waiting.hear, "two")
                assert await end_of(Waiting, handle) == ["before", "one", "two"]
    assert {each.reason for each in refused[0]} == {Refusal.FENCED} and not refused[1]
    assert begun == ["before"]
    await nothing_left(place)


# F3, F6: two workers in one process -------------------------------------------------------------------------------


async def test_f03_a_worker_that_drains_takes_nothing_more_and_its_namesake_strands_nothing(
    place: Place, client: Client, other: Client, make_worker: MakeWorker
) -> None:
    old, begun = Held("old"), list[str]()
    draining = make_worker(
        client, working, old.activity, identity="blue", graceful_shutdown_timeout=timedelta(seconds=60)
    )
    async with draining:
        first = await client.start_workflow(working, id="first")

        async def has_begun() -> bool:
            return old.begun == 1

        await until(has_begun)
        stopping = asyncio.ensure_future(draining.shutdown())
        await old.stops.wait()
        claims: list[Claim] = []
        Hold(client, "claim", lambda claim: claims.append(claim) is not None)
        second = await other.start_workflow(working, id="second")
        async with make_worker(other, working, work_of("new", begun), identity="blue"):
            assert await end_of(working, second) == "new"
            assert not stopping.done() and old.begun == 1
            old.end.set()
            assert await end_of(working, first) == "old"
            await stopping
            assert not claims
            third = await client.start_workflow(working, id="third")
            assert await end_of(working, third) == "new"
    assert begun == ["new", "new"]
    await nothing_left(place)


@pytest.mark.parametrize("connection", ["its own", "the same"])
async def test_f06_a_worker_that_starts_beside_a_living_one_makes_no_second_copy(
    place: Place, client: Client, other: Client, make_worker: MakeWorker, connection: str
) -> None:
    entered, begun = list[str](), list[str]()

    @workflow.defn
    class Entering:
        def __init__(self) -> None:
            self.free = False

        @workflow.run
        async def run(self) -> str:
            if not workflow.unsafe.is_replaying():
                entered.append("entered")
            done = await workflow.execute_activity(
                "work", result_type=str, start_to_close_timeout=timedelta(seconds=60)
            )
            await workflow.wait_condition(lambda: self.free)
            return str(done)

        @workflow.signal
        def go(self) -> None:
            self.free = True

    async with make_worker(client, Entering, work_of("first", begun)):
        handle = await client.start_workflow(Entering.run, id="w")

        async def is_waiting() -> bool:
            return "ActivityTaskCompleted" in types(await handle.fetch_history())

        await until(is_waiting)
        ((first,),) = await place.ask("SELECT owner FROM durable_runs")
        with Hold(client, "claim", lambda claim: claim.worker_id == first) as reading:
            await handle.signal(Entering.go)
            await reading.arrived()
            beside = client if connection == "the same" else other
            looked = Hold(beside, "claim", answer=True)
            async with make_worker(beside, Entering, work_of("second", begun)):
                # What the newcomer sees is a run with a message that is due, and with a living owner.
                await looked.arrived()
                looked.let_go()
                assert await place.ask("SELECT owner FROM durable_runs") == [(first,)]
                reading.let_go()
                assert await end_of(Entering, handle) == "first"
        history = await handle.fetch_history()
    assert entered == ["entered"] and begun == ["first"]
    assert {step.identity for step in of_type(history, WorkflowTaskCompleted)} == {first}


# F8: clocks -------------------------------------------------------------------------------------------------------


@workflow.defn
async def sleeping(seconds: float) -> str:
    await workflow.sleep(timedelta(seconds=seconds))
    return await workflow.execute_activity("work", result_type=str, start_to_close_timeout=timedelta(minutes=10))


@pytest.mark.parametrize("hours", [1, -1])
async def test_f08_a_clock_that_is_an_hour_off_moves_neither_leases_nor_timers(
    place: Place, client: Client, make_worker: MakeWorker, hours: int
) -> None:
    begun: list[str] = []
    host = Machine()
    host.adjust(host.now_us() + hours * HOUR_US)
    began_us = Machine().now_us()
    async with (
        Client(await Database(open_store(place.address, host), host).open()) as skewed,
        make_worker(client, harmless, identity="right", task_queue="none", lease=timedelta(seconds=1)),
        make_worker(skewed, sleeping, work_of("skewed", begun), identity="skewed", lease=timedelta(seconds=1)),
    ):
        brief = await client.start_workflow(sleeping, 0.05, id="brief")
        long = await client.start_workflow(sleeping, 1800.0, id="long")
        assert await end_of(sleeping, brief) == "skewed"

        async def have_lived_longer_than_their_leases() -> bool:
            lived = await place.ask("SELECT 1 FROM durable_workers WHERE renewed_us - started_us > 1.2 * lease_us")
            return len(lived) == 2

        await until(have_lived_longer_than_their_leases)
        ended_us = Machine().now_us()
        assert not await place.ask("SELECT 1 FROM durable_workers WHERE dead_us IS NOT NULL")
        assert not of_type(await long.fetch_history(), TimerFired)
        times = [event.time_us for handle in (brief, long) for event in (await handle.fetch_history()).events]
        assert began_us - 1_000_000 < min(times) and max(times) < ended_us + 1_000_000


# F9: deaf workers -------------------------------------------------------------------------------------------------


@pytest.fixture
def soon_deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "TICK", 0.05)
    monkeypatch.setattr(leases, "DEAF_AFTER", 1.0)


@pytest.mark.usefixtures("soon_deaf")
async def test_f09_a_worker_whose_loop_is_stuck_loses_its_work(
    place: Place, client: Client, make_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, free, begun = threading.Event(), threading.Event(), list[str]()

    @activity.defn(name="work")
    async def block() -> str:
        stuck.set()
        free.wait()
        return "stuck"

    async def work() -> None:
        async with await Client.connect(place.address) as other:
            refused = note_refused(other)
            async with make_worker(other, working, block, lease=BRIEF, identity="stuck"):

                async def is_refused() -> bool:
                    return bool(refused)

                await until(is_refused)

    handle = await client.start_workflow(working, id="w")
    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        await asyncio.to_thread(stuck.wait)
        async with make_worker(client, working, work_of("other", begun), lease=PUNCTUAL):
            assert await end_of(working, handle) == "other"
            free.set()
            await asyncio.to_thread(thread.join)  # what it brings when it goes on is refused
        assert "free.wait()" in caplog.text and "others take its work over" in caplog.text
        await nothing_left(place)
    finally:
        free.set()
        thread.join()


@pytest.mark.usefixtures("soon_deaf")
@pytest.mark.parametrize("method", ["claim", "commit"])
async def test_f09_a_worker_that_the_database_does_not_answer_any_more_loses_its_work(
    place: Place, client: Client, other: Client, make_worker: MakeWorker, method: str
) -> None:
    """It renews its lease all the same: that is another connection."""
    held, begun = Held("deaf"), list[str]()
    handle = await client.start_workflow(working, id="w")
    async with make_worker(other, working, held.activity, lease=BRIEF, identity="deaf"):

        async def has_begun() -> bool:
            return held.begun == 1

        await until(has_begun)
        with Hold(other, method) as unanswered:
            if method == "commit":
                held.end.set()
            else:
                other.database.look()
            await unanswered.arrived()
            async with make_worker(client, working, work_of("other", begun), lease=PUNCTUAL):
                await found_dead(place, "deaf")
                assert await end_of(working, handle) == "other"
            held.end.set()
    assert begun == ["other"]


# F10: other people's work -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("apart", ["namespace", "task queue"])
async def test_f10_who_finds_a_worker_of_another_application_dead_leaves_its_work_alone(
    place: Place, client: Client, make_worker: MakeWorker, apart: str
) -> None:
    namespace = "bank" if apart == "namespace" else "default"
    queue = {"task_queue": "default" if apart == "namespace" else "bank"}
    held, shop = Held("bank"), list[str]()
    async with await Client.connect(place.address, namespace=namespace) as bank:
        handle = await bank.start_workflow(working, id="w", **queue)  # type: ignore[call-overload]
        with Hold(bank, "renew"):
            async with make_worker(bank, working, held.activity, lease=BRIEF, identity="bank", **queue):

                async def has_begun() -> bool:
                    return held.begun == 1

                await until(has_begun)
                events = (await handle.fetch_history()).events
                async with make_worker(client, working, work_of("shop", shop), lease=PUNCTUAL):
                    await found_dead(place, "bank")
                    with Hold(client, "claim", answer=True) as looked:
                        client.database.look()
                        await looked.arrived()
                assert (await handle.fetch_history()).events == events
                assert (await handle.describe()).parked is None and shop == []
        again = list[str]()
        async with make_worker(bank, working, work_of("bank again", again), **queue):
            assert await end_of(working, handle) == "bank again"


async def test_f10_a_long_activity_without_heartbeats_stays_with_its_living_worker(
    place: Place, client: Client, other: Client, make_worker: MakeWorker
) -> None:
    held, begun = Held("patient"), list[str]()
    handle = await client.start_workflow(working, id="w")
    lease = timedelta(seconds=1)
    async with make_worker(client, working, held.activity, lease=lease, identity="patient"):

        async def has_begun() -> bool:
            return held.begun == 1

        async def has_lasted_longer_than_both_leases() -> bool:
            lived = await place.ask("SELECT 1 FROM durable_workers WHERE renewed_us - started_us > 1.2 * lease_us")
            return len(lived) == 2

        await until(has_begun)
        async with make_worker(other, working, work_of("hasty", begun), lease=lease, identity="hasty"):
            await until(has_lasted_longer_than_both_leases)
            held.end.set()
            assert await end_of(working, handle) == "patient"
    assert begun == [] and held.begun == 1


# F11: terminal states ---------------------------------------------------------------------------------------------


async def test_f11_a_run_that_is_terminated_over_its_last_step_ends_once(
    place: Place, client: Client, other: Client, make_worker: MakeWorker
) -> None:
    begun: list[str] = []
    refused = note_refused(client)
    handle = await other.start_workflow(working, id="w")
    with Hold(client, "commit", is_closing) as last_step:
        async with make_worker(client, working, work_of("worker", begun)):
            await last_step.arrived()
            await handle.terminate("enough")
            last_step.let_go()
            with pytest.raises(WorkflowFailureError) as ended:
                await handle.result()

            async def is_refused() -> bool:
                return bool(refused)

            await until(is_refused)
    assert isinstance(ended.value.cause, TerminatedError)
    assert {each.reason for each in refused} <= {Refusal.CLOSED, Refusal.MISSING}
    history = await handle.fetch_history()
    assert_sound(history.events)
    assert types(history)[-1] == "WorkflowExecutionTerminated" and "WorkflowExecutionCompleted" not in types(history)
    await nothing_left(place)


async def test_f11_a_run_that_has_completed_is_not_terminated(client: Client, make_worker: MakeWorker) -> None:
    begun: list[str] = []
    async with make_worker(client, working, work_of("worker", begun)):
        handle = await client.start_workflow(working, id="w")
        await handle.result()
        with pytest.raises(RPCError):
            await handle.terminate("too late")
        assert await end_of(working, handle) == "worker"


@workflow.defn
async def working_once() -> str:
    return await workflow.execute_activity(
        "work", result_type=str, start_to_close_timeout=timedelta(seconds=60), retry_policy=ONCE
    )


@pytest.mark.parametrize("first", ["its result", "its failure"])
async def test_f11_an_attempt_that_succeeds_while_others_find_it_failed_ends_once(
    place: Place, client: Client, other: Client, make_worker: MakeWorker, first: str
) -> None:
    """Its worker is taken for dead just as it ends: result and failure are on their way at once."""
    held = Held("succeeded")
    refused = note_refused(other), note_refused(client)
    handle = await client.start_workflow(working_once, id="w")
    with (
        Hold(other, "renew"),
        Hold(other, "commit", lambda writes: is_closing(writes) or is_report(writes)) as result,
        Hold(client, "commit", is_report) as failure,
    ):
        async with make_worker(other, working_once, held.activity, lease=BRIEF, identity="late"):

            async def has_begun() -> bool:
                return held.begun == 1

            await until(has_begun)
            held.end.set()
            await result.arrived()
            async with make_worker(client, working_once, lease=PUNCTUAL):
                await failure.arrived()
                (result if first == "its result" else failure).let_go()

                async def is_told() -> bool:
                    # The step of who was taken for dead is refused; it then reports its result as a message.
                    ended = {"WorkflowExecutionCompleted", "WorkflowExecutionFailed"}
                    return not ended.isdisjoint(types(await handle.fetch_history()))

                await until(is_told)
                result.let_go()
                failure.let_go()

                async def is_refused() -> bool:
                    return Refusal.MISSING in {each.reason for each in refused[0 if first == "its failure" else 1]}

                await until(is_refused)
    history = await handle.fetch_history()
    assert_sound(history.events)
    outcomes = [event for event in history.events if isinstance(event, ActivityTaskCompleted | ActivityTaskTimedOut)]
    assert len(outcomes) == 1
    assert isinstance(outcomes[0], ActivityTaskCompleted if first == "its result" else ActivityTaskTimedOut)
    assert types(history)[-1] == f"WorkflowExecution{'Completed' if first == 'its result' else 'Failed'}"
    await nothing_left(place)
