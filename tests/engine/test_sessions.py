"""session=: what a client starts, signals and cancels in the caller's own transaction happens if that commits."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from durable import Client, RetryPolicy, activity, workflow
from durable.client import (
    CancelWorkflowInput,
    Interceptor,
    OutboundInterceptor,
    RPCError,
    SignalWorkflowInput,
    StartWorkflowInput,
    WorkflowFailureError,
)
from durable.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from durable.exceptions import CancelledError, TerminatedError, WorkflowAlreadyStartedError
from durable.history.errors import StoreUnavailable
from tests.chaos.places import Place
from tests.engine.codecs import Sealing, converter
from tests.engine.conftest import MakeWorker, worker_for
from tests.postgres import TABLES

ASYNC = [("sqlite", "aiosqlite"), ("postgres", "asyncpg"), ("postgres", "psycopg")]
SYNC = [("sqlite", "pysqlite"), ("postgres", "psycopg")]
ASYNC_KINDS = ["AsyncSession", "async_scoped_session", "AsyncConnection"]
SYNC_KINDS = ["Session", "scoped_session", "Connection"]
CARRIERS = [(*each, kind) for each in ASYNC for kind in ASYNC_KINDS] + [
    (*each, kind) for each in SYNC for kind in SYNC_KINDS
]
every_carrier = pytest.mark.parametrize(("store", "driver", "kind"), CARRIERS, indirect=["store"])
each_way = pytest.mark.parametrize(
    ("store", "driver", "kind"),
    [
        ("sqlite", "aiosqlite", "AsyncSession"),
        ("sqlite", "pysqlite", "Connection"),
        ("postgres", "asyncpg", "AsyncConnection"),
        ("postgres", "psycopg", "AsyncSession"),
        ("postgres", "psycopg", "Session"),
    ],
    indirect=["store"],
)
on_postgres = pytest.mark.parametrize("store", ["postgres"], indirect=True)
on_sqlite = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

COLOUR = SearchAttributeKey.for_keyword("Colour")


@workflow.defn
class Collect:
    def __init__(self) -> None:
        self.items: list[int] = []

    @workflow.run
    async def run(self, count: int) -> list[int]:
        await workflow.wait_condition(lambda: len(self.items) >= count)
        return self.items

    @workflow.signal
    def add(self, item: int) -> None:
        self.items.append(item)


@activity.defn(start_to_close_timeout=timedelta(minutes=1))
async def double(number: int) -> int:
    return 2 * number


class Transaction:
    """A program's own: ``session`` is what it has for it."""

    def __init__(self, session: Any) -> None:
        self.session = session

    async def write_order(self, number: int) -> None:
        await self.do("execute", text(f"INSERT INTO orders VALUES ({number})"))

    async def commit(self) -> None:
        await self.do("commit")

    async def roll_back(self) -> None:
        await self.do("rollback")

    async def do(self, what: str, *args: Any) -> Any:
        done = getattr(self.session, what)(*args)
        return await done if inspect.isawaitable(done) else done


Begin = Callable[..., Any]


def url_of(address: str, driver: str) -> Any:
    url = make_url(address)
    return url.set(drivername=f"{url.get_backend_name()}+{driver}")


@pytest.fixture
async def place(new_place: Callable[[], Place]) -> AsyncIterator[Place]:
    """With a table of the program's own."""
    place = new_place()
    async with await Client.connect(place.address):
        await place.ask("CREATE TABLE orders (id integer)")
    yield place
    await place.ask("DROP TABLE orders")


@pytest.fixture
def address(place: Place) -> str:
    return place.address


@pytest.fixture
async def client(address: str) -> AsyncIterator[Client]:
    async with await Client.connect(address) as client:
        yield client


