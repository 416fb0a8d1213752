"""`activity.exactly_once`: effects in another SQL database, committed with the result, whatever fails when."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, insert, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from durable import Client, RetryPolicy, activity, ledger, workflow
from durable.client import WorkflowFailureError
from durable.exceptions import ApplicationError, TimeoutError
from durable.testing import ActivityEnvironment
from durable.worker.interceptor import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor
from tests.engine.codecs import converter
from tests.engine.conftest import MakeWorker, worker_for
from tests.engine.histories import until
from tests.engine.shops import Commits, Shop, bookings
from tests.postgres import OTHERS_END, Server

SOON = RetryPolicy(initial_interval=timedelta(milliseconds=1))
ONCE = RetryPolicy(maximum_attempts=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def shop(request: pytest.FixtureRequest, store: str, tmp_path: Path) -> Iterator[Shop]:
    """A database of the engine's kind, unless the test asks for both (`both`)."""
    if getattr(request, "param", store) == "sqlite":
        file = tmp_path / "shop.db"
        with closing(sqlite3.connect(file)) as made:
            made.execute("PRAGMA journal_mode=WAL")
        yield Shop(f"sqlite:///{file}", f"sqlite+aiosqlite:///{file}")
        return
    server: Server = request.getfixturevalue("postgres_server")
    name = server.lend()
    rest = server.url(name).removeprefix("postgresql")
    shop = Shop(f"postgresql+psycopg{rest}", f"postgresql+asyncpg{rest}")
    yield shop
    server.run(OTHERS_END, name)  # those of workers that have died in a simulation
    shop.close()
    server.give_back(name)


both = pytest.mark.parametrize("shop", ["sqlite", "postgres"], indirect=True)


async def nothing(*_: Any) -> None: ...


def nothing_sync(*_: Any) -> None: ...


class Books:
    """The same activity in both forms. ``within`` and ``after`` are what it does at the end of its block, and then."""

    def __init__(self, shop: Shop, **options: Any) -> None:
        self.shop = shop
        self.options = options
        self.attempts = 0
        self.connections: list[Any] = []
        self.forgotten: asyncio.Task[str] | None = None
        self.before: Callable[[], Any] = nothing
        self.within: Callable[[AsyncSession], Any] = nothing
        self.after: Callable[[], Any] = nothing
        self.within_sync: Callable[[Session], Any] = nothing_sync

    @activity.defn(name="async")
    async def book(self, what: str) -> str:
        self.attempts += 1
        await self.before()
        async with activity.exactly_once(self.shop.async_engine, **self.options) as session:
            self.connections.append(await session.connection())
            await session.execute(insert(bookings).values(what=what))
            await self.within(session)
        await self.after()
        return f"{what} by attempt {activity.info().attempt}"

    @activity.defn(name="sync")
    def book_sync(self, what: str) -> str:
        self.attempts += 1
        with activity.exactly_once(self.shop.engine, **self.options) as session:
            self.connections.append(session.connection())
            session.execute(insert(bookings).values(what=what))
            self.within_sync(session)
        return f"{what} by attempt {activity.info().attempt}"


@pytest.fixture
def books(shop: Shop) -> Books:
    return Books(shop)


@workflow.defn
async def booking(kind: str, what: str, policy: RetryPolicy) -> str:
    result: str = await workflow.execute_activity(kind, what, start_to_close_timeout=MINUTE, retry_policy=policy)
    return result


@workflow.defn
async def booking_locally(kind: str, what: str, policy: RetryPolicy) -> str:
    result: str = await workflow.execute_local_activity(kind, what, start_to_close_timeout=MINUTE, retry_policy=policy)
    return result


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def booked(
    make_worker: MakeWorker,
    books: Books,
    kind: str,
    *,
    policy: RetryPolicy = SOON,
    flow: Any = booking,
    client: Client,
    **options: Any,
) -> str:
    """What a workflow that books tea has come to."""
    async with make_worker(flow, books.book, books.book_sync, **options):
        return await client.execute_workflow(flow, args=[kind, "tea", policy], id="the-run")


async def cause(failing: Any) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as raised:
        await failing
    found = raised.value.cause.__cause__
    assert isinstance(found, ApplicationError)
    return found


