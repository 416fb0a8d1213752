"""A caller's own transaction, of which a write becomes a part: it is written if and only if that commits.

Whoever waits for what was written is woken when it is committed: at once where that can be seen (a session), else when
this process looks for changes (a bare connection).
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

from durable.history.database import Database
from durable.history.errors import StoreUnavailable
from durable.history.host import Host
from durable.history.store import Store
from durable.history.transition import Committed, Outcome, Transition, Write
from durable.history.uncut import uncut

T = TypeVar("T")
Run = Callable[[Callable[[Connection], T]], Awaitable[T]]
"""Does something with the transaction's connection, in the way that its driver needs."""
Carrier = AsyncSession | Session | AsyncConnection | Connection
"""What carries a transaction."""
Transactional = Carrier | async_scoped_session[AsyncSession] | scoped_session[Session]
"""The same, as a program may have it."""

PATIENCE_S = 5.0
PAUSE_FIRST_S = 0.005
PAUSE_MAX_S = 0.25
WAITING = "durable_committed"
"""Under this a session keeps whom to tell when it commits."""


def carrier(session: Transactional) -> Carrier:
    """The session itself, of one that is scoped: to be asked where the caller is, for elsewhere it is another one.

    TypeError for what is no session, ValueError for a scoped one that has none here.
    """
    if isinstance(session, scoped_session) and not session.registry.has():
        raise ValueError(
            "this scoped_session has no session on the thread of the event loop: pass the one that you have used, as "
            "session=scoped(), called where it is yours"
        )
    if isinstance(session, async_scoped_session | scoped_session):
        session = session()
    if not isinstance(session, Carrier):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"session= takes SQLAlchemy's AsyncSession, Session, AsyncConnection or Connection, not {session!r}"
        )
    if isinstance(session, Session | Connection) and _bind(session).dialect.is_async:
        raise TypeError("this is the inner half of an AsyncSession or AsyncConnection: pass that itself")
    return session


async def write_within(database: Database, session: Carrier, write: Write) -> Outcome:
    """Write in the transaction of ``session``; what comes of it, if that commits.

    ValueError for a session of another database. `StoreUnavailable` when somebody else's transaction has held for 5 s
    what this needs; errors of the caller's driver come as they are.
    """
    run = await _begun(session, database.host)
    sync = session.sync_session if isinstance(session, AsyncSession) else session
    if isinstance(sync, Session) and not isinstance(sync.get_bind(), Connection):
        _when_committed(sync, database, write)
        return await joined(database.store, run, write)
    # Whoever has made the connection commits it, and nothing tells when.
    return await joined(database.store, run, write, database.store.tell_within)


async def joined(
    store: Store, run: Run[Any], write: Write, written: Callable[[Connection], None] | None = None
) -> Outcome:
    """Write in somebody's transaction, until nobody is in the way; ``written`` is called there if it is.

    Who is cancelled meanwhile finds it written in the transaction, or not: never by half.
    """
    join = await store.joiner()
    loop = asyncio.get_running_loop()
    pause, until = PAUSE_FIRST_S, loop.time() + PATIENCE_S

    def attempt(connection: Connection) -> Outcome | None:
        outcome = join(connection, write)
        if written is not None and isinstance(outcome, Committed) and not outcome.existing:
            written(connection)
        return outcome

    while (outcome := await uncut(run(attempt))) is None:
        if loop.time() > until:
            raise StoreUnavailable(
                f"another transaction has held what this one wants to write for {PATIENCE_S:g} s; end that one, or "
                "roll this one back and try again"
            )
        await asyncio.sleep(pause)
        pause = min(2 * pause, PAUSE_MAX_S)
    return outcome  # type: ignore[no-any-return]


async def _begun(session: Carrier, host: Host) -> Run[Any]:
    """What runs something in its transaction, which is begun if it is not yet."""
    if isinstance(session, AsyncSession):
        return (await session.connection()).run_sync
    if isinstance(session, AsyncConnection):
        if not session.in_transaction():
            await session.begin()
        return session.run_sync

    async def run(work: Callable[[Connection], T]) -> T:
        # On a thread of its own: it may wait for somebody who needs this loop, or one of a pool of threads.
        context, lane = contextvars.copy_context(), host.lane("durable-session")
        try:
            return await lane.run(
                lambda: context.run(lambda: work(session.connection() if isinstance(session, Session) else session))
            )
        finally:
            lane.close()

    return run


def _bind(session: Session | Connection) -> Any:
    return session.get_bind() if isinstance(session, Session) else session


# When it commits. -------------------------------------------------------------------------------------------------


class _Waiting:
    """Who is to be told, and of which runs that were replaced."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loop = asyncio.get_running_loop()
        self.replaced: list[str] = []

    def tell(self) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody waits there any more
            self._loop.call_soon_threadsafe(self._database.committed_beside, self.replaced)


def _when_committed(session: Session, database: Database, write: Write) -> None:
    waiting: dict[Database, _Waiting] | None = session.info.get(WAITING)
    if waiting is None:
        waiting = session.info[WAITING] = {}
        event.listen(session, "after_commit", _committed)
        event.listen(session, "after_transaction_end", _ended)
    mine = waiting.setdefault(database, _Waiting(database))
    if isinstance(write, Transition) and write.start is not None and write.start.replaces is not None:
        mine.replaced.append(write.start.replaces.run_id)


def _committed(session: Session) -> None:
    if session.in_nested_transaction():
        return  # a savepoint
    waiting: dict[Database, _Waiting] = session.info[WAITING]
    while waiting:
        waiting.popitem()[1].tell()


def _ended(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info[WAITING].clear()  # it was rolled back
