"""SQLAlchemy's engines on the store's file, for transactions of users: they take their turn as the store's own do."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import PoolProxiedConnection

from durable.history.errors import StoreUnavailable
from durable.history.host import Host, Lane
from durable.history.stores import sqlite_lost
from durable.history.stores.engines import Close, Cut, attend, nothing
from durable.history.stores.sqlite_file import STEPS_BETWEEN_LOOKS, Turnstile, settings
from durable.history.turns import take_turn

logger = logging.getLogger("durable.store")

WAIT_FOREVER_S = 1e6
NO_MORE = "PRAGMA query_only=1"
"""Of a transaction that was cut off: a statement that comes later would begin another one, in nobody's turn."""


IS_CUT = "durable_is_cut"
"""What a pooled connection knows of itself: whether it was cut off."""


class Turn:
    """An engine's place at the turnstile: it has one connection, so at most one of its transactions stands there."""

    def __init__(self, path: Path) -> None:
        self._turnstile = Turnstile(path)
        self._latest = 0
        self._taken: int | None = None

    @property
    def taken(self) -> int | None:
        """The number of the turn that is taken."""
        return self._taken

    def take(self) -> None:
        try:
            self._turnstile.__enter__()
            self._latest += 1
            self._taken = self._latest
        except BaseException:
            # A thread's cancellation may come when it has the turn already, and does not know.
            with suppress(OSError):  # what can't be locked can't be unlocked
                self._turnstile.__exit__()
            raise

    async def take_on(self, lane: Lane) -> None:
        """Wait for it on another thread. Who gives up waiting has it let go as soon as it comes, there, before the
        next one takes it."""
        taking = asyncio.ensure_future(lane.run(self.take))
        try:
            await asyncio.shield(taking)
        except asyncio.CancelledError:
            with suppress(StoreUnavailable):
                lane.run(self.release)
            raise

    def release(self, number: int | None = None) -> None:
        """Of the one with this number only; None: of any, known or not."""
        if number in (None, self._taken):
            self._taken = None
            self._turnstile.__exit__()

    def note(self) -> None:
        """It is the running code that has taken it."""
        number = self._taken
        take_turn(lambda: self._taken == number)

    def close(self) -> None:
        self._turnstile.close()


