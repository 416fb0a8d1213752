"""What transactional activities are refused, or have lost, fails them though they catch the error: nothing is there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from durable import Client, activity, workflow
from durable.client import WorkflowFailureError, WorkflowHandle
from durable.common import WorkflowIDConflictPolicy
from durable.converter.data import PAYLOAD_BYTES_MAX
from durable.testing import ActivityEnvironment
from durable.worker.transaction import ENDS
from tests.engine.conftest import MakeWorker
from tests.engine.test_sessions import url_of
from tests.engine.test_transactional_activities import (
    ADD,
    LONG,
    Note,
    add,
    call,
    counted,
    failure,
    make_tables,
    notes,
    plus,
    plus_sync,
    tables,  # noqa: F401 - a fixture for all of them
)

ONE = text("INSERT INTO note VALUES (1, 'one')")
TWO = text("INSERT INTO note VALUES (2, 'two')")
ENDS_IT = text("INSERT OR ROLLBACK INTO note VALUES (1, 'again')")
TRIGGER = "CREATE TRIGGER no BEFORE UPDATE ON counter BEGIN SELECT RAISE(ROLLBACK, 'no'); END"


@workflow.defn
async def simple() -> str:
    return "done"


# Refused. -------------------------------------------------------------------------------------------------------------


@activity.defn(transactional=LONG)
async def hears_nothing(how: str) -> str:
    session = activity.session()
    try:
        if how == "begins":
            async with session.begin():
                await plus(1000)
        await plus(1000)
        if how == "connection":
            await (await activity.connection()).commit()
        if how.isupper():
            await session.execute(text(how))
        await session.commit()
    except RuntimeError:
        await session.rollback()
    await plus(1)
    return "all is well"


@activity.defn(transactional=LONG)
def hears_nothing_sync(how: str) -> str:
    session = activity.session(Session)
    try:
        if how == "begins":
            with session.begin():
                plus_sync(1000)
        plus_sync(1000)
        if how == "connection":
            session.connection().commit()
        if how.isupper():
            session.execute(text(how))
        session.commit()
    except RuntimeError:
        session.rollback()
    plus_sync(1)
    return "all is well"


async def test_a_refused_commit_fails_the_attempt_though_its_code_catches_the_error(
    client: Client, make_worker: MakeWorker
) -> None:
    async with make_worker(call, hears_nothing, hears_nothing_sync):
        for name in ("hears_nothing", "hears_nothing_sync"):
            for how in ("commits", "begins", "connection", "COMMIT", " /* SO\n */ -- BE IT\n END"):
                assert "can't commit by itself" in str(await failure(client, name, how)), how
            assert "can't roll back with SQL: session.rollback()" in str(await failure(client, name, "ROLLBACK"))
    assert await counted(client) == 0


@activity.defn(transactional=LONG)
async def in_autocommit(how: str) -> None:
    session = activity.session()
    if how == "session":
        await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        await plus(1000)
    else:
        async with session.bind.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:  # type: ignore[union-attr]
            await connection.execute(ADD, {"by": 1000})


@activity.defn(transactional=LONG)
def in_autocommit_sync(how: str) -> None:
    session = activity.session(Session)
    if how == "session":
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        plus_sync(1000)
    else:
        with session.get_bind().execution_options(isolation_level="AUTOCOMMIT").connect() as connection:  # type: ignore[union-attr]
            connection.execute(ADD, {"by": 1000})


async def test_autocommit_is_refused_before_anything_is_written(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(call, in_autocommit, in_autocommit_sync):
        for name in ("in_autocommit", "in_autocommit_sync"):
            for how in ("session", "engine"):
                assert "can't work in AUTOCOMMIT mode" in str(await failure(client, name, how)), how
    assert await counted(client) == 0


async def test_one_that_ends_its_own_run_in_its_transaction_fails_as_often_as_it_may(
    client: Client, make_worker: MakeWorker
) -> None:
    begun: list[int] = []

    @activity.defn(transactional=LONG)
    async def replaces(id: str) -> None:
        begun.append(activity.info().attempt)
        await plus(1000)
        policy = WorkflowIDConflictPolicy.TERMINATE_EXISTING
        await activity.client().start_workflow(
            simple, id=id, id_conflict_policy=policy, session=activity.session(AsyncSession)
        )

    async with make_worker(call, simple, replaces):
        handle: WorkflowHandle[Any, Any] = await client.start_workflow(
            call, args=["replaces", ["run"]], kwargs={"attempts": 2}, id="run"
        )
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
    assert "has ended its own workflow in its transaction" in str(caught.value.__cause__.__cause__)  # type: ignore[union-attr]
    assert (begun, await counted(client)) == ([1, 2], 0)


# Lost, on SQLite. -----------------------------------------------------------------------------------------------------

on_sqlite = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


@activity.defn(transactional=LONG)
async def goes_on(how: str) -> str:
    session = activity.session()
    await session.execute(ONE)
    if how == "trigger":
        await session.execute(
            text("CREATE TRIGGER no BEFORE UPDATE ON counter BEGIN SELECT RAISE(ROLLBACK, 'no'); END")
        )
    try:
        await (plus(1000) if how == "trigger" else session.execute(ENDS_IT))
    except DBAPIError:
        pass
    if how == "more":
        await session.execute(TWO)
    return "all is well"


@activity.defn(transactional=LONG)
def goes_on_sync(how: str) -> str:
    session = activity.session(Session)
    session.execute(ONE)
    try:
        session.execute(ENDS_IT)
    except DBAPIError:
        pass
    if how == "more":
        session.execute(TWO)
    if how == "flush":
        session.add(Note(id=3, said="three"))
    return "all is well"


@on_sqlite
async def test_a_transaction_that_sqlite_has_ended_fails_the_attempt_though_its_code_catches_the_error(
    client: Client, make_worker: MakeWorker
) -> None:
    ways = {"goes_on": ("returns", "more", "trigger"), "goes_on_sync": ("returns", "more", "flush")}
    async with make_worker(call, goes_on, goes_on_sync):
        for name, hows in ways.items():
            for how in hows:
                assert "SQLite has ended this transaction" in str(await failure(client, name, how)), how
    assert (await notes(client), await counted(client)) == ([], 0)


async def test_a_transaction_that_was_ended_behind_the_back_of_its_session_is_not_reported_in_another_one(
    client: Client, make_worker: MakeWorker, store: str
) -> None:
    @activity.defn(transactional=LONG)
    async def rolls_back() -> str:
        await activity.session().execute(ONE)
        driver: Any = (await (await activity.connection()).get_raw_connection()).driver_connection
        await driver.execute("ROLLBACK")
        return "all is well"

    told = {"sqlite": "SQLite has ended this transaction", "postgres": "the session has no transaction"}
    async with make_worker(call, rolls_back):
        assert told[store] in str(await failure(client, "rolls_back"))
    assert await notes(client) == []


@on_sqlite
async def test_a_function_by_itself_fails_with_its_lost_transaction_too(client: Client) -> None:
    lost = pytest.raises(RuntimeError, match="SQLite has ended this transaction")
    with lost:
        await ActivityEnvironment(client).run(goes_on, "returns")
    with lost:
        await asyncio.to_thread(ActivityEnvironment(client).run, goes_on_sync, "returns")
    assert await notes(client) == []


@on_sqlite
async def test_nothing_is_begun_or_committed_in_the_place_of_a_callers_lost_transaction(client: Client) -> None:
    async def lost(session: AsyncSession) -> None:
        await session.execute(ONE)
        await client.start_workflow(simple, id="run", session=session)
        with pytest.raises(DBAPIError):
            await session.execute(ENDS_IT)

    def lost_sync(session: Session) -> None:
        session.execute(ONE)
        with pytest.raises(DBAPIError):
            session.execute(ENDS_IT)

    refused = pytest.raises(RuntimeError, match="UNIQUE constraint failed")
    async with AsyncSession(client.engine()) as session:
        await lost(session)
        with refused:
            await client.start_workflow(simple, id="run", session=session)
        with refused:
            await session.commit()
        await session.rollback()
        await session.execute(TWO)  # another transaction
        await session.commit()
    with Session(client.sync_engine()) as session_sync:
        lost_sync(session_sync)
        with refused:
            session_sync.execute(TWO)
        session_sync.rollback()
        session_sync.execute(text("INSERT INTO note VALUES (3, 'three')"))
        session_sync.commit()
    assert await notes(client) == [(2, "two"), (3, "three")]
    assert [run.id async for run in client.list_workflows()] == []


@on_sqlite
async def test_a_lost_transaction_of_another_engine_is_not_written_in_again(address: str) -> None:
    engine = create_async_engine(url_of(address, "aiosqlite"))
    async with await Client.connect(address) as client, AsyncSession(engine) as session:
        await make_tables(client)
        await session.execute(ONE)
        await client.start_workflow(simple, id="run", session=session)
        with pytest.raises(DBAPIError):
            await session.execute(ENDS_IT)
        with pytest.raises(RuntimeError, match="SQLite has ended this transaction"):
            await client.get_workflow_handle("run").signal("hello", session=session)
        await session.rollback()
        await client.start_workflow(simple, id="other", session=session)  # another transaction
        await session.commit()
        assert [run.id async for run in client.list_workflows()] == ["other"]
    await engine.dispose()


@pytest.mark.parametrize(
    ("statement", "ends"),
    [
        ("commit", True),
        ("\n  COMMIT AND CHAIN", True),
        ("-- that is all\nEND;", True),
        ("/* that\nis all */ Rollback work", True),
        ("ABORT", True),
        ("PREPARE  TRANSACTION 'one'", True),
        (";commit", True),
        ("\ufeffCOMMIT", True),
        ("/* ** */ /***/ COMMIT", True),
        ("ROLLBACK /* it */ TO one", False),
        ("/* which */ SELECT CASE WHEN 1 THEN 2 /* the rest: NULL */ END", False),
        ("/* all */ -- of it\n" * 100 + "SELECT 1", False),
        ("ROLLBACK TO SAVEPOINT one", False),
        ("rollback transaction to one", False),
        ("RELEASE one", False),
        ("BEGIN IMMEDIATE", False),
        ("SELECT 'COMMIT'", False),
        ("PREPARE transactions AS SELECT 1", False),
        ("UPDATE ends SET commit = 1", False),
        ("ENDS", False),
    ],
)
def test_sql_that_ends_a_transaction_is_known(statement: str, ends: bool) -> None:
    assert bool(ENDS.match(statement)) is ends


async def test_a_result_that_is_too_large_is_refused_with_all_that_was_written(
    client: Client, make_worker: MakeWorker
) -> None:
    begun: list[int] = []

    @activity.defn(transactional=LONG)
    async def says_too_much() -> str:
        begun.append(activity.info().attempt)
        await plus(1000)
        return "x" * (PAYLOAD_BYTES_MAX + 1)

    @activity.defn(transactional=LONG)
    def says_too_much_sync() -> str:
        begun.append(activity.info().attempt)
        plus_sync(1000)
        return "x" * (PAYLOAD_BYTES_MAX + 1)

    async with make_worker(call, says_too_much, says_too_much_sync, add):
        for name in ("says_too_much", "says_too_much_sync"):
            assert (await failure(client, name)).type == "PayloadTooLarge"
        assert await client.execute_workflow(call, args=["add", [1]], id="others-go-on") == 1
    assert begun == [1, 1]