@pytest.fixture
def begin(address: str, store: str) -> Begin:
    """``async with begin(driver, kind)``: a transaction on an engine of the program's own."""

    @asynccontextmanager
    async def begin(driver: str | None = None, kind: str = "AsyncSession") -> AsyncIterator[Transaction]:
        url = url_of(address, driver or ("aiosqlite" if store == "sqlite" else "asyncpg"))
        if kind in SYNC_KINDS:
            engine = create_engine(url)
            makes = {
                "Session": lambda: Session(engine),
                "scoped_session": lambda: scoped_session(sessionmaker(engine)),
                "Connection": engine.connect,
            }
            session = makes[kind]()
            if kind == "scoped_session":
                session()
            try:
                yield Transaction(session)
            finally:
                session.close()
                engine.dispose()
            return
        async with disposed(create_async_engine(url)) as engine_:
            if kind == "AsyncConnection":
                async with engine_.connect() as connection:
                    yield Transaction(connection)
                return
            scoped = async_scoped_session(async_sessionmaker(engine_), scopefunc=asyncio.current_task)
            session = scoped if kind == "async_scoped_session" else AsyncSession(engine_)
            try:
                yield Transaction(session)
            finally:
                await session.close()

    return begin


@asynccontextmanager
async def disposed(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    try:
        yield engine
    finally:
        await engine.dispose()


async def orders(place: Place) -> list[int]:
    return sorted(row[0] for row in await place.ask("SELECT id FROM orders"))


async def traces(place: Place) -> dict[str, int]:
    """How many rows the engine's tables have; but for that of the workers, whom nobody has asked to stay."""
    return {
        table.name: (await place.ask(f"SELECT count(*) FROM {table.name}"))[0][0]
        for table in TABLES
        if table.name != "durable_workers"
    }


async def is_there(client: Client, id: str) -> bool:
    try:
        await client.get_workflow_handle(id).describe()
    except RPCError:
        return False
    return True


# If and only if. --------------------------------------------------------------------------------------------------


@every_carrier
async def test_what_is_committed_together_is_there_together(
    client: Client, make_worker: MakeWorker, begin: Begin, place: Place, driver: str, kind: str
) -> None:
    async with make_worker(Collect), begin(driver, kind) as own:
        await own.write_order(1)
        handle = await client.start_workflow(
            Collect.run, 3, id="order-1", memo={"a": 1}, start_signal="add", start_signal_args=[1], session=own.session
        )
        await handle.signal(Collect.add, 2, session=own.session)
        assert not await is_there(client, "order-1")
        await own.commit()

        await own.write_order(2)
        await handle.signal(Collect.add, 3, session=own.session)
        cancelled = await client.start_workflow(Collect.run, 1, id="order-2", session=own.session)
        await cancelled.cancel(session=own.session)
        await own.commit()

        assert await handle.result() == [1, 2, 3]
        with pytest.raises(WorkflowFailureError) as failure:
            await cancelled.result()
    assert isinstance(failure.value.cause, CancelledError)
    assert await orders(place) == [1, 2]


@each_way
async def test_what_is_rolled_back_leaves_no_trace(
    client: Client, begin: Begin, place: Place, driver: str, kind: str
) -> None:
    handle = await client.start_workflow(Collect.run, 3, id="there")
    await client.start_workflow(Collect.run, 3, id="replaced")
    before = await traces(place)

    async with begin(driver, kind) as own:
        await own.write_order(1)
        await client.start_workflow(
            Collect.run, 1, id="new", search_attributes=_coloured("red"), memo={"a": 1}, session=own.session
        )
        await handle.signal(Collect.add, 1, session=own.session)
        await handle.cancel(session=own.session)
        await client.start_workflow(
            *(Collect.run, 1),
            id="replaced",
            id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING,
            session=own.session,
        )
        await own.roll_back()

    assert await traces(place) == before
    assert await orders(place) == []


def _coloured(colour: str) -> TypedSearchAttributes:
    return TypedSearchAttributes([SearchAttributePair(COLOUR, colour)])


@each_way
async def test_a_savepoint_that_is_rolled_back_takes_its_part_with_it(
    client: Client, make_worker: MakeWorker, begin: Begin, driver: str, kind: str
) -> None:
    async with make_worker(Collect), begin(driver, kind) as own:
        replaced = await client.start_workflow(Collect.run, 1, id="replaced")
        kept = await client.start_workflow(Collect.run, 2, id="kept", session=own.session)
        savepoint = own.session.begin_nested()
        savepoint = await savepoint if inspect.isawaitable(savepoint) else savepoint
        await kept.signal(Collect.add, 0, session=own.session)
        await client.start_workflow(Collect.run, 0, id="taken-back", session=own.session)
        await client.start_workflow(
            *(Collect.run, 0),
            id="replaced",
            id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING,
            session=own.session,
        )
        undone = savepoint.rollback()
        if inspect.isawaitable(undone):
            await undone
        await kept.signal(Collect.add, 1, session=own.session)
        await kept.signal(Collect.add, 2, session=own.session)
        await own.commit()

        assert await kept.result() == [1, 2]
        assert not await is_there(client, "taken-back")
        await replaced.signal(Collect.add, 7)
        assert await replaced.result() == [7]


async def test_a_transaction_carries_many_in_their_order(client: Client, make_worker: MakeWorker, begin: Begin) -> None:
    async with make_worker(Collect), begin() as own:
        handles = [
            await client.start_workflow(Collect.run, 5, id=f"order-{number}", session=own.session)
            for number in range(5)
        ]
        for item in range(5):
            for handle in handles:
                await handle.signal(Collect.add, item, session=own.session)
        await own.commit()

        assert [await handle.result() for handle in handles] == [list(range(5))] * 5


async def test_an_activity_without_a_workflow_is_started_with_the_transaction(
    client: Client, make_worker: MakeWorker, begin: Begin
) -> None:
    async with make_worker(double), begin() as own:
        options: dict[str, Any] = {"id": "job", "task_queue": "default", "session": own.session}
        await client.start_activity(double, 1, **options)
        await own.roll_back()
        handle = await client.start_activity(double, 21, **options)
        await own.commit()

        assert await handle.result() == 42


@activity.defn(
    transactional=True, start_to_close_timeout=timedelta(minutes=1), retry_policy=RetryPolicy(maximum_attempts=1)
)
async def order_in_activity(fails: bool) -> None:
    session = activity.session()
    await session.execute(text("INSERT INTO orders VALUES (1)"))
    await activity.client().start_workflow(Collect.run, 0, id="of-an-activity", session=session)
    if fails:
        raise RuntimeError("too late")


@workflow.defn
async def orders_in_activity(fails: bool) -> None:
    await order_in_activity(fails)


async def test_what_a_transactional_activity_starts_is_started_with_its_result(
    client: Client, make_worker: MakeWorker, place: Place
) -> None:
    async with make_worker(orders_in_activity, order_in_activity, Collect):
        with pytest.raises(WorkflowFailureError):
            await client.execute_workflow(orders_in_activity, True, id="failing")
        assert not await is_there(client, "of-an-activity")
        assert await orders(place) == []

        await client.execute_workflow(orders_in_activity, False, id="passing")

        assert await client.get_workflow_handle("of-an-activity").result() == []
        assert await orders(place) == [1]


# Policies, and what is refused: the transaction goes on. ------------------------------------------------------------


async def test_policies_hold_in_a_transaction(client: Client, make_worker: MakeWorker, begin: Begin) -> None:
    async def start(id: str, count: int = 1, **options: Any) -> Any:
        return await client.start_workflow(Collect.run, count, id=id, session=own.session, **options)

    async with make_worker(Collect), begin() as own:
        old = await client.start_workflow(Collect.run, 1, id="busy")
        await client.execute_workflow(Collect.run, 0, id="done")

        with pytest.raises(WorkflowAlreadyStartedError):
            await start("busy")
        with pytest.raises(WorkflowAlreadyStartedError):
            await start("done", id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE)
        used = await start("busy", id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING)
        assert used.result_run_id == old.result_run_id
        new = await start("busy", 2, id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING)
        signalled = await start("busy", start_signal="add", start_signal_args=[1])
        assert signalled.run_id is None
        await start("busy", start_signal="add", start_signal_args=[2])
        await own.commit()

        assert await new.result() == [1, 2]
        with pytest.raises(WorkflowFailureError) as failure:
            await client.get_workflow_handle("busy", run_id=old.result_run_id).result()
    assert isinstance(failure.value.cause, TerminatedError)


async def test_what_a_transaction_has_begun_it_can_not_replace(client: Client, begin: Begin) -> None:
    replacing: dict[str, Any] = {"id_conflict_policy": WorkflowIDConflictPolicy.TERMINATE_EXISTING}
    there = await client.start_workflow(Collect.run, 1, id="there")
    async with begin() as own:
        await client.start_workflow(Collect.run, 1, id="new", session=own.session)
        await there.signal(Collect.add, 1, session=own.session)

        for id in ("new", "there"):
            with pytest.raises(ValueError, match="commit that first"):
                await client.start_workflow(Collect.run, 1, id=id, session=own.session, **replacing)


async def test_a_transaction_that_is_done_again_starts_once(
    client: Client, begin: Begin, make_worker: MakeWorker
) -> None:
    async with make_worker(Collect):
        run_ids: set[str | None] = set()
        handle = client.get_workflow_handle_for(Collect.run, "once")
        for _ in range(2):
            async with begin() as own:
                started = await client.start_workflow(
                    Collect.run, 2, id="once", request_id="the-request", session=own.session
                )
                run_ids.add(started.result_run_id)
                await handle.signal(Collect.add, 1, request_id="the-signal", session=own.session)
                await own.commit()
        await handle.signal(Collect.add, 2)

        assert await handle.result() == [1, 2]
    assert len(run_ids) == 1


async def test_what_is_refused_leaves_the_transaction_as_it_was(
    client: Client, make_worker: MakeWorker, begin: Begin, place: Place
) -> None:
    async with make_worker(Collect), begin() as own:
        await client.start_workflow(Collect.run, 1, id="there")
        await own.write_order(1)
        with pytest.raises(WorkflowAlreadyStartedError):
            await client.start_workflow(Collect.run, 1, id="there", session=own.session)
        with pytest.raises(RPCError, match="no workflow 'nowhere'"):
            await client.get_workflow_handle("nowhere").signal("add", 1, session=own.session)
        with pytest.raises(RPCError, match="no workflow 'nowhere'"):
            await client.get_workflow_handle("nowhere").cancel(session=own.session)
        handle = await client.start_workflow(Collect.run, 1, id="new", session=own.session)
        await handle.signal(Collect.add, 1, session=own.session)
        await own.commit()

        assert await handle.result() == [1]
    assert await orders(place) == [1]


async def test_a_cancelled_caller_leaves_no_half_of_a_start(client: Client, begin: Begin, place: Place) -> None:
    """Whoever gives up, and commits all the same, has the whole of it or nothing."""
    for turns in range(40):
        async with begin() as own:
            starting = asyncio.ensure_future(
                client.start_workflow(Collect.run, 1, id=f"order-{turns}", session=own.session)
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            starting.cancel()
            await asyncio.wait([starting])
            await own.commit()

    counts = await traces(place)
    assert counts["durable_runs"] == counts["durable_history"] == counts["durable_inbox"]


async def test_a_codec_and_interceptors_see_it(address: str, begin: Begin) -> None:
    seen: list[Any] = []

    class Sees(OutboundInterceptor):
        async def start_workflow(self, input: StartWorkflowInput) -> Any:
            seen.append(input.session)
            return await super().start_workflow(input)

        async def signal_workflow(self, input: SignalWorkflowInput) -> None:
            seen.append(input.session)
            await super().signal_workflow(input)

        async def cancel_workflow(self, input: CancelWorkflowInput) -> None:
            seen.append(input.session)
            await super().cancel_workflow(input)

    class Seeing(Interceptor):
        def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
            return Sees(next)

    async with (
        await Client.connect(address, data_converter=converter(Sealing()), interceptors=[Seeing()]) as client,
        worker_for(client, Collect),
        begin() as own,
    ):
        handle = await client.start_workflow(
            Collect.run, 1, id="coded", search_attributes=_coloured("red"), session=own.session
        )
        await handle.signal(Collect.add, 5, session=own.session)
        await own.commit()
        assert await handle.result() == [5]
        assert (await handle.describe()).typed_search_attributes.get(COLOUR) == "red"
        with pytest.raises(RPCError):
            await handle.signal(Collect.add, 6, session=own.session)
        await handle.cancel(session=own.session)
        assert seen == [own.session] * 4


# Waking up. -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["AsyncSession", "Session"])
async def test_a_session_that_commits_wakes_the_worker_of_its_process(
    client: Client, make_worker: MakeWorker, begin: Begin, monkeypatch: pytest.MonkeyPatch, store: str, kind: str
) -> None:
    """By a call: nobody looks at the database here."""
    driver = None if kind == "AsyncSession" else SYNC[store == "postgres"][1]
    async with make_worker(Collect), begin(driver, kind) as own:
        monkeypatch.setattr(client.database.store, "changed", lambda: False)
        dues: list[int] = []
        stop = client.database.listen(dues.append)
        handle = await client.start_workflow(Collect.run, 0, id="new", session=own.session)
        assert dues == []
        await own.commit()
        assert await handle.result() == []
        assert dues[0] == 0
        stop()


@each_way
async def test_workers_of_others_wake_when_it_is_committed(
    client: Client, begin: Begin, address: str, store: str, driver: str, kind: str
) -> None:
    async with await Client.connect(address) as other, worker_for(other, Collect):
        watch: Any = getattr(other.database.store, "watch", None)
        heard = watch.heard if watch else 0
        async with begin(driver, kind) as own:
            handle = await client.start_workflow(Collect.run, 0, id="new", session=own.session)
            await own.commit()
        assert await handle.result() == []
        assert store == "sqlite" or watch.heard > heard


async def test_a_session_on_a_connection_wakes_workers_when_that_commits(
    client: Client, make_worker: MakeWorker, begin: Begin
) -> None:
    async with make_worker(Collect), begin(kind="AsyncConnection") as own:
        outer = await own.session.begin()
        async with AsyncSession(own.session) as session:
            handle = await client.start_workflow(Collect.run, 0, id="new", session=session)
            await session.commit()
        assert not await is_there(client, "new")
        await outer.commit()

        assert await handle.result() == []


# Two at once. -----------------------------------------------------------------------------------------------------


@on_postgres
async def test_two_transactions_start_the_same_workflow_and_hold_nobody_up(
    client: Client, make_worker: MakeWorker, begin: Begin
) -> None:
    async with make_worker(Collect), begin() as first, begin() as second:
        won = await client.start_workflow(Collect.run, 1, id="one", session=first.session)
        waiting = asyncio.ensure_future(client.start_workflow(Collect.run, 0, id="one", session=second.session))
        for number in range(20):  # others go on, meanwhile
            assert await client.execute_workflow(Collect.run, 0, id=f"other-{number}") == []
        assert not waiting.done()
        await first.commit()

        with pytest.raises(WorkflowAlreadyStartedError):
            await waiting
        await second.write_order(1)
        await won.signal(Collect.add, 1, session=second.session)
        await second.commit()
        assert await won.result() == [1]


@on_postgres
async def test_who_waits_for_another_start_gets_its_turn_when_that_is_rolled_back(
    client: Client, make_worker: MakeWorker, begin: Begin
) -> None:
    async with make_worker(Collect), begin() as first, begin() as second:
        await client.start_workflow(Collect.run, 1, id="one", session=first.session)
        waiting = asyncio.ensure_future(client.start_workflow(Collect.run, 0, id="one", session=second.session))
        assert await client.execute_workflow(Collect.run, 0, id="other") == []
        await first.roll_back()
        handle = await waiting
        await second.commit()

        assert await handle.result() == []


@on_postgres
async def test_who_waits_too_long_is_told_and_may_go_on(
    client: Client, begin: Begin, monkeypatch: pytest.MonkeyPatch, place: Place
) -> None:
    monkeypatch.setattr("durable.history.joining.PATIENCE_S", 0.05)
    async with begin() as first, begin() as second:
        await client.start_workflow(Collect.run, 1, id="one", session=first.session)
        await second.write_order(1)
        limit = (await second.do("execute", text("SHOW lock_timeout"))).scalar()
        with pytest.raises(StoreUnavailable, match="another transaction has held"):
            await client.start_workflow(Collect.run, 1, id="one", session=second.session)
        await client.start_workflow(Collect.run, 1, id="two", session=second.session)
        assert (await second.do("execute", text("SHOW lock_timeout"))).scalar() == limit
        await second.commit()
    assert await orders(place) == [1]


@on_sqlite
async def test_who_finds_the_file_locked_too_long_is_told_and_may_go_on(
    client: Client, begin: Begin, address: str, place: Place
) -> None:
    impatient = create_async_engine(url_of(address, "aiosqlite"), connect_args={"timeout": 0.01})
    async with begin() as first, disposed(impatient), AsyncSession(impatient) as second:
        await first.write_order(1)
        with pytest.raises(StoreUnavailable, match="nothing of this is written"):
            await client.start_workflow(Collect.run, 1, id="one", session=second)
        await first.commit()
        await client.start_workflow(Collect.run, 1, id="one", session=second)
        await second.commit()
    assert await is_there(client, "one")


@pytest.mark.parametrize("whose", ["client's", "own"])
async def test_fifty_requests_at_once_write_a_row_and_start_a_workflow_each(
    client: Client, make_worker: MakeWorker, address: str, place: Place, store: str, whose: str
) -> None:
    """None of them finds the database locked: those of the client's engine take turns, an engine of the program's own
    has a timeout that lets each wait for all others."""
    own = create_async_engine(
        url_of(address, "aiosqlite" if store == "sqlite" else "asyncpg"),
        pool_size=10,
        connect_args={"timeout": 30},
    )
    engine = client.engine() if whose == "client's" else own

    async def request(number: int) -> list[int]:
        async with AsyncSession(engine) as session, session.begin():
            await session.execute(text(f"INSERT INTO orders VALUES ({number})"))
            handle = await client.start_workflow(Collect.run, 0, id=f"order-{number}", session=session)
        return await handle.result()

    async with disposed(own), make_worker(Collect):
        assert await asyncio.gather(*map(request, range(50))) == [[]] * 50

    assert await orders(place) == list(range(50))


# Threads. ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["row", "workflow"])
async def test_requests_in_threads_use_their_sessions(
    client: Client, make_worker: MakeWorker, place: Place, first: str
) -> None:
    """As in Flask: more of them than there are threads for whatever the loop may run aside."""
    loop = asyncio.get_running_loop()

    def request(number: int) -> list[int]:
        with Session(client.sync_engine()) as session, session.begin():
            if first == "row":
                session.execute(text(f"INSERT INTO orders VALUES ({number})"))
            started = client.start_workflow(Collect.run, 1, id=f"order-{number}", session=session)
            handle = asyncio.run_coroutine_threadsafe(started, loop).result()
            asyncio.run_coroutine_threadsafe(handle.signal(Collect.add, number, session=session), loop).result()
            if first == "workflow":
                session.execute(text(f"INSERT INTO orders VALUES ({number})"))
        return asyncio.run_coroutine_threadsafe(handle.result(), loop).result()

    def all_requests() -> list[list[int]]:
        with ThreadPoolExecutor(40) as threads:
            return list(threads.map(request, range(40)))

    async with make_worker(Collect):
        assert await asyncio.to_thread(all_requests) == [[number] for number in range(40)]

    assert await orders(place) == list(range(40))


async def test_a_thread_passes_the_session_that_is_its_own(client: Client, make_worker: MakeWorker) -> None:
    """Of a scoped_session the loop's thread has another one, which nobody would ever commit."""
    loop = asyncio.get_running_loop()
    scoped = scoped_session(sessionmaker(client.sync_engine()))

    def request() -> str:
        scoped.execute(text("INSERT INTO orders VALUES (1)"))
        started = client.start_workflow(Collect.run, 0, id="order", session=scoped)
        with pytest.raises(ValueError, match=r"session=scoped\(\)"):
            asyncio.run_coroutine_threadsafe(started, loop).result()
        started = client.start_workflow(Collect.run, 0, id="order", session=scoped())
        handle = asyncio.run_coroutine_threadsafe(started, loop).result()
        scoped.commit()
        scoped.remove()
        return str(handle.id)

    async with make_worker(Collect):
        id = await asyncio.to_thread(request)
        assert await client.get_workflow_handle(id).result() == []


# Refused. ---------------------------------------------------------------------------------------------------------


async def test_a_session_of_another_database_is_refused(
    client: Client, begin: Begin, new_place: Callable[[], Place], store: str, tmp_path: Path, place: Place
) -> None:
    other = new_place()
    async with await Client.connect(other.address):
        pass
    driver = "aiosqlite" if store == "sqlite" else "asyncpg"
    urls = [url_of(other.address, driver), "sqlite+aiosqlite://", f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}"]
    before = await traces(place)
    for url in urls:
        async with disposed(create_async_engine(url)) as engine, AsyncSession(engine) as session:
            with pytest.raises(ValueError, match="what is to be one transaction has to be one database"):
                await client.start_workflow(Collect.run, 1, id="new", session=session)
            assert (await session.execute(text("SELECT 1"))).scalar() == 1
    assert await traces(place) == before


async def test_what_carries_no_transaction_is_refused(client: Client, begin: Begin) -> None:
    anything: Any = client.engine()
    async with begin() as own:
        with pytest.raises(TypeError, match="session= takes"):
            await client.start_workflow(Collect.run, 1, id="new", session=anything)
        with pytest.raises(TypeError, match="the inner half"):
            await client.start_workflow(Collect.run, 1, id="new", session=own.session.sync_session)
        with pytest.raises(ValueError, match="execute_workflow takes no session"):
            await client.execute_workflow(Collect.run, 1, id="new", session=own.session)
        with pytest.raises(ValueError, match="execute_activity takes no session"):
            await client.execute_activity(double, 1, id="new", task_queue="default", session=own.session)


@on_postgres
async def test_messages_need_to_see_what_is_there_now(client: Client, begin: Begin) -> None:
    handle = await client.start_workflow(Collect.run, 1, id="there")
    async with begin(kind="AsyncConnection") as own:
        connection: AsyncConnection = own.session
        await connection.execution_options(isolation_level="REPEATABLE READ")
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: handle.signal(Collect.add, 1, session=connection),
            lambda: handle.cancel(session=connection),
            lambda: client.start_workflow(
                *(Collect.run, 1),
                id="there",
                id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING,
                session=connection,
            ),
        ]
        for call in calls:
            with pytest.raises(ValueError, match="use READ COMMITTED"):
                await call()
        await client.start_workflow(Collect.run, 1, id="new", session=connection)
        await connection.commit()
    assert await is_there(client, "new")


@on_postgres
async def test_a_session_without_transactions_is_refused(client: Client, begin: Begin) -> None:
    async with begin(kind="AsyncConnection") as own:
        await own.session.execution_options(isolation_level="AUTOCOMMIT")
        with pytest.raises(ValueError, match="AUTOCOMMIT"):
            await client.start_workflow(Collect.run, 1, id="new", session=own.session)
    assert not await is_there(client, "new")


@on_sqlite
@pytest.mark.parametrize("engine", ["async", "sync"])
async def test_who_has_the_turn_and_asks_beside_it_is_told(client: Client, engine: str) -> None:
    """It would wait for itself, and everybody else with it."""
    handle = await client.start_workflow(Collect.run, 1, id="there")
    async with AsyncExitStack() as stack:
        if engine == "async":
            session: Any = await stack.enter_async_context(AsyncSession(client.engine()))
            await session.execute(text("INSERT INTO orders VALUES (1)"))
        else:
            session = stack.enter_context(Session(client.sync_engine()))
            session.execute(text("INSERT INTO orders VALUES (1)"))
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: client.start_workflow(Collect.run, 1, id="new"),
            lambda: handle.signal(Collect.add, 1),
            handle.cancel,
            handle.terminate,
        ]
        for call in calls:
            with pytest.raises(RuntimeError, match="pass session="):
                await call()
    await client.start_workflow(Collect.run, 1, id="new")
    assert await is_there(client, "new")


async def test_errors_of_the_driver_come_as_they_are(client: Client, begin: Begin) -> None:
    async with begin() as own:
        with pytest.raises(DBAPIError):
            await own.do("execute", text("SELECT nonsense"))
        await own.roll_back()
        await client.start_workflow(Collect.run, 1, id="new", session=own.session)
        await own.commit()
    assert await is_there(client, "new")