class Engines:
    """Made when they are asked for. A transaction begins with the write lock, so that none has to be given up later.

    Each has one connection, for only one transaction writes at a time; the others wait for it, in their order.
    """

    def __init__(self, path: Path, host: Host, *, synchronous: str, busy_timeout_s: float, wal_bytes_max: int) -> None:
        self._path = path
        self._host = host
        self._settings = settings(synchronous, wal_bytes_max)
        self._options: dict[str, Any] = {
            "pool_size": 1,
            "max_overflow": 0,
            "pool_timeout": WAIT_FOREVER_S,
            "connect_args": {"timeout": busy_timeout_s, "isolation_level": "IMMEDIATE", "check_same_thread": False},
        }
        self._making = threading.Lock()
        self._turns: list[Turn] = []
        self._open: dict[Any, tuple[threading.Event, Callable[[Any], Awaitable[Close]]]] = {}
        """The driver's connections, each with what tells it that it is cut off, and how that is done."""
        self._given_up: set[asyncio.Task[None]] = set()
        self._lane: Lane | None = None
        self._cutting: Lane | None = None
        self._async: AsyncEngine | None = None
        self._sync: Engine | None = None

    def asynchronous(self) -> AsyncEngine:
        if self._async is None:
            lane = self._lane = self._host.lane("durable-turn")
            url = URL.create("sqlite+aiosqlite", database=str(self._path))
            self._async = create_async_engine(url, **self._options)

            def take(turn: Turn, connection: Connection) -> None:
                raw: Any = connection.connection.dbapi_connection

                def taken(_driver_connection: object) -> Awaitable[None]:
                    return turn.take_on(lane)

                raw.run_async(taken)

            self._arrange(self._async.sync_engine, take, _watch_async, _cut, self._give_up)
        return self._async

    def synchronous(self) -> Engine:
        with self._making:  # threads may come at once, and none may use it before it is arranged
            if self._sync is None:
                url = URL.create("sqlite+pysqlite", database=str(self._path))
                engine = create_engine(url, **self._options)
                self._cutting = self._host.lane("durable-cut")
                cut = partial(_cut_in_thread, self._cutting)
                self._arrange(engine, lambda turn, _: turn.take(), _watch, cut, sqlite3.Connection.rollback)
                self._sync = engine
            return self._sync

    async def close(self) -> None:
        if self._async is not None:
            await self._async.dispose()
        if self._sync is not None:
            self._sync.dispose()
        for raw, (is_cut, cut) in list(self._open.items()):
            # Whoever has a transaction open still has lost it.
            is_cut.set()
            with suppress(sqlite3.Error, ValueError):  # it may be closed
                close = await cut(raw)
                await close()
        for lane in (self._lane, self._cutting):
            if lane is not None:
                lane.close()
        for turn in self._turns:
            turn.close()

    def _arrange(
        self,
        engine: Engine,
        take: Callable[[Turn, Connection], None],
        watch: Callable[[Any, Callable[[], bool]], None],
        cut: Callable[[Any], Awaitable[Close]],
        give_up: Callable[[Any], None],
    ) -> None:
        turn = Turn(self._path)
        self._turns.append(turn)

        def connected(raw: Any, record: Any) -> None:
            cursor = raw.cursor()
            for pragma in self._settings:
                cursor.execute(pragma)
            cursor.close()
            is_cut = record.info[IS_CUT] = threading.Event()
            watch(raw, is_cut.is_set)
            self._open[record.driver_connection] = is_cut, cut

        def invalidated(_raw: Any, record: Any, _error: object) -> None:
            # Whoever gives a statement up does not wait for its end, and nor do others. The connection will be closed,
            # but for SQLite that is no end of the transaction as long as anybody keeps a cursor.
            record.info[IS_CUT].set()
            with suppress(sqlite3.Error, ValueError):
                give_up(record.driver_connection)

        def closed(raw: Any, *_: Any) -> None:
            self._open.pop(getattr(raw, "driver_connection", raw), None)

        def begin(connection: Connection) -> Cut:
            try:
                take(turn, connection)
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            except BaseException:
                turn.release()
                raise
            turn.note()
            return partial(self._cut_off, connection.connection, cut, turn, turn.taken)

        event.listen(engine, "connect", connected)
        event.listen(engine, "invalidate", invalidated)
        event.listen(engine, "close", closed)
        event.listen(engine, "close_detached", closed)
        # When its connection comes back, the transaction has ended, however it did.
        event.listen(engine, "checkin", lambda *_: turn.release())
        attend(engine, begin)
        sqlite_lost.watch(engine)

    def _give_up(self, raw: Any) -> None:
        """Without waiting, for its code may have been cancelled, or be so now. The driver takes one after the other."""

        async def roll_back() -> None:
            with suppress(sqlite3.Error, ValueError):  # it is closed already
                await raw.rollback()

        with suppress(RuntimeError):  # no loop runs here: nobody uses it, and it is about to be closed
            loop = asyncio.get_running_loop()
            rolling_back = loop.create_task(roll_back(), name="durable-given-up")
            self._given_up.add(rolling_back)
            rolling_back.add_done_callback(self._given_up.discard)

    def _cut_off(
        self,
        connection: PoolProxiedConnection,
        cut: Callable[[Any], Awaitable[Close]],
        turn: Turn,
        taken: int | None,
    ) -> Awaitable[Close]:
        raw = connection.driver_connection
        connection.info[IS_CUT].set()
        connection.detach()  # others get another one, for the code may keep this one for long
        self._open.pop(raw, None)

        async def rest() -> Close:
            try:
                return await cut(raw)
            except (sqlite3.ProgrammingError, ValueError, StoreUnavailable):
                pass  # it is closed already
            except sqlite3.Error as error:
                logger.warning("a transaction that was cut off could not be rolled back: %r", error)
            finally:
                turn.release(taken)
            return nothing

        return rest()


def _watch(raw: Any, is_cut: Callable[[], bool]) -> None:
    """A statement that is under way when the transaction is cut off ends then. (An interruption would last for as long
    as any statement is not read to its end, and keep the transaction from being rolled back.)"""
    raw.set_progress_handler(is_cut, STEPS_BETWEEN_LOOKS)


def _watch_async(raw: Any, is_cut: Callable[[], bool]) -> None:
    def watch(own: Any) -> Awaitable[None]:
        watched: Awaitable[None] = own.set_progress_handler(is_cut, STEPS_BETWEEN_LOOKS)
        return watched

    raw.run_async(watch)


async def _cut(raw: Any) -> Close:
    await raw.execute(NO_MORE)
    await raw.rollback()
    close: Close = raw.close
    return close


async def _cut_in_thread(lane: Lane, raw: sqlite3.Connection) -> Close:
    """It is closed when its code lets go of it: what a thread is executing just then would take the process with it."""

    def work() -> None:
        raw.execute(NO_MORE)
        raw.rollback()

    await lane.run(work)
    return nothing