# The effect and the result. ---------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("flow", [booking, booking_locally])
async def test_effects_and_result_are_committed_together(
    client: Client, make_worker: MakeWorker, books: Books, kind: str, flow: Any
) -> None:
    result = await booked(make_worker, books, kind, flow=flow, client=client)

    run_id = (await client.get_workflow_handle("the-run").describe()).run_id
    assert result == "tea by attempt 1"
    assert books.shop.booked() == ["tea"]
    assert [key.partition(":")[0] for key in books.shop.recorded()] == [run_id]


async def test_an_activity_that_a_client_starts_by_itself_has_its_effects_once_too(
    client: Client, make_worker: MakeWorker, books: Books, kind: str
) -> None:
    def broken() -> None:
        raise ConnectionError("the line is down")

    books.shop.recorded()
    Commits(books.shop.async_engine.sync_engine if kind == "async" else books.shop.engine, after=broken)
    async with make_worker(books.book, books.book_sync):
        result = await client.execute_activity(
            kind, "tea", id="alone", start_to_close_timeout=MINUTE, retry_policy=SOON, task_queue="default"
        )

    assert result == "tea by attempt 1"
    assert (books.shop.booked(), books.attempts) == (["tea"], 2)


@both
@pytest.mark.parametrize("is_kept", [True, False], ids=["committed", "not-committed"])
async def test_the_answer_to_the_commit_is_lost_and_the_next_attempt_knows_what_became_of_it(
    client: Client, make_worker: MakeWorker, books: Books, kind: str, is_kept: bool
) -> None:
    def broken() -> None:
        raise ConnectionError("the line is down")

    engine = books.shop.async_engine.sync_engine if kind == "async" else books.shop.engine
    books.shop.recorded()  # the ledger is there
    Commits(engine, after=broken) if is_kept else Commits(engine, before=broken)

    result = await booked(make_worker, books, kind, client=client)

    assert result == f"tea by attempt {1 if is_kept else 2}"
    assert (books.shop.booked(), books.attempts) == (["tea"], 2)


