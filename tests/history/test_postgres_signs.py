"""Who comes after a death on PostgreSQL tells it by the sign that is missing; and takes nobody who lives for dead."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from durable.history.errors import StoreUnavailable
from durable.history.migrations.upgrade import config
from durable.history.stores.postgres import PostgresStore
from durable.history.stores.postgres_address import address
from durable.history.stores.postgres_connection import Connection, connect
from durable.history.stores.postgres_signs import HELD, TAKE, Signs, _key  # pyright: ignore[reportPrivateUsage]
from tests.engine.histories import until
from tests.history.breaking import end_sessions
from tests.history.worlds import BEGINNING_US, SECOND_US, ClockedHost, worker
from tests.line import line_to
from tests.pooler import pooling
from tests.postgres import Server, database_of, running

LEASE_S = 5.0
QUIET_S = 2.0
"""Longer than who connects again is quiet, and shorter than a lease."""
MODULE = "durable.history.stores.postgres_workers"
SIGNED = "SELECT signed_us FROM durable_workers WHERE worker_id = 'a'"
OF_BEFORE = "worker_id, namespace, identity, host, pid, lease_us, started_us, renewed_us, dead_us"
"""The columns that a version knows whose workers say nothing of their signs."""


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here has anybody come back late."""
    monkeypatch.setattr(f"{MODULE}.COMES_BACK_WITHIN", 0.01)


async def die(url: str, host: ClockedHost, lease_s: float = LEASE_S) -> None:
    """Worker a lives, and is killed."""
    store = await PostgresStore(url, host).__aenter__()
    await store.register(worker("a", lease_s=lease_s))
    await store.__aexit__()


async def has_looked(newcomer: PostgresStore) -> None:
    """It has made up its mind on those who were there before."""

    async def wait() -> None:
        workers = newcomer._workers  # pyright: ignore[reportPrivateUsage]
        assert workers._looking_back is not None  # pyright: ignore[reportPrivateUsage]
        await workers._looking_back  # pyright: ignore[reportPrivateUsage]

    await newcomer._renewal(wait)  # pyright: ignore[reportPrivateUsage]


async def found_dead_by_newcomer(url: str, host: ClockedHost) -> list[str]:
    async with PostgresStore(url, host) as newcomer:
        await newcomer.register(worker("b"))
        await has_looked(newcomer)
        return (await newcomer.renew(worker("b"))).died


# A death is told. -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("soon")
async def test_who_comes_after_a_death_tells_it_between_two_renewals(postgres: str, host: ClockedHost) -> None:
    await die(postgres, host)
    host.pass_time(QUIET_S)
    async with PostgresStore(postgres, host) as newcomer, PostgresStore(postgres, host) as other:
        assert newcomer.changed() and other.changed()
        heard = other.watch.heard
        await newcomer.register(worker("b"))
        await has_looked(newcomer)

        assert newcomer.changed()
        await until(partial(has_heard, other, heard))
        assert (await newcomer.renew(worker("b"))).died == ["a"]
        assert (await newcomer.renew(worker("b"))).died == []


async def has_heard(store: PostgresStore, before: int) -> bool:
    return store.watch.heard > before


async def test_who_comes_right_before_a_death_tells_it_before_the_lease_is_over(
    postgres: str, host: ClockedHost
) -> None:
    async with PostgresStore(postgres, host) as newcomer:
        async with PostgresStore(postgres, host) as other:
            await other.register(worker("a", lease_s=LEASE_S))
            await newcomer.register(worker("b"))
            await has_looked(newcomer)
        died: list[str] = []
        for _ in range(4):
            host.pass_time(1)
            died += (await newcomer.renew(worker("b"))).died

        assert died == ["a"]


@pytest.mark.usefixtures("soon")
async def test_a_dead_worker_is_given_a_third_of_its_lease_to_connect_again(
    postgres: str, host: ClockedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease_s, looks = 0.6, list[float]()

    async def note(held: Callable[[], Awaitable[set[str]]]) -> set[str]:
        looks.append(host.now_us() / SECOND_US)
        host.pass_time(0.05)
        return await held()

    await die(postgres, host, lease_s)
    between_looks(monkeypatch, note)

    assert await found_dead_by_newcomer(postgres, host) == ["a"]
    assert looks[-2] - BEGINNING_US / SECOND_US > lease_s / 3 - 0.05 and len(looks) > 3


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    "unsaid",
    [
        pytest.param("signed_us = NULL", id="a worker of a version that says nothing of signs"),
        pytest.param("signed_us = signed_us - 1", id="another server had its sign"),
        pytest.param(f"renewed_us = renewed_us - {round(LEASE_S * SECOND_US)}", id="its lease is over as well"),
    ],
)
async def test_where_a_missing_sign_tells_no_death_the_lease_does(
    postgres: str, postgres_server: Server, host: ClockedHost, unsaid: str
) -> None:
    await die(postgres, host)
    host.pass_time(QUIET_S)
    postgres_server.run(f"UPDATE durable_workers SET {unsaid}", database_of(postgres))

    async with PostgresStore(postgres, host) as newcomer:
        await newcomer.register(worker("b"))
        await has_looked(newcomer)
        died: list[list[str]] = []
        for _ in range(4):
            host.pass_time(1)
            died.append((await newcomer.renew(worker("b"))).died)

    assert died[0] == [] and ["a"] in died[1:]


