"""Transactional activities that end before their time, whatever they do in that moment: nobody else is held up."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from durable import Client, activity
from durable.exceptions import TimeoutError
from tests.engine.conftest import MakeWorker
from tests.engine.histories import until
from tests.engine.test_transactional_activities import (
    ADD,
    LIMIT,
    LONG,
    Gate,
    add,
    add_sync,
    call,
    counted,
    failure,
    make_tables,
    plus,
    plus_sync,
)

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

ENDLESS = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n")
COUNT_ENDLESS = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")


@pytest.fixture(autouse=True)
async def tables(client: Client) -> None:
    await make_tables(client)


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


@pytest.mark.parametrize("name", ["streams", "streams_sync", "counts", "counts_sync"])
async def test_who_is_cut_off_in_the_midst_of_reading_is_in_nobodys_way(
    client: Client, make_worker: MakeWorker, gate: Gate, name: str
) -> None:
    @activity.defn(transactional=LIMIT)
    async def streams() -> None:
        await plus(1000)
        gate.begun.set()
        rows = await activity.session().stream(ENDLESS)
        await rows.fetchone()
        while not gate.opened.is_set():
            with suppress(asyncio.CancelledError):
                await gate.opened.wait()

    @activity.defn(transactional=LIMIT)
    def streams_sync() -> None:
        plus_sync(1000)
        gate.tell(gate.begun)
        rows = activity.session(Session).execute(ENDLESS, execution_options={"yield_per": 1})
        rows.fetchone()
        with activity.shield_thread_cancel_exception():
            gate.opened_sync.wait()

    @activity.defn(transactional=LIMIT)
    async def counts() -> None:
        await plus(1000)
        gate.begun.set()
        await activity.session().execute(COUNT_ENDLESS)

    @activity.defn(transactional=LIMIT)
    def counts_sync() -> None:
        plus_sync(1000)
        gate.tell(gate.begun)
        activity.session(Session).execute(COUNT_ENDLESS)

    async with make_worker(call, streams, streams_sync, counts, counts_sync, add, add_sync):
        cut_off = asyncio.create_task(failure(client, name))
        await gate.begun.wait()
        assert await client.execute_workflow(call, args=["add", [1]], id="first") == 1
        assert await client.execute_workflow(call, args=["add_sync", [1]], id="second") == 2
        gate.open()
        assert (await cut_off).type == "TransactionTooLong"
    assert await counted(client) == 2


async def test_what_was_cut_off_writes_no_more_beneath_its_session(
    client: Client, make_worker: MakeWorker, gate: Gate
) -> None:
    told: list[str] = []

    @activity.defn(transactional=timedelta(seconds=0.5))
    def goes_on() -> None:
        plus_sync(1000)
        raw: Any = activity.session(Session).connection().connection.driver_connection
        gate.tell(gate.begun)
        with activity.shield_thread_cancel_exception():
            gate.opened_sync.wait()
            try:
                raw.execute("UPDATE counter SET n = n + 1000")
            except sqlite3.OperationalError as error:
                told.append(str(error))

    async with make_worker(call, goes_on, add):
        cut_off = asyncio.create_task(failure(client, "goes_on"))
        await gate.begun.wait()
        assert await client.execute_workflow(call, args=["add", [1]], id="first") == 1
        gate.open()
        await cut_off
    assert told == ["attempt to write a readonly database"]
    assert await counted(client) == 1


@pytest.mark.parametrize("name", ["waits", "waits_sync", "shields", "own_sync"])
async def test_who_times_out_while_it_waits_for_its_turn_takes_none(
    client: Client, make_worker: MakeWorker, gate: Gate, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    late: list[asyncio.Task[Any]] = []

    @activity.defn(transactional=LONG)
    async def waits() -> None:
        gate.begun.set()
        await gate.opened.wait()
        await plus(1000)

    @activity.defn(transactional=LONG)
    async def shields() -> None:
        gate.begun.set()
        await gate.opened.wait()
        late.append(asyncio.create_task(activity.session().execute(ADD, {"by": 1000})))
        await asyncio.shield(late[0])

    @activity.defn(transactional=LONG)
    def waits_sync() -> None:
        gate.tell(gate.begun)
        gate.opened_sync.wait()
        plus_sync(1000)

    @activity.defn
    def own_sync() -> None:
        gate.tell(gate.begun)
        gate.opened_sync.wait()
        with client.sync_engine().begin() as connection:
            connection.execute(ADD, {"by": 1000})

    async def has_timed_out() -> bool:
        return any("timed out" in each.getMessage() for each in caplog.records)

    path = client.database.store.path  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    async with make_worker(call, waits, shields, waits_sync, own_sync, add, add_sync):
        failing = asyncio.create_task(failure(client, name, timeout=0.3))
        await gate.begun.wait()
        async with await Client.connect(f"sqlite:///{path}") as other, other.engine().begin() as connection:
            await connection.execute(ADD, {"by": 1})
            gate.open()
            await until(has_timed_out)
        assert isinstance(await failing, TimeoutError)
        for ended in await asyncio.gather(*late, return_exceptions=True):
            assert "is over, and with it its session" in str(ended)

        assert await client.execute_workflow(call, args=["add", [1]], id="first") == 2
        assert await client.execute_workflow(call, args=["add_sync", [1]], id="second") == 3
    assert await counted(client) == 3


@pytest.mark.parametrize("name", ["hangs", "hangs_sync"])
async def test_who_is_cut_off_leaves_no_connection_behind(client: Client, make_worker: MakeWorker, name: str) -> None:
    @activity.defn(transactional=LIMIT)
    async def hangs() -> None:
        await plus(1000)
        await activity.session().execute(COUNT_ENDLESS)

    @activity.defn(transactional=LIMIT)
    def hangs_sync() -> None:
        plus_sync(1000)
        activity.session(Session).execute(COUNT_ENDLESS)

    async with make_worker(call, hangs, hangs_sync):
        await failure(client, name)
        before = connections()
        for attempts in range(2, 5):
            await failure(client, name, attempts=attempts, timeout=60.0 + attempts)

        async def are_as_few() -> bool:
            gc.collect()
            return connections() <= before

        await until(are_as_few)


def connections() -> int:
    return sum(type(each) is sqlite3.Connection for each in gc.get_objects())
