"""Transactional activities: what one writes, its result and the end of its task are one commit, or nothing."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import ForeignKey, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from durable import Client, RetryPolicy, activity, workflow
from durable.client import WorkflowFailureError
from durable.exceptions import ActivityError, ApplicationError, TimeoutError
from durable.history.events import ActivityTaskCompleted
from durable.worker import activities as running
from tests.engine.codecs import Sealing, converter
from tests.engine.conftest import Execute, MakeWorker, worker_for
from tests.engine.histories import of_type, until
from tests.engine.interceptors import Recording
from tests.engine.test_counts import spent_by

HOUR = timedelta(hours=1)
SOON = timedelta(milliseconds=5)
LIMIT = timedelta(milliseconds=50)
"""For a transaction that is to be cut off on SQLite."""
LONG = timedelta(minutes=1)
"""For one that is not, however busy the machine."""

ADD = text("UPDATE counter SET n = n + :by")
READ = text("SELECT n FROM counter")


class Base(DeclarativeBase): ...


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    said: Mapped[str]


class Later(Base):
    """Its note has to be there when it is committed, and not before."""

    __tablename__ = "later"
    id: Mapped[int] = mapped_column(primary_key=True)
    note: Mapped[int] = mapped_column(ForeignKey(Note.id, deferrable=True, initially="DEFERRED"))


class OwnSession(AsyncSession): ...


class OwnSyncSession(Session): ...


@pytest.fixture(autouse=True)
async def tables(client: Client) -> AsyncIterator[None]:
    await make_tables(client)
    yield
    async with client.engine().begin() as connection:  # others get the database next
        await connection.run_sync(Base.metadata.drop_all)
        await connection.execute(text("DROP TABLE counter"))


async def make_tables(client: Client) -> None:
    async with client.engine().begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(text("DROP TABLE IF EXISTS counter"))
        await connection.execute(text("CREATE TABLE counter (n BIGINT NOT NULL)"))
        await connection.execute(text("INSERT INTO counter VALUES (0)"))


async def counted(client: Client) -> int:
    async with client.engine().begin() as connection:
        return int((await connection.execute(READ)).scalar_one())


async def notes(client: Client) -> list[tuple[int, str]]:
    async with client.engine().begin() as connection:
        found = await connection.execute(text("SELECT id, said FROM note ORDER BY id"))
        return [(id, said) for id, said in found]


async def plus(by: int) -> int:
    session = activity.session()
    await session.execute(ADD, {"by": by})
    return int((await session.execute(READ)).scalar_one())


def plus_sync(by: int) -> int:
    session = activity.session(Session)
    session.execute(ADD, {"by": by})
    return int(session.execute(READ).scalar_one())


@activity.defn(transactional=LONG)
async def add(by: int) -> int:
    return await plus(by)


@activity.defn(transactional=LONG)
def add_sync(by: int) -> int:
    return plus_sync(by)


@activity.defn
async def plain() -> str:
    return "done"


@workflow.defn
async def call(
    name: str,
    args: list[Any],
    attempts: int = 1,
    timeout: float = 3600.0,
    heartbeat: float | None = None,
    local: bool = False,
) -> Any:
    policy = RetryPolicy(initial_interval=SOON, maximum_attempts=attempts)
    limit = timedelta(seconds=timeout)
    if local:
        return await workflow.execute_local_activity(
            name, args=args, start_to_close_timeout=limit, retry_policy=policy, result_type=None
        )
    return await workflow.execute_activity(
        name,
        args=args,
        start_to_close_timeout=limit,
        heartbeat_timeout=None if heartbeat is None else timedelta(seconds=heartbeat),
        retry_policy=policy,
    )


@workflow.defn
async def cancelling(name: str) -> str:
    """Cancels the activity when it is told to."""
    waits = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
    handle = workflow.start_activity(name, start_to_close_timeout=HOUR, cancellation_type=waits)
    told: asyncio.Future[None] = asyncio.Future()
    workflow.set_signal_handler("cancel", lambda: told.set_result(None))
    await told
    handle.cancel()
    try:
        await handle
    except ActivityError as error:
        return type(error.cause).__name__
    return "completed"


@workflow.defn
async def simple() -> str:
    return await workflow.execute_activity(plain, start_to_close_timeout=HOUR)


async def failure(client: Client, name: str, *args: Any, **more: Any) -> Any:
    """The cause of an activity's failure."""
    told = ", ".join(f"{key}={value}" for key, value in more.items())
    with pytest.raises(WorkflowFailureError) as caught:
        await client.execute_workflow(call, args=[name, list(args)], kwargs=more, id=f"fails-{name}-{args}{told}")
    assert isinstance(caught.value.cause, ActivityError)
    return caught.value.cause.cause


