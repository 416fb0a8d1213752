"""`Store.joiner`: a write as a part of somebody else's transaction, on each store and through each driver."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from durable.history import attempts, joining
from durable.history.errors import StoreUnavailable
from durable.history.messages import ActivityOutcome, Completed, Signal
from durable.history.store import Store
from durable.history.stores import engines, open_store, postgres_engines, sqlite_engines
from durable.history.transition import ActivityReport, Committed, Outcome, Refusal, Refused, Transition, Write
from durable.history.values import Payload
from tests.history.worlds import (
    BEGINNING_US,
    NAMESPACE,
    ClockedHost,
    claim,
    done,
    info,
    meanings,
    owned,
    send,
    signal,
    start,
    task,
    terminate,
    worker,
)

T = TypeVar("T")

DRIVERS = {
    "sqlite": ("sqlite+aiosqlite", "sqlite+pysqlite"),
    "postgres": ("postgresql+asyncpg", "postgresql+psycopg_async", "postgresql+psycopg"),
}
ODD = "100% of %s, %(a)s, $1, ?, :name and \\ 'quoted' é 🎉"


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> str:
    """The address of an empty database."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres"))
    return f"sqlite:///{request.getfixturevalue('tmp_path')}/durable.db"


@pytest.fixture
async def store(place: str) -> AsyncIterator[Store]:
    async with open_store(place, ClockedHost()) as store:
        await store.register(worker())
        yield store


class Caller:
    """A program of its own with its own engine, and a transaction that it has begun."""

    def __init__(self, run: Callable[[Callable[[Connection], Any]], Awaitable[Any]]) -> None:
        self.run = run

    async def execute(self, statement: str) -> None:
        await self.run(lambda connection: connection.execute(text(statement)))

    async def join(self, store: Store, write: Write) -> Outcome | None:
        join = await store.joiner()
        found: Outcome | None = await self.run(lambda connection: join(connection, write))
        return found


class RolledBack(Exception): ...


@asynccontextmanager
async def transaction(address: str, driver: str, **options: Any) -> AsyncIterator[Caller]:
    url = driver + address[address.index("://") :]
    if driver.endswith(("aiosqlite", "asyncpg", "_async")):
        engine: AsyncEngine = create_async_engine(url.replace("_async:", ":"), **options)
        try:
            async with engine.begin() as connection:
                yield Caller(connection.run_sync)
        finally:
            await engine.dispose()
        return
    sync: Engine = create_engine(url, **options)
    try:
        with sync.begin() as raw:

            async def run(work: Callable[[Connection], Any]) -> Any:
                return work(raw)

            yield Caller(run)
    finally:
        sync.dispose()


def drivers(place: str) -> tuple[str, ...]:
    return DRIVERS[place.partition(":")[0].removesuffix("ql")]


def a_report(store: Store, number: int, value: bytes = b"1") -> ActivityReport:
    begun = attempts.begun(task("run of order-7", number), "w1", store.now_us())
    result = [Payload(metadata={"encoding": b"binary/plain"}, data=value)]
    outcome = ActivityOutcome(scheduled_event_id=number, outcome=Completed(result=result))
    return attempts.report(begun, outcome, store.now_us())


async def with_tasks(store: Store, *numbers: int) -> None:
    """A run with activities that this worker has claimed."""
    run = await owned(store, tasks=tuple(task("run of order-7", number) for number in numbers))
    assert run.status
    claimed = await store.claim(claim())
    assert len(claimed.activities) == len(numbers)


async def test_what_is_joined_is_there_if_the_transaction_commits(store: Store, place: str) -> None:
    await with_tasks(store, 5, 6, 7)
    for number, driver in enumerate(drivers(place)):
        name = f"{ODD} {driver}"
        async with transaction(place, driver) as caller:
            started = await caller.join(store, start(f"order {name}"))
            sent = await caller.join(store, send(signal(name, BEGINNING_US)))
            told = await caller.join(store, a_report(store, 5 + number, b"\x00%s\xff"))
            assert all(isinstance(each, Committed) for each in (started, sent, told)), (started, sent, told)
        assert (await info(store, f"run of order {name}")).workflow_id == f"order {name}"
        read = meanings(await store.inbox("run of order-7"))[-2:]
        assert isinstance(read[0], Signal) and read[0].name == name
        assert isinstance(read[1], ActivityOutcome) and isinstance(read[1].outcome, Completed)
        assert read[1].outcome.result[0].data == b"\x00%s\xff"
    assert len(await store.tasks("run of order-7")) == 3 - len(drivers(place))


async def test_nothing_of_it_is_there_if_the_transaction_rolls_back(store: Store, place: str) -> None:
    await with_tasks(store, 5)
    for driver in drivers(place):
        with pytest.raises(RolledBack):  # noqa: PT012
            async with transaction(place, driver) as caller:
                assert isinstance(await caller.join(store, start("order-8")), Committed)
                assert isinstance(await caller.join(store, send(signal("hello", BEGINNING_US))), Committed)
                assert isinstance(await caller.join(store, a_report(store, 5)), Committed)
                raise RolledBack
    assert await store.find(NAMESPACE, "order-8") is None
    assert await store.inbox("run of order-7") == []
    assert len(await store.tasks("run of order-7")) == 1


