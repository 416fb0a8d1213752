"""A PostgreSQL that goes away, turns read-only, answers to nobody, or is behind a pooler or a standby."""

from __future__ import annotations

import asyncio
import logging
import socket
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from durable import Client, RetryPolicy, activity, workflow
from durable.history.errors import HistoryError, StoreUnavailable, UnknownOutcome
from durable.history.stores import open_store
from durable.history.stores.postgres import PostgresStore
from durable.history.stores.postgres_address import address
from durable.history.stores.postgres_connection import Connection, connect
from durable.history.transition import Committed
from tests.engine.histories import assert_sound, until
from tests.faults.conftest import MakeWorker
from tests.history.breaking import WRITES, break_at, either, end_sessions, lose_the_answer, lose_the_question
from tests.history.worlds import (
    NAMESPACE,
    ClockedHost,
    claim,
    done,
    info,
    owned,
    send,
    signal,
    start,
    step,
    taken,
    task,
    worker,
)
from tests.line import line_to
from tests.pooler import pooling
from tests.postgres import Server, database_of

RUN = "run of order-7"
SOON = RetryPolicy(initial_interval=timedelta(milliseconds=10))


@pytest.fixture
def host() -> ClockedHost:
    return ClockedHost()


@pytest.fixture
async def store(postgres: str, host: ClockedHost) -> AsyncIterator[PostgresStore]:
    async with PostgresStore(postgres, host) as opened:
        await opened.register(worker("w1"))
        yield opened


class Shop:
    """An order that needs activities of two kinds, a timer and a signal, and counts what was done."""

    def __init__(self) -> None:
        self.charged: Counter[str] = Counter()

    @activity.defn(retry_policy=SOON)
    async def charge(self, order: str) -> str:
        self.charged[order] += 1
        return f"{order} charged"

    @activity.defn(retry_policy=SOON)
    def ship(self, order: str) -> str:
        if activity.info().attempt == 1:
            raise ConnectionError("nobody answers")
        return f"{order} shipped"


@workflow.defn
class Order:
    def __init__(self) -> None:
        self._paid = False

    @workflow.run
    async def run(self, order: str) -> list[str]:
        charged = await workflow.execute_activity("charge", order, start_to_close_timeout=timedelta(seconds=50))
        await workflow.sleep(timedelta(milliseconds=20))
        await workflow.wait_condition(lambda: self._paid)
        shipped = await workflow.execute_activity("ship", order, start_to_close_timeout=timedelta(seconds=50))
        return [charged, shipped]

    @workflow.signal
    def pay(self) -> None:
        self._paid = True

    @workflow.query
    def waits(self) -> bool:
        return not self._paid


def served(order: str) -> list[str]:
    return [f"{order} charged", f"{order} shipped"]


@pytest.fixture
def shop() -> Shop:
    return Shop()


# F33: read-only. --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reads", [False, True], ids=["writing", "reading"])
async def test_f33_a_session_whose_server_turns_read_only_is_dropped(store: PostgresStore, reads: bool) -> None:
    """A demoted primary: what it tells is late from now on, too."""
    await done(store, start())
    session = store._readers[-1] if reads else store._db  # pyright: ignore[reportPrivateUsage]
    async with session.held() as demoted:
        await demoted.execute("SET default_transaction_read_only = on")

    await done(store, start("second"))
    assert len(await store.list_runs(NAMESPACE)) == 2

    async with session.held() as raw:
        assert raw is not demoted