# Nobody who lives is taken for dead. ------------------------------------------------------------------------------


@pytest.mark.usefixtures("soon")
async def test_a_worker_that_is_stopped_keeps_its_sign_and_its_lease(postgres: str, host: ClockedHost) -> None:
    async with PostgresStore(postgres, host) as stopped:
        await stopped.register(worker("a"))
        host.pass_time(LEASE_S - 0.1)

        assert await found_dead_by_newcomer(postgres, host) == []


def between_looks(
    patch: pytest.MonkeyPatch, act: Callable[[Callable[[], Awaitable[set[str]]]], Awaitable[set[str]]]
) -> None:
    """``act`` is what happens when somebody looks for signs; it is given the look itself."""
    held = Signs.held

    async def instead(self: Signs, db: Connection, worker_ids: Iterable[str]) -> set[str]:
        return await act(lambda: held(self, db, worker_ids))

    patch.setattr(Signs, "held", instead)


async def test_a_newcomer_gives_those_who_connect_again_time_to_do_so(
    postgres: str, host: ClockedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE}.COMES_BACK_WITHIN", 3600)
    await die(postgres, host)
    host.pass_time(QUIET_S)
    async with PostgresStore(postgres, host) as newcomer:
        await newcomer.register(worker("b"))

        assert [(await newcomer.renew(worker("b"))).died for _ in range(3)] == [[]] * 3


@pytest.mark.usefixtures("soon")
async def test_who_shows_its_sign_again_before_the_second_look_is_alive(
    postgres: str, host: ClockedHost, monkeypatch: pytest.MonkeyPatch, stranger: Any
) -> None:
    looks, loop = 0, asyncio.get_running_loop()

    async def come_back_in_between(held: Callable[[], Awaitable[set[str]]]) -> set[str]:
        nonlocal looks
        looks += 1
        if looks == 2:
            taking = stranger.fetch(TAKE, _key("a"))
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(taking, loop))
        return await held()

    await die(postgres, host)
    host.pass_time(QUIET_S)
    between_looks(monkeypatch, come_back_in_between)

    assert await found_dead_by_newcomer(postgres, host) == []
    assert looks == 3


