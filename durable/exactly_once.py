"""The block of `activity.exactly_once`: a transaction in a user's own database that commits when its attempt is done.

A block only says how far it is: whoever runs the attempt commits it, with the result, or rolls it back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from datetime import timedelta
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from durable import ledger
from durable.context import ActivityContext
from durable.effects import Age, AttemptSuperseded, RecordedResult
from durable.history.uncut import uncut
from durable.history.values import Payload

logger = logging.getLogger("durable.worker")

T = TypeVar("T")

JOINED: Final = "control_fully"
"""A session's commit and rollback are those of the block's own transaction, where they are noticed."""

COMMITTED = (
    "this commit is refused: the transaction of activity.exactly_once is committed when the activity has returned, "
    "together with its result. Leave commit() out; begin_nested() makes savepoints"
)
NOT_LEFT = (
    "the activity has returned while a task of its own was still in its activity.exactly_once block, so nothing is "
    "committed: await what works there"
)
ROLLED_BACK = (
    "the transaction of activity.exactly_once was rolled back within its block, and the activity's row in the ledger "
    "with it, so nothing is committed: let the error leave the block, or do what may fail under begin_nested()"
)


class _Block:
    """What blocks of both kinds are made of; its methods are for synchronous code, or for ``run_sync``."""

    def __init__(self, context: ActivityContext, keep: timedelta) -> None:
        self.keep = keep
        self.recorded: list[Payload] | None = None
        """What an attempt before this one has returned, if it has committed."""
        self._context = context
        self._key = ""
        self._connection: Connection | None = None
        self._session: Session | None = None
        self._is_left = False
        self._commits = False
        self._spoilt: str | None = None

    @property
    def is_open(self) -> bool:
        """Is there anything to commit, or to roll back?"""
        return self._connection is not None

    def _register(self, *, blocking: bool) -> int:
        """The time, for the ledger. RuntimeError when the attempt can't have this block."""
        if self._context.is_transactional:
            raise RuntimeError(
                "a transactional activity can't have an activity.exactly_once block: its own transaction and that of "
                "another database are two commits; make it two activities"
            )
        if self._context.effect is not None:
            raise RuntimeError(
                "this attempt has had its activity.exactly_once block: there is one for each, for a second one could "
                "not be committed together with it. Put all effects into it, or make it two activities"
            )
        self._key, now_us = self._context.ledger_entry(blocking=blocking)
        return now_us

    def _enter(self, connection: Connection, now_us: int) -> None:
        self._connection = connection
        _check_own(connection)
        self.recorded = ledger.enter(connection, self._key, now_us)
        if self.recorded is None:
            self._check_begun(connection)
            event.listen(connection, "commit", self._on_commit)
            event.listen(connection, "rollback", self._on_rollback)

    def _check_begun(self, connection: Connection) -> None:
        if _has_transaction(connection) is False:
            connection.rollback()
            ledger.remove(connection, [self._key])  # the row was committed by itself
            raise RuntimeError(
                "the driver of this engine has begun no transaction (sqlite3 with isolation_level=None begins none by "
                "itself): let it begin them, or begin them in a listener to the engine's event 'begin'"
            )

    def _on_commit(self, connection: Connection) -> None:
        if not self._commits:
            self._spoilt = COMMITTED
            raise RuntimeError(COMMITTED)

    def _on_rollback(self, connection: Connection) -> None:
        self._spoilt = self._spoilt or ROLLED_BACK

    def _leave(self) -> None:
        """The code has left the block well."""
        self._flush()
        self._is_left = True

    def _flush(self) -> None:
        if self._spoilt is not None:
            raise RuntimeError(self._spoilt)
        assert self._session is not None
        self._session.flush()

    def settle(self, result: list[Payload]) -> None:
        """Commit the effects, and the result with them; in any thread, when the code has ended."""
        assert self._connection is not None
        try:
            if not self._is_left:
                raise RuntimeError(NOT_LEFT)
            self._flush()  # what the code did with the session since
            ledger.record(self._connection, self._key, result)
            transaction = self._connection.get_transaction()
            assert transaction is not None
            self._commits = True
            transaction.commit()
        finally:
            self.discard()

    def discard(self) -> None:
        """Roll back what is not committed, and let go of the connection. What the database does not hear of this, it
        does by itself once the connection is gone."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if self._session is not None:
                self._session.close()
            connection.close()
        except Exception as error:
            logger.warning("the connection of an activity.exactly_once block is given up: %r", error)
            with suppress(Exception):
                connection.invalidate()
                connection.close()


class SyncBlock(_Block, AbstractContextManager[Session]):
    """That of a sync activity."""

    def __init__(self, context: ActivityContext, engine: Engine, keep: timedelta) -> None:
        super().__init__(context, keep)
        self.engine = engine

    def __enter__(self) -> Session:
        now_us = self._register(blocking=True)
        self._context.effect = self
        try:
            with self._context.shield_thread_cancel():
                connection = self.engine.connect()
                self._enter(connection, now_us)
                if self.recorded is None and not self._context.is_current_sync():
                    raise AttemptSuperseded
        except BaseException:
            self.discard()
            raise
        if self.recorded is not None:
            self.discard()
            raise RecordedResult(self.recorded)
        self._session = Session(connection, expire_on_commit=False, join_transaction_mode=JOINED)
        return self._session

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        with self._context.shield_thread_cancel():
            try:
                if error is None:
                    self._leave()
                    return
            except BaseException:
                self.discard()
                raise
            self.discard()

    async def commit(self, result: list[Payload]) -> None:
        """`settle`, for whoever is on an event loop."""
        await _in_thread(lambda: self.settle(result))

    async def rollback(self) -> None:
        """`discard`, for whoever is on an event loop."""
        if self.is_open:
            await uncut(_in_thread(self.discard))

    async def aged(self, before_us: int, after: Age | None, limit: int) -> list[Age]:
        return await _in_thread(lambda: self._apart(lambda other: ledger.aged(other, before_us, after, limit)))

    async def remove(self, keys: Sequence[str]) -> None:
        await _in_thread(lambda: self._apart(lambda other: ledger.remove(other, keys)))

    def _apart(self, work: Callable[[Connection], T]) -> T:
        with self.engine.connect() as other:
            return work(other)


class AsyncBlock(_Block, AbstractAsyncContextManager[AsyncSession]):
    """That of an async activity."""

    def __init__(self, context: ActivityContext, engine: AsyncEngine, keep: timedelta) -> None:
        super().__init__(context, keep)
        self.engine = engine
        self._opened: AsyncConnection | None = None

    async def __aenter__(self) -> AsyncSession:
        now_us = self._register(blocking=False)
        self._context.effect = self
        opened = self._opened = await self.engine.connect()
        try:
            await opened.run_sync(self._enter, now_us)
            if self.recorded is None and not await self._context.is_current():
                raise AttemptSuperseded
        except BaseException:
            await self.rollback()
            raise
        if self.recorded is not None:
            await self.rollback()
            raise RecordedResult(self.recorded)
        session = AsyncSession(opened, expire_on_commit=False, join_transaction_mode=JOINED)
        self._session = session.sync_session
        return session

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        assert self._opened is not None
        if error is not None:
            await self.rollback()
            return
        try:
            await self._opened.run_sync(lambda _: self._leave())
        except BaseException:
            await self.rollback()
            raise

    async def commit(self, result: list[Payload]) -> None:
        """`settle`."""
        assert self._opened is not None
        await self._opened.run_sync(lambda _: self.settle(result))

    async def rollback(self) -> None:
        """`discard`."""
        if self.is_open and self._opened is not None:
            await uncut(self._opened.run_sync(lambda _: self.discard()))

    async def aged(self, before_us: int, after: Age | None, limit: int) -> list[Age]:
        async with self.engine.connect() as other:
            return await other.run_sync(ledger.aged, before_us, after, limit)

    async def remove(self, keys: Sequence[str]) -> None:
        async with self.engine.connect() as other:
            await other.run_sync(ledger.remove, keys)


def begin(context: ActivityContext, engine: Any, keep: timedelta) -> SyncBlock | AsyncBlock:
    """The block for the engine's kind. TypeError for what is no engine, ValueError for a negative ``keep``."""
    if keep < timedelta():
        raise ValueError(f"keep is {keep}: how long the ledger keeps a result can't be negative")
    if isinstance(engine, AsyncEngine):
        return AsyncBlock(context, engine, keep)
    if isinstance(engine, Engine):
        return SyncBlock(context, engine, keep)
    raise TypeError(
        f"activity.exactly_once takes a SQLAlchemy AsyncEngine (async with …) or Engine (with …), not {engine!r}"
    )


async def _in_thread(work: Callable[[], T]) -> T:
    """In a thread of its own: those of a pool may all wait for what this one is to commit."""
    thread = ThreadPoolExecutor(1, "durable-effects")
    future = thread.submit(work)
    thread.shutdown(wait=False)
    return await asyncio.wrap_future(future)


def _check_own(connection: Connection) -> None:
    """Raises RuntimeError when nothing can be rolled back here, or somebody else's work with it."""
    level = connection.get_execution_options().get("isolation_level")
    if "AUTOCOMMIT" in (level, getattr(connection.dialect, "_on_connect_isolation_level", None)):
        raise RuntimeError("activity.exactly_once needs transactions, and this engine is in AUTOCOMMIT mode")
    if isinstance(connection.engine.pool, StaticPool) and _has_transaction(connection):
        raise RuntimeError(
            "the one connection of this engine is at work for another attempt: a database in memory, or a StaticPool, "
            "serves one attempt at a time. Give activity.exactly_once an engine on a file, or a server"
        )


def _has_transaction(connection: Connection) -> bool | None:
    """What the driver says; None: it does not say."""
    driver: Any = connection.connection.driver_connection
    found = getattr(driver, "in_transaction", None)
    return found if isinstance(found, bool) else None