@contextmanager
def read_only(server: Server) -> Iterator[None]:
    server.run("ALTER SYSTEM SET default_transaction_read_only = on")
    server.run("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        server.run("ALTER SYSTEM RESET default_transaction_read_only")
        server.run("SELECT pg_reload_conf()")


async def test_f33_work_goes_on_when_a_primary_that_was_read_only_can_be_written_again(
    postgres: str, postgres_server: Server, make_worker: MakeWorker, shop: Shop
) -> None:
    async def refused() -> str:
        try:
            await client.start_workflow(Order.run, "too early", id="too early", request_id="the same")
        except StoreUnavailable as error:
            return str(error)
        return ""

    async def accepted() -> bool:
        return not await refused()

    async with await Client.connect(postgres) as client:
        async with make_worker(client, Order, shop.charge, shop.ship):
            handle = await client.start_workflow(Order.run, "a", id="a")
            with read_only(postgres_server):
                assert "name the primary in the URL" in await until(refused)
            await until(accepted)
            await handle.signal(Order.pay)

            assert await handle.result() == served("a")


# F34: half-open. --------------------------------------------------------------------------------------------------


async def test_f34_work_goes_on_while_what_listens_is_half_open(
    postgres: str, monkeypatch: pytest.MonkeyPatch, make_worker: MakeWorker, shop: Shop
) -> None:
    """Nothing is heard any more, and nothing tells so: the poll finds it."""
    monkeypatch.setattr("durable.worker.poller.FLOOR", 0.1)
    monkeypatch.setattr("durable.history.database.LOOK_INTERVAL", 0.1)
    async with line_to(postgres) as line:
        async with await Client.connect(line.url) as working, await Client.connect(postgres) as client:
            async with make_worker(working, Order, shop.charge, shop.ship):
                assert line.mute(b"LISTEN") == 1

                handle = await client.start_workflow(Order.run, "a", id="a")
                await handle.signal(Order.pay)

                assert await handle.result() == served("a")


async def test_f34_a_session_that_listens_and_is_half_open_is_found_and_followed_by_another_one(
    postgres: str, monkeypatch: pytest.MonkeyPatch, make_worker: MakeWorker, shop: Shop
) -> None:
    """Nothing else wakes the worker."""
    monkeypatch.setattr("durable.worker.poller.FLOOR", 3600.0)
    for name, seconds in {"CHECKED_EVERY": 0.05, "ECHO_WITHIN": 0.2, "AGAIN_AFTER": 0.05}.items():
        monkeypatch.setattr(f"durable.history.stores.postgres_watch.{name}", seconds)
    async with line_to(postgres) as line:
        async with await Client.connect(line.url) as working, await Client.connect(postgres) as client:
            async with make_worker(working, Order, shop.charge, shop.ship):
                line.mute(b"LISTEN")

                handle = await client.start_workflow(Order.run, "a", id="a")
                await handle.signal(Order.pay)

                assert await handle.result() == served("a")


async def test_f34_work_goes_on_when_all_connections_are_half_open(
    postgres: str, monkeypatch: pytest.MonkeyPatch, make_worker: MakeWorker, shop: Shop
) -> None:
    monkeypatch.setattr("durable.history.stores.postgres_connection.ANSWER_TIMEOUT", 0.5)
    async with line_to(postgres) as line, await Client.connect(line.url) as client:
        async with make_worker(client, Order, shop.charge, shop.ship):
            handles = [await client.start_workflow(Order.run, f"{n}", id=f"{n}") for n in range(3)]
            assert line.mute() > 2
            for handle in handles:
                await paid(handle)

            assert [await handle.result() for handle in handles] == [served(f"{n}") for n in range(3)]


async def paid(handle: Any) -> None:
    """As a program does that has to be sure."""

    async def sent() -> bool:
        try:
            await handle.signal(Order.pay)
        except HistoryError:
            return False
        return True

    await until(sent)


async def test_f34_the_operating_system_looks_whether_the_other_end_is_there(postgres: str) -> None:
    async with line_to(postgres) as line:
        raw: Any = await connect(address(line.url))
        end = raw._transport.get_extra_info("socket")
        try:
            assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 11_000
        finally:
            await raw.close(timeout=1)


async def test_f34_a_session_that_listens_and_breaks_is_followed_by_another_one(
    postgres: str, host: ClockedHost, postgres_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable.history.stores.postgres_watch.CHECKED_EVERY", 3600.0)
    monkeypatch.setattr("durable.history.stores.postgres_watch.AGAIN_AFTER", 0.01)

    async with PostgresStore(postgres, host) as store:

        async def changed() -> bool:
            return store.changed()

        async def hears() -> bool:
            return store.watch.hears

        store.changed()
        end_sessions(postgres_server, postgres)

        await until(changed)  # what was told meanwhile is not known
        await until(hears)
        async with PostgresStore(postgres, host):
            await until(changed)


# F35: a lost reply. -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lose", [lose_the_answer, lose_the_question])
async def test_f35_a_commit_whose_answer_is_lost_is_found_by_its_request_id(store: PostgresStore, lose: Any) -> None:
    await break_at(store, "COMMIT", lose)

    with pytest.raises(UnknownOutcome, match="written or not"):
        await store.commit([start()])
    again = await done(store, start(run_id="second", request_id=f"request of {RUN}"))

    assert again == (Committed(run_id=RUN, existing=True) if lose is lose_the_answer else Committed(run_id="second"))
    assert len(await store.list_runs(NAMESPACE)) == 1


async def test_f35_no_work_is_done_twice_though_the_answers_of_commits_are_lost_again_and_again(
    postgres: str, make_worker: MakeWorker, shop: Shop
) -> None:
    names = [f"{n}" for n in range(10)]
    async with line_to(postgres) as line, await Client.connect(line.url) as client:
        async with make_worker(client, Order, shop.charge, shop.ship, lease=timedelta(seconds=1)):
            line.lose_answers(b"COMMIT", every=5)
            handles = [await client.start_workflow(Order.run, name, id=name) for name in names]
            for handle in handles:
                await handle.signal(Order.pay)

            assert await asyncio.gather(*(handle.result() for handle in handles)) == [served(name) for name in names]
            assert line.lost > 2

    assert shop.charged == Counter(names)
    async with await Client.connect(postgres) as client:
        for name in names:
            assert_sound((await client.get_workflow_handle(name).fetch_history()).events)


# F36: cancelled in the middle. ------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["BEGIN", WRITES])
async def test_f36_who_is_cancelled_in_a_commit_leaves_no_transaction_open(
    store: PostgresStore, postgres: str, postgres_server: Server, at: str
) -> None:
    run = await owned(store)
    reached = asyncio.Event()

    async def hang(asked: Coroutine[Any, Any, Any]) -> Any:
        await asked
        reached.set()
        await asyncio.get_running_loop().create_future()

    async def none_open() -> bool:
        left = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
        return not postgres_server.run(left, database_of(postgres))

    await break_at(store, at, hang)
    committing = asyncio.ensure_future(store.commit([step(run)]))
    await reached.wait()
    committing.cancel()
    await asyncio.wait([committing])

    assert committing.cancelled()
    await until(none_open)
    assert await either(store, step(run)) == Committed(run_id=RUN)
    assert (await info(store, RUN)).last_event_id == 2


# F37: all connections taken. --------------------------------------------------------------------------------------


async def test_f37_the_lease_is_renewed_and_work_claimed_while_all_other_connections_wait(
    store: PostgresStore, postgres: str
) -> None:
    await done(store, start())
    stranger = await asyncpg.connect(postgres)
    await stranger.execute("BEGIN; LOCK TABLE durable_replies IN ACCESS EXCLUSIVE MODE")
    readers = store._readers  # pyright: ignore[reportPrivateUsage]
    waiting = [asyncio.ensure_future(store.replies(["none"])) for _ in range(3 * len(readers))]
    idle = store._idle_readers  # pyright: ignore[reportPrivateUsage]
    while not idle.empty():  # noqa: ASYNC110
        await asyncio.sleep(0)

    assert (await store.renew(worker("w1"))).alive
    assert taken(await store.claim(claim("w1"))) == [RUN]
    assert not any(each.done() for each in waiting)
    await stranger.close()
    assert await asyncio.gather(*waiting) == [{}] * len(waiting)


# F39: a transaction pooler. ---------------------------------------------------------------------------------------


@pytest.fixture
async def pooled(pooled_postgres: str, host: ClockedHost) -> AsyncIterator[PostgresStore]:
    async with PostgresStore(f"{pooled_postgres}&pooler=transaction", host) as store:
        yield store


async def everything(store: PostgresStore) -> None:
    """All kinds of statements."""
    await store.register(worker("w1"))
    await store.register(worker("w2"))
    run = await owned(store, messages=())
    await done(store, step(run, tasks=(task(run.run_id, 5),)))
    await done(store, send(signal("a", 1)))
    assert taken(await store.claim(claim("w1"))) == [run.run_id]
    assert (await store.renew(worker("w1"))).alive
    assert len(await store.list_runs("default")) == 1 and len(await store.inbox(run.run_id)) == 1
    await store.release("w2")


async def test_f39_behind_a_transaction_pooler_nothing_is_kept_in_a_session(
    pooled: PostgresStore, postgres: str, postgres_server: Server
) -> None:
    """No prepared statement, no lock, no LISTEN."""
    await everything(pooled)

    async with pooled._db.held() as raw:  # pyright: ignore[reportPrivateUsage]
        assert await raw.fetch("SELECT name FROM pg_prepared_statements WHERE name <> ''") == []
    locks = postgres_server.run("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'", database_of(postgres))
    assert locks == [] and not pooled.watch.hears


async def test_f39_behind_a_transaction_pooler_every_statement_is_in_a_transaction(
    pooled: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its preparation and its execution may go to two sessions."""
    outside: list[str] = []

    async def note(db: object, statement: str, *values: object) -> object:
        if not db._raw.is_in_transaction():  # type: ignore[attr-defined]
            outside.append(statement)
        return await read(db, statement, *values)

    read = Connection.read
    monkeypatch.setattr(Connection, "read", note)

    await everything(pooled)

    assert outside == []


async def test_f39_behind_a_transaction_pooler_changes_are_supposed(
    pooled_postgres: str, host: ClockedHost, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "durable.store"):
        async with PostgresStore(f"{pooled_postgres}&pooler=transaction", host) as store:
            assert store.changed() and not store.changed()
            host.pass_time(1)
            assert store.changed() and not store.changed()
    assert ["no LISTEN/NOTIFY" in record.getMessage() for record in caplog.records] == [True]


async def test_f39_behind_a_transaction_pooler_tables_are_made(postgres_server: Server, host: ClockedHost) -> None:
    name = postgres_server.create(template="template0")
    with tempfile.TemporaryDirectory(prefix="pooler-") as directory:
        async with pooling(postgres_server.url(name), Path(directory), refuses=True) as url:
            async with open_store(f"{url}&pooler=transaction", host) as store:
                await done(store, start())
    postgres_server.drop(name)


async def test_f39_behind_a_transaction_pooler_workflows_run_from_their_start_to_their_end(
    pooled_postgres: str, make_worker: MakeWorker, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable.history.stores.postgres_watch.PACE_MAX", 0.1)
    url, names = f"{pooled_postgres}&pooler=transaction", [f"{n}" for n in range(10)]
    async with await Client.connect(url) as client, await Client.connect(url) as working:
        async with make_worker(working, Order, shop.charge, shop.ship):
            handles = [await client.start_workflow(Order.run, name, id=name) for name in names]
            assert await handles[0].query(Order.waits)
            for handle in handles:
                await handle.signal(Order.pay)

            assert await asyncio.gather(*(handle.result() for handle in handles)) == [served(name) for name in names]
    assert shop.charged == Counter(names)


async def test_f39_a_pooler_that_the_url_does_not_tell_is_named_by_what_it_refuses(pooled_postgres: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"unsupported startup parameter.*add pooler=transaction to the URL"):
        await open_store(pooled_postgres).__aenter__()


async def test_f39_a_pooler_that_the_url_does_not_tell_is_named_by_the_statements_that_others_prepared(
    postgres: str,
) -> None:
    """One that takes all settings, and forgets them."""
    with tempfile.TemporaryDirectory(prefix="pooler-") as directory:
        async with pooling(postgres, Path(directory)) as url:
            first, second = Connection(address(url)), Connection(address(url))
            async with second.held(), first.held():
                await first.read("SELECT 1")
                await second.say("BEGIN")  # and has the session in which that was prepared
            with pytest.raises(StoreUnavailable, match="add pooler=transaction to the URL"):
                await read_on(first)
            for each in (first, second):
                await each.close()


async def read_on(connection: Connection) -> None:
    async with connection.held():
        await connection.read("SELECT 1")


# F42: away for a while. -------------------------------------------------------------------------------------------


class Loops:
    """Something of every loop of the engine, of which a part ends while the database is away."""

    def __init__(self) -> None:
        self.away = asyncio.Event()
        self.back = asyncio.Event()

    @activity.defn
    async def ends_meanwhile(self) -> str:
        await self.away.wait()
        return "ended"

    @activity.defn
    async def beats(self) -> str:
        while not self.back.is_set():
            activity.heartbeat("here")
            await asyncio.sleep(0.02)
        return "beaten"


@workflow.defn
class Looping:
    def __init__(self) -> None:
        self._told = 0

    @workflow.run
    async def run(self) -> list[Any]:
        limits: Any = {"start_to_close_timeout": timedelta(minutes=5), "heartbeat_timeout": timedelta(minutes=2)}
        return list(
            await asyncio.gather(
                workflow.execute_activity("ends_meanwhile", **limits),
                workflow.execute_activity("beats", **limits),
                asyncio.sleep(0.5, "woken"),
                workflow.wait_condition(lambda: self._told > 0),
            )
        )

    @workflow.signal
    def tell(self) -> None:
        self._told += 1

    @workflow.query
    def told(self) -> int:
        return self._told


LOOPS = {
    "claims": "asking for work failed",
    "renewals": "renewing the lease",
    "waits of clients": "looking for changes failed",
    "news": "no LISTEN/NOTIFY",
}
"""What each says when it fails."""


@pytest.mark.parametrize(
    "seconds", [0.0, pytest.param(60.0, marks=[pytest.mark.all, pytest.mark.timeout(180)])], ids=["short", "a minute"]
)
async def test_f42_no_loop_dies_while_the_database_is_away(
    own_postgres_server: Server,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    seconds: float,
) -> None:
    url, server, loops = own_postgres_server.url(own_postgres_server.create()), own_postgres_server, Loops()
    monkeypatch.setattr("durable.worker.poller.FLOOR", 0.2)
    monkeypatch.setattr("durable.worker.attempt._beat_interval", lambda _task: 0.05)

    async def all_wait() -> bool:
        """And none of them is just looking, which would fail."""
        store: Any = waiting.database.store
        closings = waiting.database._closings  # pyright: ignore[reportPrivateUsage]
        return len(closings) == 3 and store._idle_readers.qsize() == len(store._readers)

    async def all_failed() -> bool:
        told = [record.getMessage() for record in caplog.records]
        return all(any(said in each for each in told) for said in LOOPS.values())

    async def asked() -> int:
        try:
            return int(await handles[0].query(Looping.told))
        except HistoryError:
            return 0

    async with await Client.connect(url) as client, await Client.connect(url) as waiting:
        async with make_worker(
            client, Looping, loops.ends_meanwhile, loops.beats, lease=timedelta(seconds=2)
        ) as worker:
            handles = [await client.start_workflow(Looping.run, id=f"{n}") for n in range(3)]
            results = asyncio.gather(*(waiting.get_workflow_handle(handle.id).result() for handle in handles))
            await until(all_wait)
            await asyncio.to_thread(server.go_away)
            loops.away.set()
            await until(all_failed)
            with pytest.raises(HistoryError):
                await client.start_workflow(Looping.run, id="too early")
            await asyncio.sleep(seconds)  # the fault itself
            await asyncio.to_thread(server.come_back)

            for handle in handles:
                await told_to(handle)
            assert await until(asked) == 1
            loops.back.set()

            assert await results == [["ended", "beaten", "woken", None]] * 3
            assert worker.is_running
            last = await waiting.start_workflow(Looping.run, id="last")
            await last.signal(Looping.tell)
            assert await last.result() == ["ended", "beaten", "woken", None]


async def told_to(handle: Any) -> None:
    async def sent() -> bool:
        try:
            await handle.signal(Looping.tell)
        except HistoryError:
            return False
        return True

    await until(sent)


# F43: a standby. --------------------------------------------------------------------------------------------------


@pytest.mark.all
async def test_f43_a_standby_is_refused_and_of_several_hosts_the_primary_is_taken(
    own_postgres_server: Server, host: ClockedHost
) -> None:
    name = own_postgres_server.create()
    url = own_postgres_server.url(name)
    directory = url.partition("host=")[2]
    with own_postgres_server.standby(name) as standby:
        with pytest.raises(StoreUnavailable, match="name the primary in the URL"):
            await open_store(standby).__aenter__()
        both = f"postgresql://postgres@/{name}?host={directory},{directory}&port=5433,5432"
        async with open_store(both, host) as store:
            await done(store, start())
            assert len(await store.list_runs(NAMESPACE)) == 1


@pytest.mark.parametrize("aim", ["any", "standby", "prefer-standby", "read-only"])
def test_f43_a_url_that_may_lead_to_a_standby_is_refused(aim: str) -> None:
    with pytest.raises(StoreUnavailable, match=f"target_session_attrs={aim} may lead to a standby"):
        open_store(f"postgresql://localhost/app?target_session_attrs={aim}")


def test_f43_a_url_that_means_the_primary_is_taken() -> None:
    for aim in ("primary", "read-write"):
        open_store(f"postgresql://localhost/app?target_session_attrs={aim}")