@pytest.mark.usefixtures("soon")
async def test_who_loses_its_own_session_between_two_looks_judges_nobody(
    postgres: str, postgres_server: Server, host: ClockedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    async def end_after_the_first(held: Callable[[], Awaitable[set[str]]]) -> set[str]:
        nonlocal looks
        looks += 1
        answer = await held()
        if looks == 1:
            end_sessions(postgres_server, postgres)
        return answer

    await die(postgres, host)
    host.pass_time(QUIET_S)
    between_looks(monkeypatch, end_after_the_first)

    assert await found_dead_by_newcomer(postgres, host) == []


@pytest.fixture
async def stranger(postgres: str) -> AsyncIterator[Any]:
    session = await asyncpg.connect(postgres)
    yield session
    session.terminate()


async def is_there(stranger: Any, worker_id: str) -> bool:
    return bool(await stranger.fetch(HELD, [_key(worker_id)]))


async def is_gone(stranger: Any, worker_id: str) -> bool:
    return not await is_there(stranger, worker_id)


async def test_a_session_that_ends_is_followed_by_one_with_the_signs_before_the_next_renewal(
    postgres: str, postgres_server: Server, host: ClockedHost
) -> None:
    async with PostgresStore(postgres, host) as store:
        await store.register(worker("a"))
        await store.register(worker("b"))
        end_sessions(postgres_server, postgres)

        stranger = await asyncpg.connect(postgres)
        for worker_id in ("a", "b"):
            await until(partial(is_there, stranger, worker_id))
        stranger.terminate()


async def test_while_a_former_session_may_have_the_sign_the_row_says_nothing(
    postgres: str, host: ClockedHost, stranger: Any
) -> None:
    await stranger.fetch(TAKE, _key("a"))
    async with PostgresStore(postgres, host) as store:
        await store.register(worker("a"))
        before = await stranger.fetchval(SIGNED)
        stranger.terminate()
        another = await asyncpg.connect(postgres)
        await until(partial(is_gone, another, "a"))
        await store.renew(worker("a"))
        after = await another.fetchval(SIGNED)
        assert await is_there(another, "a")
        another.terminate()

    assert before is None and after is not None


# Which server has a sign. -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """For tests that stop and start it."""
    with running() as server:
        yield server


async def server_of(url: str) -> int | None:
    """What a worker there says of its sign."""
    signs = Signs(address(url))
    connection = Connection(address(url), lambda raw: signs.show(raw, []))
    while True:
        with suppress(StoreUnavailable):  # it recovers
            async with connection.held():
                break
    await connection.close()
    return signs.server_us


async def test_where_somebody_is_in_between_a_sign_tells_nothing(postgres: str) -> None:
    assert await server_of(postgres) is not None
    async with line_to(postgres) as line:
        assert await server_of(line.url) is None
    with tempfile.TemporaryDirectory(prefix="pooler-") as directory:
        async with pooling(postgres, Path(directory)) as url:
            assert await server_of(url) is None
            assert await server_of(f"{url}&pooler=transaction") is None


async def test_a_role_that_may_not_see_the_server_s_statistics_works_without(
    postgres: str, postgres_server: Server
) -> None:
    database = database_of(postgres)
    postgres_server.run("CREATE ROLE blind LOGIN")
    postgres_server.run("REVOKE SELECT ON pg_stat_bgwriter FROM PUBLIC", database)
    try:
        assert await server_of(postgres.replace("postgres@", "blind@")) is None
    finally:
        postgres_server.run("GRANT SELECT ON pg_stat_bgwriter TO PUBLIC", database)
        postgres_server.run("DROP ROLE blind")


async def test_a_server_that_starts_again_or_recovers_from_a_crash_is_another_one(own_server: Server) -> None:
    """Its locks are gone, and those of all workers with them."""
    url = own_server.url()
    seen = [await server_of(url), await server_of(url)]
    own_server.restart()
    seen.append(await server_of(url))
    session = await asyncpg.connect(url)
    crashed = asyncio.Event()
    session.add_termination_listener(lambda _: crashed.set())
    os.kill(session.get_server_pid(), signal.SIGKILL)
    await crashed.wait()

    async def another() -> int | None:
        """The server hears of the death a little later than who was connected: until then it takes new sessions."""
        now = await server_of(url)
        return now if now != seen[-1] else None

    seen.append(await until(another))

    assert None not in seen and seen[0] == seen[1] and len(set(seen)) == 3


async def test_a_sign_tells_by_tcp_as_by_a_socket_of_the_machine(own_server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own_server.go_away()
    own_server.come_back(host="127.0.0.1", port=port)
    try:
        by_tcp = await server_of(f"postgresql://postgres@127.0.0.1:{port}/postgres")
        by_socket = await server_of(own_server.url(port=str(port)))
    finally:
        own_server.go_away()
        own_server.come_back()

    assert by_tcp is not None and by_tcp == by_socket


@pytest.mark.all
async def test_a_standby_that_takes_over_is_another_server(own_server: Server) -> None:
    with own_server.standby("postgres") as url:
        standby = await asyncpg.connect(url)
        await standby.execute("SELECT pg_promote()")
        standby.terminate()

        assert None not in (both := {await server_of(url), await server_of(own_server.url())})
        assert len(both) == 2


# Versions side by side. -------------------------------------------------------------------------------------------


@asynccontextmanager
async def of_before(server: Server) -> AsyncIterator[str]:
    """The URL of a database with the tables of a version that says nothing of signs."""

    def make(opened: sa.Connection) -> None:
        alembic = config()
        alembic.attributes["connection"] = opened
        command.upgrade(alembic, "0005")

    name = server.create(template="template0")
    connecting: Any = partial(connect, address(server.url(name)))
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connecting, poolclass=NullPool)
    async with engine.begin() as opened:
        await opened.run_sync(make)
    await engine.dispose()
    yield server.url(name)
    server.drop(name)


@pytest.mark.usefixtures("soon")
async def test_a_worker_that_ran_before_the_upgrade_goes_on_and_is_told_dead_by_its_lease(
    postgres_server: Server, host: ClockedHost
) -> None:
    async with of_before(postgres_server) as url:
        before = await asyncpg.connect(url)
        register = await before.prepare(
            f"INSERT INTO durable_workers ({OF_BEFORE}) VALUES ($1, 'n', 'i', 'h', 1, $2, $3, $3, NULL)"
        )
        renew = await before.prepare("UPDATE durable_workers SET renewed_us = $1 WHERE worker_id = $2 RETURNING 1")
        look = await before.prepare(f"SELECT {OF_BEFORE} FROM durable_workers")
        await register.fetch("a", round(LEASE_S * SECOND_US), BEGINNING_US)
        host.pass_time(QUIET_S)

        assert await found_dead_by_newcomer(url, host) == []
        assert await renew.fetch(host.now_us(), "a") and {row[0] for row in await look.fetch()} == {"a", "b"}
        await register.fetch("c", round(LEASE_S * SECOND_US), BEGINNING_US)
        before.terminate()