async def test_a_recorded_result_is_as_the_codec_has_made_it(
    address: str, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ConnectionError("the line is down")

    books.shop.recorded()
    Commits(books.shop.async_engine.sync_engine, after=broken)
    async with await Client.connect(address, data_converter=converter()) as client:
        async with worker_for(client, booking, books.book, books.book_sync):
            result = await client.execute_workflow(booking, args=["async", "tea", SOON], id="the-run")

    with books.shop.engine.connect() as connection:
        stored = connection.execute(text("SELECT result FROM durable_effects")).scalar_one()
    assert result == "tea by attempt 1"
    assert (books.shop.booked(), books.attempts) == (["tea"], 2)
    assert b"tea" not in bytes(stored)


class Shouting(Interceptor):
    """Results are what interceptors make of them."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        class Inbound(ActivityInboundInterceptor):
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                return (await super().execute_activity(input)).upper()

        return Inbound(next)


async def test_a_recorded_result_is_as_the_interceptors_have_made_it(
    client: Client, make_worker: MakeWorker, books: Books, kind: str
) -> None:
    def broken() -> None:
        raise ConnectionError("the line is down")

    books.shop.recorded()
    Commits(books.shop.async_engine.sync_engine if kind == "async" else books.shop.engine, after=broken)

    result = await booked(make_worker, books, kind, client=client, interceptors=[Shouting()])

    assert result == "TEA BY ATTEMPT 1"
    assert (books.shop.booked(), books.attempts) == (["tea"], 2)


async def a_group(work: Awaitable[str]) -> str:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_coroutine(work))
    return task.result()


async def another_error(work: Awaitable[str]) -> str:
    try:
        return await work
    except BaseException as error:
        raise ApplicationError("no more tea") from error


async def no_error(work: Awaitable[str]) -> str:
    try:
        return await work
    except BaseException:
        return "nothing"


async def _coroutine(work: Awaitable[str]) -> str:
    return await work


@both
@pytest.mark.parametrize("makes", [a_group, another_error, no_error])
async def test_a_recorded_result_stands_whatever_the_code_makes_of_what_says_so(
    client: Client, make_worker: MakeWorker, books: Books, makes: Callable[[Awaitable[str]], Awaitable[str]]
) -> None:
    def broken() -> None:
        raise ConnectionError("the line is down")

    @activity.defn(name="async")
    async def book(what: str) -> str:
        return await (makes(books.book(what)) if activity.info().attempt > 1 else books.book(what))

    books.shop.recorded()
    Commits(books.shop.async_engine.sync_engine, after=broken)
    async with make_worker(booking, book):
        result = await client.execute_workflow(booking, args=["async", "tea", SOON], id="the-run")

    assert result == "tea by attempt 1"
    assert (books.shop.booked(), books.attempts) == (["tea"], 2)


# On SQLite, what a simulated death leaves open would lock the file, as no real death does.
@pytest.mark.parametrize(("store", "shop"), [("postgres", "postgres")], indirect=["shop"])
@pytest.mark.crash_sweep
async def test_the_worker_dies_at_any_commit_and_the_effect_is_there_once(
    durable_worker: Any, durable_client: Client, shop: Shop
) -> None:
    @activity.defn(name="async")
    async def book(what: str) -> str:
        async with activity.exactly_once(shop.async_engine) as session:
            await session.execute(insert(bookings).values(what=what))
        return what

    await durable_worker(workflows=[booking], activities=[book])

    assert await durable_client.execute_workflow(booking, args=["async", "tea", SOON], id="swept") == "tea"
    assert shop.booked() == ["tea"]


# Nothing is there. ------------------------------------------------------------------------------------------------


def assert_nothing_there(books: Books) -> None:
    assert all(each.closed for each in books.connections)
    assert (books.shop.booked(), books.shop.recorded()) == ([], [])


async def fails(*_: Any) -> None:
    raise ApplicationError("no more tea", type="Empty")


async def commits(session: AsyncSession) -> None:
    await session.commit()


async def commits_unheard(session: AsyncSession) -> None:
    try:
        await session.commit()
    except RuntimeError:
        pass


async def commits_beneath(session: AsyncSession) -> None:
    await (await session.connection()).commit()


async def rolls_back(session: AsyncSession) -> None:
    await session.rollback()
    await session.execute(insert(bookings).values(what="something else"))


async def detaches(*_: Any) -> None:
    activity.raise_complete_async()


async def enters_again(*_: Any) -> None:
    async with activity.exactly_once(create_async_engine("sqlite+aiosqlite://")):
        pass


@pytest.mark.parametrize(
    ("within", "after", "told"),
    [
        (fails, nothing, "no more tea"),
        (nothing, fails, "no more tea"),
        (commits, nothing, "this commit is refused"),
        (commits_unheard, nothing, "this commit is refused"),
        (commits_beneath, nothing, "this commit is refused"),
        (rolls_back, nothing, "was rolled back within its block"),
        (detaches, nothing, "can't be completed from outside"),
        (nothing, detaches, "can't be completed from outside"),
        (nothing, enters_again, "there is one for each"),
    ],
)
async def test_what_fails_leaves_nothing_there(
    client: Client, make_worker: MakeWorker, books: Books, within: Any, after: Any, told: str
) -> None:
    books.within, books.after = within, after

    error = await cause(booked(make_worker, books, "async", policy=ONCE, client=client))

    assert told in error.message
    assert_nothing_there(books)


@pytest.mark.parametrize("how", ["fails", "commit", "rollback"])
async def test_what_fails_in_a_thread_leaves_nothing_there(
    client: Client, make_worker: MakeWorker, books: Books, how: str
) -> None:
    def within(session: Session) -> None:
        if how == "fails":
            raise ApplicationError("no more tea")
        getattr(session, how)()

    books.within_sync = within

    error = await cause(booked(make_worker, books, "sync", policy=ONCE, client=client))

    assert {"fails": "no more", "commit": "is refused", "rollback": "was rolled back"}[how] in error.message
    assert_nothing_there(books)


async def test_a_result_that_cannot_be_converted_leaves_nothing_there(
    client: Client, make_worker: MakeWorker, shop: Shop
) -> None:
    @activity.defn(name="async")
    async def book(what: str) -> object:
        async with activity.exactly_once(shop.async_engine) as session:
            await session.execute(insert(bookings).values(what=what))
        return object()

    async with make_worker(booking, book):
        with pytest.raises(WorkflowFailureError):
            await client.execute_workflow(booking, args=["async", "tea", ONCE], id="the-run")

    assert (shop.booked(), shop.recorded()) == ([], [])


async def test_who_returns_while_a_task_is_in_the_block_leaves_nothing_there(
    client: Client, make_worker: MakeWorker, books: Books
) -> None:
    reached = await in_block(books)

    @activity.defn(name="async")
    async def book(what: str) -> None:
        books.forgotten = asyncio.create_task(books.book(what))
        await reached.wait()

    async with make_worker(booking, book):
        error = await cause(client.execute_workflow(booking, args=["async", "tea", ONCE], id="the-run"))
    assert books.forgotten is not None
    books.forgotten.cancel()
    await asyncio.wait([books.forgotten])

    assert "was still in its activity.exactly_once block" in error.message
    assert_nothing_there(books)


async def test_a_savepoint_may_be_rolled_back(client: Client, make_worker: MakeWorker, books: Books) -> None:
    async def within(session: AsyncSession) -> None:
        milk = await session.begin_nested()
        await session.execute(insert(bookings).values(what="milk"))
        await milk.rollback()
        async with session.begin_nested():
            await session.execute(insert(bookings).values(what="cake"))

    books.within = within

    await booked(make_worker, books, "async", client=client)

    assert books.shop.booked() == ["cake", "tea"]


async def in_block(books: Books) -> asyncio.Event:
    """Set once an attempt is in its block, where it waits until it is cancelled."""
    reached = asyncio.Event()

    async def within(_: AsyncSession) -> None:
        reached.set()
        await asyncio.Event().wait()

    books.within = within
    return reached


async def test_who_is_cancelled_in_its_thread_leaves_nothing_there(
    client: Client, make_worker: MakeWorker, books: Books
) -> None:
    loop, reached = asyncio.get_running_loop(), asyncio.Event()

    def within(_: Session) -> None:
        loop.call_soon_threadsafe(reached.set)
        while True:
            time.sleep(0.001)  # until the exception comes

    books.within_sync = within
    async with make_worker(booking, books.book_sync):
        handle = await client.start_workflow(booking, args=["sync", "tea", ONCE], id="the-run")
        await reached.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()

    assert_nothing_there(books)


@pytest.mark.parametrize("by", ["cancel", "terminate", "stop"])
async def test_who_is_cancelled_in_the_block_leaves_nothing_there(
    client: Client, make_worker: MakeWorker, books: Books, by: str
) -> None:
    reached = await in_block(books)
    async with make_worker(booking, books.book):
        handle = await client.start_workflow(booking, args=["async", "tea", ONCE], id="the-run")
        await reached.wait()
        if by != "stop":
            await getattr(handle, by)()
            with pytest.raises(WorkflowFailureError):
                await handle.result()

    assert_nothing_there(books)


async def test_an_attempt_that_times_out_in_the_block_leaves_nothing_there_and_the_next_one_has_the_effect(
    client: Client, make_worker: MakeWorker, books: Books
) -> None:
    @workflow.defn
    async def impatient() -> str:
        result: str = await workflow.execute_activity(
            "async", "tea", start_to_close_timeout=timedelta(seconds=1.5), retry_policy=SOON
        )
        return result

    async def within(_: AsyncSession) -> None:
        if books.attempts == 1:
            await asyncio.Event().wait()

    books.within = within
    async with make_worker(impatient, books.book):
        result = await client.execute_workflow(impatient, id="the-run")

    assert (result, books.shop.booked()) == ("tea by attempt 2", ["tea"])


async def test_a_sync_attempt_that_times_out_before_the_commit_leaves_nothing_there(
    client: Client, make_worker: MakeWorker, books: Books
) -> None:
    gate = threading.Event()

    @activity.defn(name="sync", no_thread_cancel_exception=True)
    def book(what: str) -> str:
        result = books.book_sync(what)
        gate.wait()
        return result

    @workflow.defn
    async def impatient() -> None:
        soon = timedelta(seconds=1.5)
        await workflow.execute_activity("sync", "tea", start_to_close_timeout=soon, retry_policy=ONCE)

    async with make_worker(impatient, book):
        try:
            with pytest.raises(WorkflowFailureError) as failed:
                await client.execute_workflow(impatient, id="the-run")
        finally:
            gate.set()  # and the worker waits for its end

    assert isinstance(failed.value.cause.__cause__, TimeoutError)
    assert len(books.connections) == 1
    assert_nothing_there(books)


# Whoever comes in the middle. -------------------------------------------------------------------------------------


MANY = 12


class BadLine:
    """Of three commits on an engine one comes to nothing, and of another one nobody hears."""

    def __init__(self, engine: Engine) -> None:
        self._dialect: Any = engine.dialect
        self._commit = engine.dialect.do_commit
        self._count = 0
        self._dialect.do_commit = self._do

    def mend(self) -> None:
        self._dialect.do_commit = self._commit

    def _do(self, connection: Any) -> None:
        self._count += 1
        if self._count % 3 != 1:
            self._commit(connection)
        if self._count % 3:
            raise ConnectionError("the line is down")


def at_work() -> asyncio.Task[Any]:
    """The task of the attempt under way."""
    return next(each for each in asyncio.all_tasks() if each.get_name() == "durable activity async")


async def test_a_commit_under_way_is_not_cut_short_and_its_result_is_told(
    client: Client, make_worker: MakeWorker, books: Books
) -> None:
    reached, may_commit = asyncio.Event(), asyncio.Event()

    def before() -> Any:
        reached.set()
        return may_commit.wait()

    books.shop.recorded()
    Commits(books.shop.async_engine.sync_engine, before=before)

    async def open_when_cancelled() -> None:
        async def cancelled() -> bool:
            return at_work().cancelling() > 0

        await until(cancelled)
        may_commit.set()

    async with make_worker(booking, books.book):
        handle = await client.start_workflow(booking, args=["async", "tea", SOON], id="the-run")
        await reached.wait()
        opening = asyncio.create_task(open_when_cancelled())
    await opening

    async with make_worker(booking, books.book):
        assert await handle.result() == "tea by attempt 1"
    assert (books.shop.booked(), books.attempts) == (["tea"], 1)


@pytest.mark.parametrize("first_fails", [False, True])
async def test_of_two_attempts_at_once_one_has_the_effect(shop: Shop, first_fails: bool) -> None:
    env, gate, entered = ActivityEnvironment(), asyncio.Event(), asyncio.Event()

    async def book(who: str) -> str:
        async with activity.exactly_once(shop.async_engine) as session:
            await session.execute(insert(bookings).values(what=who))
            if who == "first":
                entered.set()
                await gate.wait()
                if first_fails:
                    raise ZeroDivisionError
            return who

    first = asyncio.create_task(env.run(book, "first"))  # type: ignore[arg-type]
    await entered.wait()
    second = asyncio.create_task(env.run(book, "second"))  # type: ignore[arg-type]
    gate.set()
    results = await asyncio.gather(first, second, return_exceptions=True)

    winner = "second" if first_fails else "first"
    assert results[1] == winner and shop.booked() == [winner]
    assert isinstance(results[0], ZeroDivisionError) if first_fails else results[0] == winner


async def test_a_late_attempt_whose_activity_is_over_changes_nothing_though_the_ledger_has_no_row(
    client: Client, make_worker: MakeWorker, books: Books
) -> None:
    """So rows of activities that are over may be removed at any time."""
    reached, gate, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def before() -> None:
        reached.set()
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue  # as a machine that was frozen

    books.before = before
    ended: list[BaseException] = []

    @activity.defn(name="async")
    async def book(what: str) -> str:
        try:
            return await books.book(what)
        except BaseException as error:
            ended.append(error)
            raise
        finally:
            over.set()

    async with make_worker(booking, book):
        handle = await client.start_workflow(booking, args=["async", "tea", ONCE], id="the-run")
        await reached.wait()
        await handle.terminate()
        gate.set()
        await over.wait()

    assert [type(each).__name__ for each in ended] == ["AttemptSuperseded"]
    assert_nothing_there(books)


async def test_a_late_attempt_in_a_thread_changes_nothing_either(
    client: Client, make_worker: MakeWorker, books: Books
) -> None:
    loop, reached, gate = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    ended: asyncio.Queue[str] = asyncio.Queue()

    @activity.defn(name="sync", no_thread_cancel_exception=True)
    def book(what: str) -> str:
        loop.call_soon_threadsafe(reached.set)
        gate.wait()
        try:
            return books.book_sync(what)
        except BaseException as error:
            loop.call_soon_threadsafe(ended.put_nowait, type(error).__name__)
            raise

    async with make_worker(booking, book):
        handle = await client.start_workflow(booking, args=["sync", "tea", ONCE], id="the-run")
        await reached.wait()
        await handle.terminate()
        gate.set()
        assert await ended.get() == "AttemptSuperseded"

    assert_nothing_there(books)


@both
async def test_many_at_once_have_their_effects_once_though_commits_fail_and_their_answers_are_lost(
    client: Client, make_worker: MakeWorker, shop: Shop
) -> None:
    shop.recorded()
    lines = [BadLine(shop.async_engine.sync_engine), BadLine(shop.engine)]
    names = [f"{number:02}" for number in range(MANY)]
    books = Books(shop)
    async with make_worker(booking, books.book, books.book_sync):
        results = await asyncio.gather(
            *(
                client.execute_workflow(booking, args=[("async", "sync")[int(name) % 2], name, SOON], id=name)
                for name in names
            )
        )

    for line in lines:
        line.mend()
    assert [result[:2] for result in results] == names
    assert shop.booked() == names
    assert books.attempts > MANY


# The ledger. ------------------------------------------------------------------------------------------------------


@workflow.defn
async def unserved() -> None:
    await workflow.execute_activity("async", "tea", task_queue="nobody's", start_to_close_timeout=MINUTE)


async def test_rows_of_activities_that_are_over_are_removed_and_those_that_somebody_may_need_stay(
    client: Client, make_worker: MakeWorker, shop: Shop, kind: str
) -> None:
    books = Books(shop, keep=timedelta())
    async with make_worker(booking, unserved, books.book, books.book_sync):
        await client.execute_workflow(booking, args=[kind, "tea", SOON], id="old")
        [old] = shop.recorded()
        waiting = await client.start_workflow(unserved, id="open")

        async def scheduled() -> bool:
            return bool((await waiting.describe()).pending_activities)

        await until(scheduled)
    needed = ["a-run-of-another-engine:5", f"{(await waiting.describe()).run_id}:5"]
    with shop.engine.begin() as connection:
        connection.execute(insert(ledger.effects), [{"key": key, "created": 1} for key in needed])

    async with make_worker(booking, books.book, books.book_sync):
        await client.execute_workflow(booking, args=[kind, "milk", SOON], id="new")

        async def removed() -> bool:
            return old not in shop.recorded()

        await until(removed)

    assert set(needed) <= set(shop.recorded())


def alone(activity_id: str = "test") -> ActivityEnvironment:
    env = ActivityEnvironment()
    env.info = replace(env.info, activity_id=activity_id, idempotency_key=f"test-run:{activity_id}")
    return env


async def test_attempts_that_make_the_ledger_at_once_all_find_it(shop: Shop) -> None:
    async def book(what: str) -> str:
        async with activity.exactly_once(shop.async_engine) as session:
            await session.execute(insert(bookings).values(what=what))
        return what

    booked = await asyncio.gather(*(alone(what).run(book, what) for what in "abcd"))  # type: ignore[arg-type]

    assert booked == shop.booked() == ["a", "b", "c", "d"]
    assert sorted(shop.recorded()) == [f"test-run:{what}" for what in "abcd"]


def test_who_may_not_make_the_ledger_is_told_its_ddl_and_may_use_it_once_it_is_there(postgres_server: Server) -> None:
    name = postgres_server.lend()
    for statement in ("CREATE ROLE clerk LOGIN", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"):
        postgres_server.run(statement, name)
    rest = postgres_server.url(name).removeprefix("postgresql").replace("//postgres@", "//clerk@")
    engine = create_engine(f"postgresql+psycopg{rest}", poolclass=NullPool)

    def work() -> str:
        with activity.exactly_once(engine):
            return "done"

    try:
        with pytest.raises(RuntimeError, match="which can't be made here") as refused:
            alone().run(work)
        assert ledger.ddl("postgresql") in str(refused.value)
        for statement in ledger.ddl("postgresql").split(";\n")[:-1]:
            postgres_server.run(statement, name)
        postgres_server.run("GRANT SELECT, INSERT, UPDATE, DELETE ON durable_effects TO clerk", name)
        assert alone().run(work) == "done"
    finally:
        postgres_server.drop(name)
        postgres_server.run("DROP ROLE clerk")


# Alone, in an ActivityEnvironment. --------------------------------------------------------------------------------


def test_a_function_by_itself_commits_when_it_returns_and_the_second_time_gets_what_the_first_one_returned(
    shop: Shop,
) -> None:
    booked: list[str] = []

    def book(what: str) -> tuple[str, int]:
        with activity.exactly_once(shop.engine) as session:
            session.execute(insert(bookings).values(what=what))
        booked.extend(shop.booked())
        return what, 7

    assert [alone().run(book, what) for what in ("tea", "milk")] == [("tea", 7), ("tea", 7)]
    assert (booked, shop.booked()) == ([], ["tea"])


async def test_a_function_by_itself_gets_what_is_recorded_from_a_group_of_tasks_too(shop: Shop) -> None:
    async def pay(what: str) -> str:
        async with activity.exactly_once(shop.async_engine) as session:
            await session.execute(insert(bookings).values(what=what))
        return what

    async def book(what: str) -> str:
        return await a_group(pay(what))

    assert [await alone().run(book, what) for what in ("tea", "milk")] == ["tea", "tea"]  # type: ignore[arg-type]
    assert shop.booked() == ["tea"]


@pytest.mark.parametrize("within", [True, False])
def test_a_function_by_itself_that_fails_leaves_nothing_there(shop: Shop, within: bool) -> None:
    def book() -> None:
        with activity.exactly_once(shop.engine) as session:
            session.execute(insert(bookings).values(what="tea"))
            assert not within
        raise AssertionError

    with pytest.raises(AssertionError):
        alone().run(book)
    assert (shop.booked(), shop.recorded()) == ([], [])


# What can't be. ---------------------------------------------------------------------------------------------------


def test_outside_of_an_activity_there_is_no_block(shop: Shop) -> None:
    with pytest.raises(RuntimeError, match="Not in activity context"):
        activity.exactly_once(shop.engine)


@pytest.mark.parametrize(
    ("engine", "options", "error", "told"),
    [
        ("sqlite://", {}, TypeError, "takes a SQLAlchemy AsyncEngine"),
        (create_engine("sqlite://"), {"keep": timedelta(seconds=-1)}, ValueError, "can't be negative"),
        (create_engine("sqlite://", isolation_level="AUTOCOMMIT"), {}, RuntimeError, "is in AUTOCOMMIT mode"),
        (
            create_engine("sqlite://").execution_options(isolation_level="AUTOCOMMIT"),
            {},
            RuntimeError,
            "is in AUTOCOMMIT mode",
        ),
        (
            create_engine("sqlite://", connect_args={"isolation_level": None}),
            {},
            RuntimeError,
            "has begun no transaction",
        ),
    ],
)
def test_an_engine_that_cannot_promise_it_is_refused(engine: Any, options: Any, error: Any, told: str) -> None:
    def work() -> None:
        with activity.exactly_once(engine, **options):
            pass

    for _ in range(2):
        with pytest.raises(error, match=told):
            alone().run(work)


async def test_a_connection_that_is_shared_serves_one_attempt_at_a_time() -> None:
    engine = create_async_engine("sqlite+aiosqlite://")

    async def inner() -> None:
        async with activity.exactly_once(engine):
            pass

    async def outer() -> None:
        async with activity.exactly_once(engine):
            await alone("inner").run(inner)

    with pytest.raises(RuntimeError, match="serves one attempt at a time"):
        await alone("outer").run(outer)
    await alone("outer").run(inner)
    await engine.dispose()


def test_a_locked_sqlite_database_is_explained(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}", connect_args={"timeout": 0})

    def work() -> None:
        with activity.exactly_once(engine):
            pass

    alone("first").run(work)
    with closing(sqlite3.connect(tmp_path / "shop.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RuntimeError, match="it has one writer at a time"):
            alone("second").run(work)


def test_a_row_without_a_result_is_explained(shop: Shop) -> None:
    shop.recorded()
    with shop.engine.begin() as connection:
        connection.execute(insert(ledger.effects).values(key="test-run:test", created=1))

    def work() -> None:
        with activity.exactly_once(shop.engine):
            pass

    with pytest.raises(RuntimeError, match="has no result"):
        alone().run(work)


@activity.defn(name="async")
async def sync_engine_in_async(what: str) -> None:
    with activity.exactly_once(create_engine("sqlite://")):
        pass


@activity.defn(name="sync")
def async_engine_in_sync(what: str) -> None:
    async def work() -> None:
        async with activity.exactly_once(create_async_engine("sqlite+aiosqlite://")):
            pass

    asyncio.run(work())


async def test_an_engine_of_the_other_kind_is_refused(client: Client, make_worker: MakeWorker, kind: str) -> None:
    async with make_worker(booking, sync_engine_in_async, async_engine_in_sync):
        error = await cause(client.execute_workflow(booking, args=[kind, "tea", ONCE], id="the-run"))

    assert "takes an AsyncEngine in an async activity" in error.message
