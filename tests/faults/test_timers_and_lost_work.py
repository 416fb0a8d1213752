"""Faults that lose timers and work: all is down when one falls due, a wake-up that never came, a result sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.client.handle import WorkflowHandle
from durable.history.database import Database
from durable.history.errors import StoreUnavailable
from durable.history.events import ActivityTaskCompleted, TimerFired, TimerStarted, WorkflowTaskScheduled
from durable.history.stores import open_store
from durable.history.transition import ActivityReport, Claim, Claimed, Committed, Outcome, Refusal, Refused, Write
from durable.testing.skipping import SkippingClient, SkippingHost, TimeSkipper
from durable.worker import poller
from tests.chaos.places import Place
from tests.engine.histories import assert_replays, assert_sound, of_type, types, until
from tests.faults.conftest import MakeWorker
from tests.postgres import Server, database_of

DAY_US = 24 * 3600 * 1_000_000


@pytest.fixture
def no_look_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers look only when something tells them to."""
    monkeypatch.setattr(poller, "FLOOR", 3600.0)


@workflow.defn
async def sleeping(seconds: float) -> str:
    await workflow.sleep(timedelta(seconds=seconds))
    return "awake"


async def fired_once(handle: WorkflowHandle[Any, Any]) -> tuple[TimerStarted, TimerFired]:
    history = await handle.fetch_history()
    assert_sound(history.events)
    await assert_replays(sleeping, history)
    (started,), (fired,) = of_type(history, TimerStarted), of_type(history, TimerFired)
    assert fired.time_us - started.time_us >= started.start_to_fire_timeout_us
    return started, fired


# F12, F13 ---------------------------------------------------------------------------------------------------------


async def test_f12_a_timer_that_falls_due_while_everything_is_down_fires_once_at_the_restart(
    place: Place, make_worker: MakeWorker
) -> None:
    async with await Client.connect(place.address) as client:
        async with make_worker(client, sleeping):
            handle = await client.start_workflow(sleeping, 0.3, id="w")

            async def is_asleep() -> bool:
                return "TimerStarted" in types(await handle.fetch_history())

            await until(is_asleep)
    ((due_us,),) = await place.ask("SELECT due_us FROM durable_inbox")

    async with await Client.connect(place.address) as client, await Client.connect(place.address) as other:

        async def is_overdue() -> bool:
            return client.database.store.now_us() > due_us

        await until(is_overdue)
        async with make_worker(client, sleeping), make_worker(other, sleeping):
            handle = client.get_workflow_handle("w")
            assert await handle.result() == "awake"
            await fired_once(handle)
    assert [list(row) for row in await place.ask("SELECT count(*) FROM durable_inbox")] == [[0]]


