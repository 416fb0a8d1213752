"""What wakes whoever waits for others' commits: a hint, from a look off the loop or from NOTIFY, and nothing else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

from durable.history.host import Machine, Rounds
from durable.history.stores.postgres import PostgresStore
from durable.history.stores.sqlite import SqliteStore
from tests.history.worlds import ClockedHost, done, start, worker

EVERY_S = 0.001


class Stepped:
    """Rounds that a test makes, on the thread that it likes."""

    def __init__(self, look: Callable[[], None]) -> None:
        self.look = look
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True


class SteppedHost(ClockedHost):
    def __init__(self) -> None:
        super().__init__()
        self.made: list[Stepped] = []

    def rounds(self, name: str, every_s: float, look: Callable[[], None]) -> Rounds:
        self.made.append(Stepped(look))
        return self.made[-1]


async def hints_after(host: SteppedHost, hints: list[None], looks: int) -> int:
    """How many hints come of so many looks."""
    hints.clear()
    for _ in range(looks):
        await asyncio.to_thread(host.made[0].look)
    await asyncio.sleep(0)
    return len(hints)


async def test_looks_cost_one_statement_each_and_wake_nobody_while_nobody_commits(tmp_path: Path) -> None:
    host, hints, asked = SteppedHost(), list[None](), list[str]()
    async with SqliteStore(tmp_path / "durable.db", host) as store:
        store.on_change(lambda: hints.append(None), EVERY_S)
        assert store._watch is not None
        store._watch._db._raw.set_trace_callback(asked.append)

        assert await hints_after(host, hints, 40) == 0

    assert asked == 40 * ["PRAGMA data_version"]


async def test_each_look_hints_at_anothers_commit_until_somebody_asks(tmp_path: Path) -> None:
    host, hints = SteppedHost(), list[None]()
    path = tmp_path / "durable.db"
    async with SqliteStore(path, host) as store, SqliteStore(path, ClockedHost()) as other:
        store.on_change(lambda: hints.append(None), EVERY_S)
        await done(other, start())

        assert await hints_after(host, hints, 3) == 3
        assert store.changed()
        assert await hints_after(host, hints, 3) == 0


async def test_a_file_that_cannot_be_read_is_worth_asking_about(tmp_path: Path) -> None:
    host, hints = SteppedHost(), list[None]()
    async with SqliteStore(tmp_path / "durable.db", host) as store:
        store.on_change(lambda: hints.append(None), EVERY_S)
        assert store._watch is not None
        store._watch._db._raw.set_authorizer(lambda *_: 1)  # SQLITE_DENY

        assert await hints_after(host, hints, 1) == 1


async def test_a_look_after_the_store_is_closed_touches_nothing(tmp_path: Path) -> None:
    host, hints = SteppedHost(), list[None]()
    async with SqliteStore(tmp_path / "durable.db", host) as store:
        stop = store.on_change(lambda: hints.append(None), EVERY_S)
    stop()

    assert host.made[0].stopped
    assert await hints_after(host, hints, 1) == 0


def test_a_look_whose_loop_is_closed_is_the_last_one(tmp_path: Path) -> None:
    host = SteppedHost()
    store, other = (SqliteStore(tmp_path / "durable.db", each) for each in (host, ClockedHost()))

    async def begin() -> None:
        await store.__aenter__()
        store.on_change(lambda: None, EVERY_S)
        async with other:
            await done(other, start())

    asyncio.run(begin())
    host.made[0].look()

    assert host.made[0].stopped
    asyncio.run(store.__aexit__())


async def test_rounds_are_made_off_the_loop_until_they_are_stopped() -> None:
    threads: set[threading.Thread] = set()
    made = threading.Semaphore(0)

    def look() -> None:
        threads.add(threading.current_thread())
        made.release()

    rounds = Machine().rounds("rounds", EVERY_S, look)
    for _ in range(3):
        await asyncio.to_thread(made.acquire)
    rounds.stop()
    rounds.stop()  # once more does no harm

    (thread,) = threads
    await asyncio.to_thread(thread.join)
    assert thread is not threading.main_thread()


async def test_where_notify_is_heard_nothing_is_looked_for_and_what_is_heard_is_hinted_at(postgres: str) -> None:
    hinted = asyncio.Event()
    async with PostgresStore(postgres, ClockedHost()) as store, PostgresStore(postgres, ClockedHost()) as other:
        while not other.watch.heard + store.watch.heard:  # noqa: ASYNC110
            await asyncio.sleep(EVERY_S)
        store.changed()
        store.on_change(hinted.set, EVERY_S)
        assert store.watch._supposing is None

        await done(other, start())
        await hinted.wait()

        assert store.changed() and not store.changed()


async def test_where_nothing_is_heard_hints_come_by_themselves_and_end(pooled_postgres: str) -> None:
    host, hinted = ClockedHost(), asyncio.Event()
    async with PostgresStore(f"{pooled_postgres}&pooler=transaction", host) as store:
        stop = store.on_change(hinted.set, EVERY_S)
        await hinted.wait()
        assert store.changed() and not store.changed()

        hinted.clear()
        host.pass_time(1)
        await hinted.wait()
        stop()

        assert store.changed() and store.watch._supposing is None


async def test_a_renewal_that_finds_nothing_to_do_costs_two_statements_on_postgres(postgres: str) -> None:
    async with PostgresStore(postgres, ClockedHost()) as store:
        await store.register(worker())
        await store.renew(worker())  # the first one looks for what has expired
        counters = store._workers._db.counters
        before = counters.statements

        assert (await store.renew(worker())).alive
        assert counters.statements - before == 2