class Gate:
    """Where activities, sync or async, tell that they have begun, and wait until they may go on."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.opened = asyncio.Event()
        self.opened_sync = threading.Event()

    def tell(self, event: asyncio.Event) -> None:
        self.loop.call_soon_threadsafe(event.set)

    def open(self) -> None:
        self.opened.set()
        self.opened_sync.set()

    @activity.defn(transactional=LONG)
    async def hang(self) -> str:
        await plus(1000)
        self.begun.set()
        try:
            await self.opened.wait()
        finally:
            self.ended.set()
        return "gone on"

    @activity.defn(transactional=LONG)
    def hang_sync(self) -> str:
        plus_sync(1000)
        try:
            self.tell(self.begun)
            while not self.opened_sync.wait(0.005):
                pass
        finally:
            self.tell(self.ended)
        return "gone on"


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


# One commit. ----------------------------------------------------------------------------------------------------------


@workflow.defn
async def both() -> list[int]:
    return [await add(1), await add_sync(2), await add(3)]


async def test_what_activities_write_is_there_for_the_next_one_and_for_everybody(
    client: Client, execute: Execute
) -> None:
    assert await execute(both, using=(add, add_sync)) == [1, 3, 6]
    assert await counted(client) == 6


@pytest.mark.parametrize("name", ["add", "add_sync"])
async def test_writes_result_end_of_the_task_and_wake_up_are_one_commit(
    client: Client, make_worker: MakeWorker, name: str
) -> None:
    engine = client.engine().sync_engine if name == "add" else client.sync_engine()
    own: list[int] = []
    event.listen(engine, "commit", lambda _: own.append(1))
    least = 100
    async with make_worker(call, add, add_sync):
        for number in range(1, 6):  # the least of several: a claim that finds nothing to do is not the run's
            before = spent_by(client).commits
            assert await client.execute_workflow(call, args=[name, [1]], id=f"run-{number}") == number
            least = min(least, spent_by(client).commits - before)
    assert (len(own), least) == (5, 2)  # the store's own are the start with its task scheduled, and the end


async def test_one_that_writes_nothing_costs_what_a_plain_one_does(client: Client, make_worker: MakeWorker) -> None:
    @activity.defn(transactional=True)
    async def idle() -> str:
        activity.session()
        return "done"

    own: list[int] = []
    event.listen(client.engine().sync_engine, "commit", lambda _: own.append(1))
    async with make_worker(call, idle):
        assert await client.execute_workflow(call, args=["idle", []], id="run") == "done"
    assert own == []


# Rolled back. ---------------------------------------------------------------------------------------------------------


class Unconvertible: ...


@activity.defn(transactional=LONG)
async def refuses(how: str) -> Any:
    session = activity.session()
    await session.execute(ADD, {"by": 1000})
    client = activity.client()
    match how:
        case "raises":
            raise ValueError("no money")
        case "unconvertible":
            return Unconvertible()
        case "commits":
            await session.commit()
        case "begins":
            await session.rollback()
            async with session.begin():
                await session.execute(ADD, {"by": 1000})
        case "connection":
            await (await activity.connection()).commit()
        case "closes":
            await session.close()
        case "leaves":
            async with session:
                await session.execute(ADD, {"by": 1000})
        case "outside":
            activity.raise_complete_async()
        case "kind":
            activity.session(Session)
        case "other kind":
            activity.session(OwnSession)
        case "start":
            await client.start_workflow(simple, id="beside")
        case "signal":
            await client.get_workflow_handle("beside").signal("hello")
        case "update":
            await client.get_workflow_handle("beside").execute_update("hello")
        case "query":
            await client.get_workflow_handle("beside").query("hello")
        case "activity":
            await client.start_activity("plain", id="beside", task_queue="default", start_to_close_timeout=HOUR)


@activity.defn(transactional=LONG)
def refuses_sync(how: str) -> Any:
    session = activity.session()
    assert type(session) is Session
    session.execute(ADD, {"by": 1000})
    match how:
        case "raises":
            raise ValueError("no money")
        case "unconvertible":
            return Unconvertible()
        case "commits":
            session.commit()
        case "begins":
            session.rollback()
            with session.begin():
                session.execute(ADD, {"by": 1000})
        case "connection":
            session.connection().commit()
        case "closes":
            session.close()
        case "leaves":
            with session:
                session.execute(ADD, {"by": 1000})
        case "outside":
            activity.raise_complete_async()
        case "kind":
            activity.session(AsyncSession)
        case "other kind":
            activity.session(OwnSyncSession)


REFUSALS = {
    "raises": "no money",
    "unconvertible": "Unconvertible",
    "commits": "can't commit by itself",
    "begins": "can't commit by itself",
    "connection": "can't commit by itself",
    "closes": "has closed its session",
    "leaves": "has closed its session",
    "outside": "can't be completed from outside",
    "kind": "its session is a",
    "other kind": "which is no Own",
}
BESIDE = ("start", "signal", "update", "query", "activity")


async def test_what_fails_or_does_what_it_may_not_leaves_nothing(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(call, refuses, refuses_sync):
        for name in ("refuses", "refuses_sync"):
            for how, why in REFUSALS.items():
                assert why in str(await failure(client, name, how)), how
        for how in BESIDE:
            assert "pass session=activity.session()" in str(await failure(client, "refuses", how)), how
    assert await counted(client) == 0


async def test_a_session_belongs_to_a_transactional_activity_and_ends_with_it(
    client: Client, make_worker: MakeWorker
) -> None:
    kept: list[Any] = []

    @activity.defn
    async def without() -> None:
        activity.session()

    @activity.defn(transactional=LONG)
    async def keeps() -> int:
        kept.extend([activity.session(), activity.session])
        return await plus(1)

    @activity.defn(transactional=LONG)
    async def late() -> None:
        await kept[0].execute(ADD, {"by": 1000})

    async with make_worker(call, without, keeps, late):
        assert "transactional=True" in str(await failure(client, "without"))
        assert await client.execute_workflow(call, args=["keeps", []], id="keeps") == 1
        assert "is over, and with it its session" in str(await failure(client, "late"))
    with pytest.raises(RuntimeError, match="is over, and with it its session"):
        await kept[0].execute(ADD, {"by": 1000})
    assert await counted(client) == 1


@pytest.mark.parametrize("name", ["cleans_up", "cleans_up_sync", "hang", "hang_sync"])
async def test_what_the_workflow_cancels_is_rolled_back(
    client: Client, make_worker: MakeWorker, gate: Gate, name: str, store: str
) -> None:
    if store == "sqlite" and name.startswith("hang"):
        return  # its transaction is open, so nobody can ask for that until it has ended

    @activity.defn(transactional=LONG)
    async def cleans_up() -> None:
        gate.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await plus(1000)

    @activity.defn(transactional=LONG)
    def cleans_up_sync() -> None:
        try:
            gate.tell(gate.begun)
            while True:
                gate.opened_sync.wait(0.005)
        finally:
            plus_sync(1000)

    async with make_worker(cancelling, gate.hang, gate.hang_sync, cleans_up, cleans_up_sync):
        handle = await client.start_workflow(cancelling, name, id="run")
        await gate.begun.wait()
        await handle.signal("cancel")
        assert await handle.result() == "CancelledError"
    assert await counted(client) == 0


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
@pytest.mark.parametrize("name", ["hang", "hang_sync"])
async def test_what_belongs_to_a_closed_run_is_rolled_back(
    client: Client, make_worker: MakeWorker, gate: Gate, name: str
) -> None:
    async with make_worker(call, gate.hang, gate.hang_sync):
        handle = await client.start_workflow(call, args=[name, []], id="run")
        await gate.begun.wait()
        await handle.terminate()
        gate.open()
        await gate.ended.wait()
    assert await counted(client) == 0


@pytest.mark.parametrize("more", [{"timeout": 0.05}, {"heartbeat": 0.05}])
@pytest.mark.parametrize("name", ["hang", "hang_sync"])
async def test_what_times_out_is_rolled_back(
    client: Client, make_worker: MakeWorker, gate: Gate, name: str, more: dict[str, float]
) -> None:
    async with make_worker(call, gate.hang, gate.hang_sync):
        assert isinstance(await failure(client, name, **more), TimeoutError)
    assert await counted(client) == 0


@pytest.mark.parametrize("name", ["sticks", "sticks_sync"])
async def test_what_has_timed_out_is_in_nobodys_way_though_its_code_is_stuck(
    client: Client, make_worker: MakeWorker, gate: Gate, name: str
) -> None:
    @activity.defn(transactional=LONG)
    async def sticks() -> int:
        n = await plus(1)
        while activity.info().attempt == 1 and not gate.opened.is_set():
            try:
                await gate.opened.wait()
            except asyncio.CancelledError:
                gate.begun.set()
        return n

    @activity.defn(transactional=LONG, no_thread_cancel_exception=True)
    def sticks_sync() -> int:
        n = plus_sync(1)
        if activity.info().attempt == 1:
            gate.opened_sync.wait()
        return n

    async with make_worker(call, sticks, sticks_sync):
        more = {"attempts": 2, "timeout": 0.3}
        result = await client.execute_workflow(call, args=[name, []], kwargs=more, id="run")
        gate.open()
    assert (result, await counted(client)) == (1, 1)


@pytest.mark.parametrize("name", ["hang", "hang_sync"])
async def test_what_its_worker_stops_is_rolled_back_and_done_by_another_one(
    client: Client, make_worker: MakeWorker, gate: Gate, name: str
) -> None:
    async with make_worker(call, gate.hang, gate.hang_sync):
        handle = await client.start_workflow(call, args=[name, []], kwargs={"attempts": 0}, id="run")
        await gate.begun.wait()
    assert gate.ended.is_set()
    assert await counted(client) == 0
    gate.open()
    async with make_worker(call, gate.hang, gate.hang_sync):
        assert await handle.result() == "gone on"
    assert await counted(client) == 1000


async def test_what_its_codec_fails_on_is_rolled_back(client: Client) -> None:
    failures = iter(["the key is away"])

    @activity.defn(transactional=LONG)
    async def says() -> str:
        await plus(1)
        return "said"

    async def meddle(what: str, payloads: Any) -> None:
        if what == "encode" and any(each.data == b'"said"' for each in payloads):
            for why in failures:
                raise ApplicationError(why)

    sealing = Client(client.database, data_converter=converter(Sealing(meddle)))
    async with worker_for(sealing, call, says):
        assert "the key is away" in str(await failure(sealing, "says"))
        assert await counted(client) == 0
        failures = iter(["the key is away"])
        assert await sealing.execute_workflow(call, args=["says", []], kwargs={"attempts": 2}, id="run") == "said"
    assert await counted(client) == 1
    assert next(failures, None) is None


# The limit on SQLite. -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_one_that_takes_too_long_is_cut_off_and_others_go_on_though_it_is_stuck(
    client: Client, make_worker: MakeWorker, gate: Gate
) -> None:
    @activity.defn(transactional=LIMIT)
    async def waits() -> None:
        await plus(1000)
        await asyncio.Event().wait()

    @activity.defn(transactional=LIMIT)
    async def insists() -> None:
        await plus(1000)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await gate.opened.wait()
        await plus(1000)

    @activity.defn(transactional=LIMIT)
    async def forgets() -> str:
        session = activity.session()
        await session.execute(ADD, {"by": 1000})
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await session.rollback()
        return "all is well"

    @activity.defn(transactional=LIMIT)
    def is_stuck() -> None:
        plus_sync(1000)
        with activity.shield_thread_cancel_exception():
            gate.opened_sync.wait()
        plus_sync(1000)

    async with make_worker(call, waits, insists, forgets, is_stuck, add, add_sync):
        stuck = [asyncio.create_task(failure(client, name)) for name in ("waits", "insists", "forgets", "is_stuck")]
        for number in range(1, 4):  # while they are
            name = "add" if number % 2 else "add_sync"
            assert await client.execute_workflow(call, args=[name, [1]], id=f"run-{number}") == number
        gate.open()
        for cause in await asyncio.gather(*stuck):
            assert (cause.type, cause.cause) == ("TransactionTooLong", None)
            assert "had its transaction open for 0.05 s" in str(cause)
    assert await counted(client) == 3


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_the_time_of_a_transaction_that_was_rolled_back_is_nobody_elses(
    client: Client, make_worker: MakeWorker
) -> None:
    other_begun, over = asyncio.Event(), asyncio.Event()

    @activity.defn(transactional=LIMIT)
    async def rolls_back() -> None:
        await plus(1000)
        await activity.session().rollback()
        await over.wait()

    @activity.defn(transactional=LONG)
    async def other() -> int:
        await plus(1)
        other_begun.set()
        await asyncio.sleep(4 * LIMIT.total_seconds())  # the first one's time is up
        return await plus(1)

    async with make_worker(call, rolls_back, other):
        first = await client.start_workflow(call, args=["rolls_back", []], id="first")
        second = await client.start_workflow(call, args=["other", []], id="second")
        await other_begun.wait()
        assert await second.result() == 2
        over.set()
        assert await first.result() is None
    assert await counted(client) == 2


@pytest.mark.parametrize("wrong", [0, 2, "2 s", timedelta(), timedelta(seconds=-1), None])
def test_a_limit_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="transactional is"):
        activity.defn(transactional=wrong)


# The session. ---------------------------------------------------------------------------------------------------------


@activity.defn(transactional=LONG)
async def uses_it_all() -> list[Any]:
    session = activity.session(OwnSession)
    assert activity.session() is session and activity.session(AsyncSession) is session
    await session.execute(ADD, {"by": 1000})
    await session.rollback()
    session.add(Note(id=1, said="outer"))
    await session.flush()
    try:
        async with session.begin_nested():
            session.add(Note(id=2, said="inner"))
            await session.flush()
            raise ValueError("only the inner one")
    except ValueError:
        pass
    async with session.begin_nested():
        await (await activity.connection()).execute(ADD, {"by": 1})
    activity.heartbeat("half done")
    session.add(Note(id=3, said="never flushed 100% \x01"))
    return [type(session).__name__, await session.get(Note, 2)]


@activity.defn(transactional=LONG)
def uses_it_all_sync() -> list[Any]:
    session = activity.session(OwnSyncSession)
    assert activity.session() is session and activity.session(Session) is session
    session.execute(ADD, {"by": 1000})
    session.rollback()
    with session.begin_nested():
        session.add(Note(id=11, said="sync"))
    nested = session.begin_nested()
    session.add(Note(id=12, said="inner"))
    nested.rollback()
    activity.heartbeat("half done")
    session.add(Note(id=13, said="never flushed"))
    return [type(session).__name__, session.get(Note, 12)]


@workflow.defn
async def uses() -> list[Any]:
    return [
        *await workflow.execute_activity(uses_it_all, start_to_close_timeout=HOUR),
        *await workflow.execute_activity(uses_it_all_sync, start_to_close_timeout=HOUR),
    ]


async def test_a_session_has_savepoints_rollback_objects_and_is_of_the_kind_that_is_asked_for(
    client: Client, execute: Execute
) -> None:
    assert await execute(uses, using=(uses_it_all, uses_it_all_sync)) == ["OwnSession", None, "OwnSyncSession", None]
    assert await counted(client) == 1
    assert await notes(client) == [
        (1, "outer"),
        (3, "never flushed 100% \x01"),
        (11, "sync"),
        (13, "never flushed"),
    ]


# All ways to run an activity. -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["add", "add_sync"])
async def test_it_may_be_local_or_stand_alone(client: Client, make_worker: MakeWorker, name: str) -> None:
    async with make_worker(call, add, add_sync):
        local = await client.execute_workflow(call, args=[name, [1]], kwargs={"local": True}, id="run")
        alone: Any = await client.execute_activity(
            name, 1, id="alone", task_queue="default", start_to_close_timeout=HOUR
        )
    assert (local, alone, await counted(client)) == (1, 2, 2)


async def test_attempts_that_fail_leave_their_heartbeats_and_nothing_else(
    client: Client, make_worker: MakeWorker
) -> None:
    @activity.defn(transactional=LONG)
    async def third_time() -> list[Any]:
        info = activity.info()
        n = await plus(1)
        activity.heartbeat(info.attempt)
        if info.attempt < 3:
            raise ValueError("not yet")
        return [n, *info.heartbeat_details]

    async with make_worker(call, third_time):
        found = await client.execute_workflow(call, args=["third_time", []], kwargs={"attempts": 0}, id="run")
    assert found == [1, 2]
    assert await counted(client) == 1


async def test_interceptors_stand_around_it_and_a_codec_sees_its_result(
    client: Client, make_worker: MakeWorker
) -> None:
    calls: list[str] = []
    recording = Recording(lambda call, _: calls.append(call))
    sealing = Client(client.database, data_converter=converter())
    async with worker_for(sealing, both, add, add_sync, interceptors=[recording]):
        assert await sealing.execute_workflow(both, id="run") == [1, 3, 6]
    assert calls.count("ActivityInboundInterceptor.execute_activity") == 3


# Faults. --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempts", [0, 1])
@pytest.mark.parametrize("name", ["add", "add_sync"])
async def test_a_commit_whose_answer_is_lost_happens_once_and_counts(
    client: Client, make_worker: MakeWorker, name: str, attempts: int
) -> None:
    engine = client.engine().sync_engine if name == "add" else client.sync_engine()
    commit, lost = engine.dialect.do_commit, []

    def loses_the_answer(connection: Any) -> None:
        commit(connection)
        if not lost:
            lost.append(1)
            raise OperationalError("COMMIT", None, ConnectionError("the line is dead"))

    engine.dialect.do_commit = loses_the_answer  # type: ignore[method-assign]
    async with make_worker(call, add, add_sync):
        handle = await client.start_workflow(call, args=[name, [1]], kwargs={"attempts": attempts}, id="run")
        assert await handle.result() == 1
    history = await handle.fetch_history()
    assert len(of_type(history, ActivityTaskCompleted)) == 1
    assert (lost, await counted(client)) == ([1], 1)


@pytest.mark.parametrize("name", ["drops", "drops_sync"])
async def test_a_connection_that_is_lost_fails_the_attempt_and_is_in_nobodys_way(
    client: Client, make_worker: MakeWorker, name: str, store: str
) -> None:
    @activity.defn(transactional=LONG)
    async def drops() -> int:
        n = await plus(1)
        if activity.info().attempt == 1:
            raw: Any = (await (await activity.connection()).get_raw_connection()).driver_connection
            if store == "postgres":
                raw.terminate()
            else:
                await raw.close()
        return n

    @activity.defn(transactional=LONG)
    def drops_sync() -> int:
        n = plus_sync(1)
        if activity.info().attempt == 1:
            activity.session(Session).connection().connection.driver_connection.close()  # type: ignore[union-attr]
        return n

    async with make_worker(call, drops, drops_sync):
        assert await client.execute_workflow(call, args=[name, []], kwargs={"attempts": 0}, id="run") == 1
    assert await counted(client) == 1


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_a_constraint_that_fails_at_the_commit_fails_the_attempt(client: Client, make_worker: MakeWorker) -> None:
    @activity.defn(transactional=LONG)
    async def late() -> int:
        session, attempt = activity.session(), activity.info().attempt
        session.add(Later(id=1, note=1))
        await session.flush()
        if attempt == 2:
            session.add(Note(id=1, said="here"))
        return attempt

    async with make_worker(call, late):
        assert "later_note_fkey" in str(await failure(client, "late"))
        assert await client.execute_workflow(call, args=["late", []], kwargs={"attempts": 0}, id="run") == 2
    assert await notes(client) == [(1, "here")]


@pytest.mark.parametrize("name", ["hang", "hang_sync"])
async def test_a_worker_that_stops_and_its_client_lose_what_is_stuck_and_hang_nobody(
    client: Client, address: str, gate: Gate, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "LAST_WORDS", 0.05)

    @activity.defn(name="hang", transactional=LONG)
    async def hang() -> None:
        await plus(1000)
        gate.begun.set()
        while not gate.opened.is_set():
            try:
                await gate.opened.wait()
            except asyncio.CancelledError:
                pass
        gate.ended.set()

    @activity.defn(name="hang_sync", transactional=LONG, no_thread_cancel_exception=True)
    def hang_sync() -> None:
        plus_sync(1000)
        gate.tell(gate.begun)
        gate.opened_sync.wait()
        gate.tell(gate.ended)

    async with await Client.connect(address) as survivor:
        await make_tables(survivor)
        doomed = await Client.connect(address)
        async with worker_for(doomed, call, hang, hang_sync):
            handle = await doomed.start_workflow(call, args=[name, []], kwargs={"attempts": 0}, id="run")
            await gate.begun.wait()
        await doomed.close()
        gate.open()
        await gate.ended.wait()
        async with worker_for(survivor, call, hang, hang_sync):
            await survivor.get_workflow_handle(handle.id).result()
        assert await counted(survivor) == 1000


# Many at once. --------------------------------------------------------------------------------------------------------


async def test_two_hundred_at_once_on_one_row_add_up_while_other_workflows_go_on(
    client: Client, make_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_worker(call, simple, add, add_sync, plain):
        found = await asyncio.gather(
            *(
                client.execute_workflow(call, args=["add" if n % 2 else "add_sync", [1]], id=f"adds-{n}")
                for n in range(200)
            ),
            *(client.execute_workflow(simple, id=f"simple-{n}") for n in range(50)),
        )
    assert sorted(found[:200]) == list(range(1, 201))
    assert found[200:] == ["done"] * 50
    assert await counted(client) == 200
    # What the store warns of is how long the machine takes.
    failed = [each for each in caplog.records if each.levelno >= logging.WARNING and each.name != "durable.store"]
    assert [each.message for each in failed] == []


@workflow.defn
async def at_once(names: list[str]) -> int:
    results = await asyncio.gather(
        *(workflow.execute_activity(name, 1, start_to_close_timeout=HOUR, result_type=int) for name in names)
    )
    return max(results)


@activity.defn(transactional=LONG)
def notes_sync(number: int) -> int:
    """It asks the database for nothing before it has returned."""
    activity.session(Session).add(Note(id=activity.info().attempt * 1000 + int(activity.info().activity_id), said="x"))
    return number


async def test_many_of_one_run_in_few_slots_and_threads_all_end(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(at_once, add, add_sync, max_concurrent_activities=2):
        assert await client.execute_workflow(at_once, ["add", "add_sync"] * 10, id="few") == 20
    async with make_worker(at_once, notes_sync, max_concurrent_activities=60):
        assert await client.execute_workflow(at_once, ["notes_sync"] * 60, id="many") == 1
    assert len(await notes(client)) == 60


async def test_transactional_activities_and_everything_else_take_turns(client: Client, make_worker: MakeWorker) -> None:
    """Neither keeps the other from getting on, though it never stops."""
    stop = False
    done = {"call": 0, "simple": 0}

    async def again_and_again(flow: Any, args: list[Any], number: int) -> None:
        while not stop:
            done[flow.__name__] += 1
            await client.execute_workflow(flow, args=args, id=f"{flow.__name__}-{number}-{done[flow.__name__]}")

    async with make_worker(call, simple, add, add_sync, plain):
        busy = [
            asyncio.create_task(again_and_again(flow, args, number))
            for number in range(4)
            for flow, args in ((call, ["add", [1]]), (call, ["add_sync", [1]]), (simple, []))
        ]

        async def both_got_on() -> bool:
            return min(done.values()) > 40

        await until(both_got_on)
        stop = True
        await asyncio.gather(*busy)
    assert await counted(client) == done["call"]


async def test_a_call_of_the_client_within_it_happens_if_it_commits(client: Client, make_worker: MakeWorker) -> None:
    @activity.defn(transactional=LONG)
    async def starts(fails: bool) -> int:
        session = activity.session()
        await activity.client().start_workflow(simple, id=f"child-{fails}", session=session)
        if fails:
            raise ValueError("no")
        return await plus(1)

    async with make_worker(call, simple, starts, plain):
        await failure(client, "starts", True)
        assert await client.execute_workflow(call, args=["starts", [False]], id="run") == 1
        assert await client.get_workflow_handle("child-False").result() == "done"
    assert sorted([run.id async for run in client.list_workflows()]) == ["child-False", "fails-starts-(True,)", "run"]