@pytest.mark.usefixtures("no_look_round")
async def test_f13_timers_are_found_again_when_the_database_was_away_while_they_were_looked_for(
    client: Client, make_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    store: Any = client.database.store
    claim, failures = store.claim, list[Claim]()

    async def failing(wanted: Claim) -> Claimed:
        # From the moment on at which the timer is due.
        if due_us and store.now_us() >= due_us[0] and len(failures) < 2:
            failures.append(wanted)
            raise StoreUnavailable("the database is away")
        claimed: Claimed = await claim(wanted)
        return claimed

    due_us: list[int] = []
    store.claim = failing
    async with make_worker(client, sleeping):
        handle = await client.start_workflow(sleeping, 0.3, id="w")

        async def timer() -> list[int]:
            return [message.due_us for message in await store.inbox(handle.result_run_id)]

        due_us += await until(timer)
        assert await handle.result() == "awake"
        await fired_once(handle)
    assert len(failures) == 2 and "asking for work failed" in caplog.text


@pytest.mark.usefixtures("no_look_round")
async def test_f13_timers_are_found_again_when_the_server_has_ended_the_session_that_looks_for_them(
    postgres: str, postgres_server: Server, make_worker: MakeWorker
) -> None:
    async with await Client.connect(postgres) as client:
        async with make_worker(client, sleeping):
            handle = await client.start_workflow(sleeping, 0.3, id="w")

            async def is_asleep() -> bool:
                return "TimerStarted" in types(await handle.fetch_history())

            await until(is_asleep)
            postgres_server.run(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                f"WHERE datname = '{database_of(postgres)}' AND pid <> pg_backend_pid()"
            )
            assert await handle.result() == "awake"
            await fired_once(handle)


# F17 --------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def skipping(address: str) -> AsyncIterator[SkippingClient]:
    """A client on either store, in whose time nothing takes long."""
    host = SkippingHost()
    database = await Database(open_store(address, host), host).open()
    client = SkippingClient(database)
    client.skipper = TimeSkipper(host)
    client.skipper.join(database)
    skipper = asyncio.ensure_future(client.skipper.work())
    yield client
    skipper.cancel()
    await asyncio.wait([skipper])
    await client.close()


@pytest.mark.parametrize("days", [40, 400])
async def test_f17_a_timer_of_many_days_fires_then_and_not_before(
    place: Place, skipping: SkippingClient, make_worker: MakeWorker, days: int
) -> None:
    async with make_worker(skipping, sleeping, lease=timedelta(days=1000)):
        handle = await skipping.start_workflow(sleeping, days * 86400.0, id="w")

        async def timer() -> Sequence[Sequence[Any]]:
            return await place.ask("SELECT due_us FROM durable_inbox")

        ((due_us,),) = await until(timer)
        assert await handle.result() == "awake"
        started, fired = await fired_once(handle)
    assert started.start_to_fire_timeout_us == days * DAY_US
    assert due_us == started.time_us + days * DAY_US <= fired.time_us < due_us + DAY_US


@pytest.mark.parametrize("days", [40, 400])
async def test_f17_a_start_that_is_delayed_by_many_days_begins_then_and_not_before(
    skipping: SkippingClient, make_worker: MakeWorker, days: int
) -> None:
    async with make_worker(skipping, sleeping, lease=timedelta(days=1000)):
        handle = await skipping.start_workflow(sleeping, 0.0, id="w", start_delay=timedelta(days=days))
        assert await handle.result() == "awake"
    history = await handle.fetch_history()
    begun = of_type(history, WorkflowTaskScheduled)[0].time_us - history.events[0].time_us
    assert days * DAY_US <= begun < (days + 1) * DAY_US


# F18, F19 ---------------------------------------------------------------------------------------------------------


@activity.defn
async def work(number: int) -> int:
    return number + 1


@workflow.defn
class Twice:
    """Two pieces of work, the second after a signal, on another queue than its own."""

    def __init__(self) -> None:
        self.told = False

    @workflow.run
    async def run(self) -> int:
        number = await self._work(1)
        await workflow.wait_condition(lambda: self.told)
        return await self._work(number)

    async def _work(self, number: int) -> int:
        return await workflow.execute_activity(
            work, number, task_queue="elsewhere", start_to_close_timeout=timedelta(seconds=60)
        )

    @workflow.signal
    def tell(self) -> None:
        self.told = True


def deafen(client: Client) -> None:
    """What others commit wakes this client's workers no more."""
    client.database.store.changed = lambda: False  # type: ignore[method-assign]
    client.database.hint = lambda: None  # type: ignore[method-assign]


async def test_f18_work_that_nobody_was_woken_for_is_found_by_looking_round(
    place: Place, client: Client, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "FLOOR", 0.1)
    async with await Client.connect(place.address) as runs, await Client.connect(place.address) as works:
        deafen(runs)
        deafen(works)
        async with make_worker(runs, Twice), make_worker(works, work, task_queue="elsewhere"):
            handle = await client.start_workflow(Twice.run, id="w")
            await handle.signal(Twice.tell)
            assert await handle.result() == 3


class Repeating:
    """Sends every commit of a client twice; what became of the second ones."""

    def __init__(self, client: Client) -> None:
        store: Any = client.database.store
        self._commit = store.commit
        self.answers: list[tuple[Write, Outcome]] = []
        store.commit = self.commit

    async def commit(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        outcomes: Sequence[Outcome] = await self._commit(writes)
        again = await self._commit(writes)
        self.answers += [
            (write, second)
            for write, first, second in zip(writes, outcomes, again, strict=True)
            if isinstance(first, Committed) and not first.existing
        ]
        return outcomes


@pytest.mark.usefixtures("no_look_round")
async def test_f19_a_result_that_comes_twice_is_refused_the_second_time_and_wedges_nobody(
    place: Place, client: Client, make_worker: MakeWorker
) -> None:
    async with await Client.connect(place.address) as runs, await Client.connect(place.address) as works:
        steps, results = Repeating(runs), Repeating(works)
        async with make_worker(runs, Twice), make_worker(works, work, task_queue="elsewhere"):
            handle = await client.start_workflow(Twice.run, id="w")
            await handle.signal(Twice.tell)
            assert await handle.result() == 3
    history = await handle.fetch_history()
    assert_sound(history.events)
    await assert_replays(Twice, history)
    assert len(of_type(history, ActivityTaskCompleted)) == 2
    told = [outcome for write, outcome in results.answers if isinstance(write, ActivityReport)]
    assert len(told) == 2 and all(isinstance(each, Refused) and each.reason is Refusal.MISSING for each in told)
    assert steps.answers and all(isinstance(outcome, Refused) for _, outcome in steps.answers)
    assert [list(row) for row in await place.ask("SELECT count(*) FROM durable_activity_tasks")] == [[0]]
