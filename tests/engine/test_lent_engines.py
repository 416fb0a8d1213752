"""The engines that a client lends, in the hands of whoever gives up, or does not let go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from durable import Client
from durable.history.errors import StoreUnavailable

ENDLESS = text("WITH RECURSIVE n(i) AS (SELECT begun() UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
MAKE = text("CREATE TABLE notes (words TEXT)")
DROP = text("DROP TABLE notes")
WRITE = text("INSERT INTO notes VALUES ('late')")
COUNT = text("SELECT count(*) FROM notes")


@pytest.fixture(autouse=True)
async def table(address: str) -> AsyncIterator[None]:
    async with await Client.connect(address) as client, client.engine().begin() as connection:
        await connection.execute(MAKE)
    yield
    async with await Client.connect(address) as client, client.engine().begin() as connection:
        await connection.execute(DROP)  # others get the database next


@pytest.fixture
async def client(address: str) -> AsyncIterator[Client]:
    async with await Client.connect(address) as client:
        yield client


@pytest.fixture
async def other(address: str) -> AsyncIterator[Client]:
    """Whoever may be held up: with an engine, and so a place in the turn, of its own."""
    async with await Client.connect(address) as client:
        yield client


async def count(client: Client) -> int:
    async with client.engine().begin() as connection:
        return int((await connection.execute(COUNT)).scalar_one())


@pytest.mark.parametrize("times", [1, 2])
async def test_who_gives_up_holds_nobody_up(client: Client, other: Client, times: int) -> None:
    under_way = asyncio.Event()

    async def ask() -> None:
        async with client.engine().begin() as connection:
            under_way.set()
            await connection.execute(WRITE)
            await connection.execute(COUNT)
            await asyncio.sleep(3600)

    for turns in range(40):
        under_way.clear()
        asking = asyncio.create_task(ask())
        await under_way.wait()
        for _ in range(times):
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
        await asyncio.wait([asking])

        assert asking.cancelled()
        assert await count(other) == 0


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize("turns", [None, 0, 1, 5])
async def test_who_gives_up_a_statement_on_sqlite_ends_it(client: Client, other: Client, turns: int | None) -> None:
    """And is cancelled once more, after so many turns of the loop."""
    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    def begin() -> int:
        loop.call_soon_threadsafe(begun.set)
        return 0

    async def ask() -> None:
        async with client.engine().begin() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.create_function("begun", 0, begin)
            await connection.execute(WRITE)
            await connection.execute(ENDLESS)

    asked: list[asyncio.Task[None]] = []  # which keep their errors, and so all that was at work
    for _ in range(3):
        begun.clear()
        asked.append(asyncio.create_task(ask()))
        await begun.wait()
        asked[-1].cancel()
        if turns is not None:
            for _ in range(turns):
                await asyncio.sleep(0)
            asked[-1].cancel()
        await asyncio.wait(asked)

        assert asked[-1].cancelled()
        assert await count(other) == 0


async def test_what_is_open_when_the_client_closes_is_lost_and_holds_nobody_up(address: str) -> None:
    async with await Client.connect(address) as client:
        connection = await client.engine().connect()
        await connection.execute(WRITE)

    async with await Client.connect(address) as client:
        assert await count(client) == 0
        with pytest.raises(DBAPIError):
            await connection.execute(WRITE)
        await connection.close()
        assert await count(client) == 0


async def test_what_a_thread_has_open_when_the_client_closes_is_lost_and_holds_nobody_up(
    address: str, store: str
) -> None:
    async with await Client.connect(address) as client:
        connection: Any = client.sync_engine().connect()
        connection.execute(WRITE)

    async with await Client.connect(address) as client:
        assert await count(client) == 0
        with pytest.raises(DBAPIError):
            connection.execute(WRITE)
        connection.close()
        assert await count(client) == 0


async def test_who_is_cancelled_while_a_connection_is_given_up_is_cancelled(client: Client, other: Client) -> None:
    for turns in range(12):
        under_way = asyncio.Event()
        went_on: list[None] = []

        async def invalidate(under_way: asyncio.Event = under_way, went_on: list[None] = went_on) -> None:
            connection = await client.engine().connect()
            try:
                await connection.execute(WRITE)
                under_way.set()
                await connection.invalidate()
                went_on.append(None)
                await asyncio.sleep(0)
            finally:
                await connection.close()

        task = asyncio.create_task(invalidate())
        await under_way.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        told = not went_on and task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() is told
    assert await count(other) == 0


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_client_closes_while_others_come_and_is_closed_to_them(address: str) -> None:
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    may_end = threading.Event()

    def begin() -> int:
        loop.call_soon_threadsafe(begun.set)
        return may_end.wait(30)

    async def ask(client: Client) -> None:
        async with client.engine().begin() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.create_function("begun", 0, begin)
            await connection.execute(text("SELECT begun()"))

    def come(client: Client) -> None:
        client.sync_engine().connect().close()
        may_end.set()

    client = await Client.connect(address)
    client.sync_engine()  # which has no connection yet
    asking = asyncio.create_task(ask(client))
    await begun.wait()
    closing = asyncio.create_task(client.close())
    await asyncio.to_thread(come, client)
    await closing
    await asyncio.wait([asking])
    asking.exception()  # it may have been in time
    with pytest.raises(StoreUnavailable, match="the client was closed"):
        await asyncio.to_thread(client.sync_engine().begin().__enter__)


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_the_engines_of_a_closed_client_say_so_on_postgres(address: str) -> None:
    client = await Client.connect(address)
    engine, sync_engine = client.engine(), client.sync_engine()
    await client.close()

    with pytest.raises(StoreUnavailable, match="was closed"):
        await engine.connect()
    with pytest.raises(StoreUnavailable, match="was closed"):
        await asyncio.to_thread(sync_engine.connect)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_what_was_detached_is_lost_too_when_the_client_closes(address: str) -> None:
    async with await Client.connect(address) as client:
        detached: Any = client.sync_engine().connect()
        detached.detach()
        client.sync_engine().connect().close()
        detached.execute(WRITE)

    async with await Client.connect(address) as client:
        assert await count(client) == 0
