"""The transaction of a transactional attempt: its code's writes and its outcome are one commit, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from durable.exceptions import ApplicationError
from durable.history.database import Database
from durable.history.joining import Run, joined
from durable.history.stores.engines import OWNER
from durable.history.transition import ActivityReport, Committed, Outcome

T = TypeVar("T")


class Transaction:
    """It begins when the session is first used. `commit` ends it with a report of the attempt's outcome, `roll_back`
    without a trace.

    Where all writers wait for it (SQLite) it may be open for ``limit_s``: then it is rolled back at once, ``failed`` is
    told why, and whatever the code asks for afterwards is refused.
    """

    def __init__(
        self,
        database: Database,
        what: str,
        *,
        is_sync: bool,
        limit_s: float,
        failed: Callable[[ApplicationError], None],
    ) -> None:
        self._database = database
        self._what = what
        self._is_sync = is_sync
        self._limit_s = limit_s if database.store.writes_in_turn else None
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._session: AsyncSession | Session | None = None
        self._raw: Any = None
        self._release: Callable[[], None] | None = None
        self.error: ApplicationError | None = None
        """Why it was cut off."""
        self._clock: asyncio.TimerHandle | None = None
        self._cutting: asyncio.Task[None] | None = None
        self._is_closing = False
        self._is_over = False

    @property
    def is_open(self) -> bool:
        """Has it begun, and not ended?"""
        return self._session is not None and self._session.in_transaction() and not self._is_over

    def session(self, kind: type[Any] | None) -> Any:
        """The session of its code, made as a ``kind`` the first time. TypeError for what does not fit, RuntimeError
        once the attempt is over."""
        if self._is_over:
            raise RuntimeError(f"{self._what} is over, and with it its session")
        needed: type[Any] = Session if self._is_sync else AsyncSession
        kind = kind or needed
        if not issubclass(kind, needed):
            how = "a sync activity" if self._is_sync else "an async activity"
            raise TypeError(f"{self._what} is {how}: its session is a {needed.__name__}, not a {kind.__name__}")
        if self._session is None:
            store = self._database.store
            engine: Any = store.sync_engine() if self._is_sync else store.engine()
            session = self._session = kind(bind=engine.execution_options(**{OWNER: self}), expire_on_commit=False)
            sync = session.sync_session if isinstance(session, AsyncSession) else session
            event.listen(sync, "before_commit", self._commits)
        elif not isinstance(self._session, kind):
            raise TypeError(f"{self._what} has a {type(self._session).__name__} already, which is no {kind.__name__}")
        return self._session

    # What the engine asks (stores/engines.py). ------------------------------------------------------------------------

    def begun(self, connection: Connection, release: Callable[[], None]) -> None:
        self._raw, self._release = connection.connection.driver_connection, release
        self._loop.call_soon_threadsafe(self._start_clock)

    def check_statement(self) -> None:
        if self.error is not None:
            raise self.error

    def check_commit(self) -> None:
        if not self._is_closing:
            raise RuntimeError(
                f"{self._what} can't commit by itself: what it writes is committed with its result, when it returns; "
                "session.begin_nested() makes savepoints"
            )

    def _commits(self, session: Session) -> None:
        if not session.in_nested_transaction():
            self.check_commit()

    # Its end. -----------------------------------------------------------------------------------------------------

    async def commit(self, report: ActivityReport) -> Outcome:
        """Write the report, and commit; what became of it. Refused: it is rolled back.

        Raises what the database has against it. Whoever is cancelled meanwhile waits for the end.
        """
        return await _to_its_end(self._commit(report))

    async def roll_back(self) -> None:
        """Undo what was written, and let others go on; whoever is cancelled meanwhile waits for that."""
        if self._session is not None and not self._is_over:
            await _to_its_end(self._close())

    async def _commit(self, report: ActivityReport) -> Outcome:
        assert self._session is not None
        try:
            await self._do(lambda session: session.flush())
            self.check_statement()
            self._is_closing = True
            outcome = await joined(self._database.store, self._run, report)
            if isinstance(outcome, Committed):
                await self._do(lambda session: session.commit())
        finally:
            await self._close()
        if isinstance(outcome, Committed):
            self._database.joined(report)
        return outcome

    async def _close(self) -> None:
        """Whatever is not committed is rolled back when the connection goes home."""
        self._is_over = True
        if self._clock is not None:
            self._clock.cancel()
        if self._cutting is not None:
            self._cutting.cancel()
        try:
            await self._do(lambda session: session.close())
        except Exception:
            # The connection is lost, or closed beneath the session: so is the transaction.
            await self._do(lambda session: session.invalidate())

    async def _do(self, work: Callable[[Session], T]) -> T:
        if isinstance(self._session, AsyncSession):
            return await self._session.run_sync(work)
        assert self._session is not None
        return await asyncio.to_thread(work, self._session)

    @property
    def _run(self) -> Run[Any]:
        async def run(work: Callable[[Connection], T]) -> T:
            return await self._do(lambda session: work(session.connection()))

        return run

    # Its time. ----------------------------------------------------------------------------------------------------

    def _start_clock(self) -> None:
        if self._limit_s is not None and self._clock is None and not self._is_over:
            self._clock = self._loop.call_later(self._limit_s, self._too_long)

    def _too_long(self) -> None:
        if self._is_closing or self._is_over:
            return
        self.error = ApplicationError(
            f"{self._what} had its transaction open for {self._limit_s:g} s, for which time nobody else can write to "
            "the SQLite database: it was rolled back; do what takes long before the session is first used, or in an "
            "activity of its own, or use PostgreSQL",
            type="TransactionTooLong",
        )
        self._cutting = self._loop.create_task(self._cut())
        self._failed(self.error)

    async def _cut(self) -> None:
        """End it beneath its code, which may be stuck: the database is what others wait for."""
        if isinstance(self._session, AsyncSession):
            await self._raw.interrupt()
            await self._raw.rollback()
        else:
            self._raw.interrupt()
            await asyncio.to_thread(self._raw.rollback)
        if self._release is not None:
            self._release()


async def _to_its_end(work: Awaitable[T]) -> T:
    """Its result, whoever gives up waiting: a cancellation is raised again when it is there, unless it is a result."""
    doing = asyncio.ensure_future(work)
    while not doing.done():
        try:
            await asyncio.shield(doing)
        except asyncio.CancelledError:
            if doing.cancelled():
                raise
        except Exception:
            break
    return doing.result()
