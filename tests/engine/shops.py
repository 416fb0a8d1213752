"""A database of a user's own, apart from the engine's: what activities book there, and commits that go wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Column, Engine, MetaData, String, Table, create_engine, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_only

from durable import ledger

bookings = Table("bookings", MetaData(), Column("what", String(100)))


class Shop:
    """``engine`` is for sync activities and for looking, ``async_engine`` for async ones; of the same database."""

    def __init__(self, sync_url: str, async_url: str) -> None:
        self.engine: Engine = create_engine(sync_url, poolclass=NullPool)
        self.async_engine: AsyncEngine = create_async_engine(async_url, poolclass=NullPool)
        bookings.create(self.engine, checkfirst=True)

    def close(self) -> None:
        for table in (bookings, ledger.effects):
            table.drop(self.engine, checkfirst=True)

    def booked(self) -> list[str]:
        with self.engine.connect() as connection:
            return list(connection.scalars(select(bookings.c.what).order_by(bookings.c.what)))

    def recorded(self) -> list[str]:
        """The keys in the ledger."""
        with self.engine.begin() as connection:
            ledger.effects.create(connection, checkfirst=True)
            return list(connection.scalars(select(ledger.effects.c.key).order_by(ledger.effects.c.created)))


class Commits:
    """What an engine's next commit is to go through: ``before`` and ``after`` are called around it, once each."""

    def __init__(
        self,
        engine: Engine,
        *,
        before: Callable[[], Any] = lambda: None,
        after: Callable[[], Any] = lambda: None,
    ) -> None:
        self._commit = engine.dialect.do_commit
        self._calls = [before, after]
        engine.dialect.do_commit = self._do  # type: ignore[method-assign]

    def _do(self, connection: Any) -> None:
        calls, self._calls = self._calls, []
        for call in calls[:1]:
            _awaited(call())
        self._commit(connection)
        for call in calls[1:]:
            _awaited(call())


def _awaited(answer: Any) -> None:
    if answer is not None:
        await_only(answer)