async def test_what_is_refused_is_refused_as_a_commit_does_and_the_rest_goes_on(store: Store, place: str) -> None:
    await owned(store)
    await owned(store, workflow_id="closed")
    await done(store, terminate(await info(store, "run of closed")))
    for driver in drivers(place):
        async with transaction(place, driver) as caller:
            again = await caller.join(store, start("order-7", "another run"))
            late = await caller.join(store, send(signal("late", BEGINNING_US), "closed"))
            nowhere = await caller.join(store, send(signal("late", BEGINNING_US), "nowhere"))
            report = await caller.join(store, a_report(store, 9))
            assert await caller.join(store, start(driver)) == Committed(run_id=f"run of {driver}")
        reasons = [each.reason for each in (again, late, nowhere, report) if isinstance(each, Refused)]
        assert reasons == [Refusal.IN_USE, Refusal.CLOSED, Refusal.NOT_FOUND, Refusal.MISSING]
        assert await store.find(NAMESPACE, driver) is not None


async def test_a_request_that_is_made_again_is_answered_with_its_run(store: Store, place: str) -> None:
    await done(store, start("order-7", request_id="once"))
    for driver in drivers(place):
        async with transaction(place, driver) as caller:
            found = await caller.join(store, start("order-7", "another run", request_id="once"))
        assert isinstance(found, Committed)
        assert (found.existing, found.run_id) == (True, "run of order-7")


async def test_a_transaction_of_another_database_is_refused(store: Store, place: str, tmp_path: Any) -> None:
    other = f"sqlite:///{tmp_path}/other.db"
    if place.startswith("postgres"):
        other = re.sub(r"(://[^/]*/)[^?]*", r"\1postgres", place)
    for driver in drivers(place):
        async with transaction(other, driver) as caller:
            with pytest.raises(ValueError, match="has to be one database"):
                await caller.join(store, start("order-8"))
    assert await store.find(NAMESPACE, "order-8") is None


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
async def test_a_message_needs_read_committed(store: Store, place: str) -> None:
    await owned(store)
    for driver in drivers(place):
        async with transaction(place, driver, isolation_level="REPEATABLE READ") as caller:
            with pytest.raises(ValueError, match=r"repeatable read, .*: use READ COMMITTED"):
                await caller.join(store, send(signal("hello", BEGINNING_US)))
            assert isinstance(await caller.join(store, start(driver)), Committed)


def started_as(workflow_id: str) -> Transition:
    plain = start("plain", f"run {workflow_id!r}")
    assert plain.start is not None
    return msgspec.structs.replace(plain, start=msgspec.structs.replace(plain.start, workflow_id=workflow_id))


async def test_what_cant_be_stored_is_refused_alone(store: Store, place: str) -> None:
    for driver in drivers(place):
        async with transaction(place, driver) as caller:
            for name in ("lone \ud800", *(["nul \x00", "long " + "x" * 9000] if place.startswith("postgres") else [])):
                outcome = await caller.join(store, started_as(name))
                assert isinstance(outcome, Refused) and outcome.reason is Refusal.INVALID, (name[:9], outcome)
            assert isinstance(await caller.join(store, start(driver)), Committed)
        assert await store.find(NAMESPACE, driver) is not None


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
async def test_who_is_held_up_by_anothers_lock_tries_again_and_gets_through(
    store: Store, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_tasks(store, 5, 6, 7)
    for number, driver in enumerate(drivers(place)):
        report = a_report(store, 5 + number)
        async with transaction(place, driver) as caller:
            async with transaction(place, "postgresql+asyncpg") as other:
                await other.execute(
                    f"SELECT 1 FROM durable_activity_tasks WHERE scheduled_event_id = {5 + number} FOR UPDATE"
                )
                assert await caller.join(store, report) is None
                with monkeypatch.context() as patch:
                    patch.setattr(joining, "PATIENCE_S", 0.0)
                    with pytest.raises(StoreUnavailable, match="has held what"):
                        await joining.joined(store, caller.run, report)
                waiting = asyncio.ensure_future(joining.joined(store, caller.run, report))
                await asyncio.sleep(0)
            assert isinstance(await waiting, Committed)


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_a_locked_file_says_what_to_do(store: Store, place: str) -> None:
    for driver in drivers(place):
        async with transaction(place, "sqlite+aiosqlite") as other:
            await other.execute("CREATE TABLE mine (n INTEGER)")
            await other.execute("INSERT INTO mine VALUES (1)")
            with pytest.raises(StoreUnavailable, match="longer timeout"):
                async with transaction(place, driver, connect_args={"timeout": 0.0}) as caller:
                    await caller.join(store, start("order-8"))
            await other.execute("DROP TABLE mine")
    assert await store.find(NAMESPACE, "order-8") is None


async def test_no_thread_gets_the_engine_before_it_is_arranged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that came too early would begin a transaction in nobody's turn."""
    arranging, second_has_it = threading.Event(), threading.Event()
    too_early: list[bool] = []
    attend = engines.attend

    def attend_slowly(*what: Any) -> None:
        arranging.set()
        too_early.append(second_has_it.wait(0.2))
        attend(*what)

    def second() -> object:
        arranging.wait()
        engine = store.sync_engine()
        second_has_it.set()
        return engine

    monkeypatch.setattr(sqlite_engines, "attend", attend_slowly)
    monkeypatch.setattr(postgres_engines, "attend", attend_slowly)
    both = await asyncio.gather(asyncio.to_thread(store.sync_engine), asyncio.to_thread(second))

    assert both[0] is both[1]
    assert too_early == [False]
