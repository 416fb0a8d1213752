"""A caller's own transaction, of which a write becomes a part: it is written if and only if that commits.

Whoever waits for what was written is woken when it is committed: at once where that can be seen (a session), else when
this process looks for changes (a bare connection).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

from durable.history.database import Database
from durable.history.errors import StoreUnavailable
from durable.history.store import Store
from durable.history.transition import Committed, Outcome, Write

T = TypeVar("T")
Run = Callable[[Callable[[Connection], T]], Awaitable[T]]
"""Does something with the transaction's connection, in the way that its driver needs."""
Transactional = (
    AsyncSession | Session | AsyncConnection | Connection | async_scoped_session[AsyncSession] | scoped_session[Session]
)
"""What carries a transaction."""

PATIENCE_S = 5.0
PAUSE_FIRST_S = 0.005
PAUSE_MAX_S = 0.25
WAITING = "durable_committed"
"""Under this a session keeps whom to tell when it commits."""


async def write_within(database: Database, session: Transactional, write: Write) -> Outcome:
    """Write in the transaction of ``session``; what comes of it, if that commits.

    TypeError for what is no session, ValueError for one of another database. `StoreUnavailable` when somebody else's
    transaction has held for 5 s what this needs; errors of the caller's driver come as they are.
    """
    if isinstance(session, async_scoped_session | scoped_session):
        session = session()
    if isinstance(session, AsyncSession):
        run: Run[Any] = (await session.connection()).run_sync
    elif isinstance(session, AsyncConnection):
        run = session.run_sync
    elif isinstance(session, Session):
        run = _inline(session.connection())
    elif isinstance(session, Connection):  # pyright: ignore[reportUnnecessaryIsInstance]
        run = _inline(session)
    else:
        raise TypeError(
            f"session= takes SQLAlchemy's AsyncSession, Session, AsyncConnection or Connection, not {session!r}"
        )
    outcome = await joined(database.store, run, write)
    if isinstance(outcome, Committed) and not outcome.existing:
        if isinstance(session, AsyncSession | Session):
            sync = session.sync_session if isinstance(session, AsyncSession) else session
            loop = asyncio.get_running_loop()
            _when_committed(sync, lambda: loop.call_soon_threadsafe(database.joined, write))
        else:
            await run(database.store.tell_within)
    return outcome


async def joined(store: Store, run: Run[Any], write: Write) -> Outcome:
    """Write in somebody's transaction, until nobody is in the way."""
    join = await store.joiner()
    loop = asyncio.get_running_loop()
    pause, until = PAUSE_FIRST_S, loop.time() + PATIENCE_S
    while (outcome := await run(lambda connection: join(connection, write))) is None:
        if loop.time() > until:
            raise StoreUnavailable(
                f"another transaction has held what this one wants to write for {PATIENCE_S:g} s; end that one, or "
                "roll this one back and try again"
            )
        await asyncio.sleep(pause)
        pause = min(2 * pause, PAUSE_MAX_S)
    return outcome  # type: ignore[no-any-return]


def _inline(connection: Connection) -> Run[Any]:
    async def run(work: Callable[[Connection], T]) -> T:
        return work(connection)

    return run


def _when_committed(session: Session, tell: Callable[[], object]) -> None:
    waiting: list[Callable[[], object]] | None = session.info.get(WAITING)
    if waiting is None:
        waiting = session.info[WAITING] = []
        event.listen(session, "after_commit", _committed)
        event.listen(session, "after_transaction_end", _ended)
    waiting.append(tell)


def _committed(session: Session) -> None:
    if session.in_nested_transaction():
        return  # a savepoint
    waiting = session.info[WAITING]
    while waiting:
        waiting.pop(0)()


def _ended(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info[WAITING].clear()  # it was rolled back
