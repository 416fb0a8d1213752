"""The transaction of a transactional attempt: its code's writes and its outcome are one commit, or nothing."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import re
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn, TypeVar

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from durable.exceptions import ApplicationError
from durable.history.database import Database
from durable.history.host import Lane
from durable.history.joining import Run, joined
from durable.history.stores.engines import OWNER, Close, Cut
from durable.history.transition import ActivityReport, Committed, Outcome
from durable.history.uncut import ended

logger = logging.getLogger("durable.worker")

T = TypeVar("T")

GAP = r"(?:\s|--[^\n]*\n|/\*(?:[^*]|\*(?!/))*+\*/)"
ENDS = re.compile(
    rf"(?:[;\ufeff]|{GAP})*+"
    rf"(?:(COMMIT|END|PREPARE{GAP}++TRANSACTION)|ABORT|ROLLBACK(?!{GAP}++(?:(?:WORK|TRANSACTION){GAP}++)?TO\b))\b",
    re.IGNORECASE,
)
"""SQL that ends a transaction, and not a savepoint only; the group is what keeps its writes."""


class Transaction:
    """It begins when the session is first used. `commit` ends it with a report of the attempt's outcome, `roll_back`
    without a trace.

    Where all writers wait for it (SQLite) it may be open for ``limit_s``: then it is rolled back at once, ``failed`` is
    told why, and whatever the code asks for afterwards is refused. None: for as long as it likes. Its beginning is
    ``shielded`` from what is raised in the thread of its code.
    """

    def __init__(
        self,
        database: Database,
        what: str,
        *,
        is_sync: bool,
        limit_s: float | None = None,
        failed: Callable[[ApplicationError], None] | None = None,
        shielded: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._database = database
        self._what = what
        self._is_sync = is_sync
        self._limit_s = limit_s if database.store.writes_in_turn else None
        self._failed = failed
        self.beginning = shielded
        self._loop = asyncio.get_running_loop() if self._limit_s is not None else None
        self._session: AsyncSession | Session | None = None
        self._lane: Lane | None = None
        self._lock = threading.Lock()  # whoever ends it, and the clock
        self._cut: Cut | None = None
        """While it is open."""
        self.error: ApplicationError | None = None
        """Why it was cut off."""
        self._clock: asyncio.TimerHandle | None = None
        self._cutting: asyncio.Task[Close] | None = None
        self._was_rolled_back = False
        self._was_closed = False
        self._is_closing = False
        self._may_commit = False
        self._spoilt: str | None = None
        """Why nothing may be committed, though its code may have caught the error that says so."""
        self._is_abandoned = False
        self._is_over = False

    @property
    def is_open(self) -> bool:
        """Has it begun, and not ended?"""
        return self._session is not None and self._session.in_transaction() and not self._is_over

    def session(self, kind: type[Any] | None) -> Any:
        """The session of its code, made as a ``kind`` the first time. TypeError for what does not fit, RuntimeError
        once the attempt is over."""
        self._check_lives()
        needed: type[Any] = Session if self._is_sync else AsyncSession
        if kind is not None and not (isinstance(kind, type) and issubclass(kind, needed)):  # pyright: ignore[reportUnnecessaryIsInstance]
            how = "a sync activity" if self._is_sync else "an async activity"
            raise TypeError(
                f"{self._what} is {how}: its session is a {needed.__name__}, not a {getattr(kind, '__name__', kind)}"
            )
        if self._session is None:
            store = self._database.store
            engine: Any = store.sync_engine() if self._is_sync else store.engine()
            session = (kind or needed)(bind=engine.execution_options(**{OWNER: self}), expire_on_commit=False)
            sync = session.sync_session if isinstance(session, AsyncSession) else session
            event.listen(sync, "before_commit", self._commits)
            event.listen(sync, "after_rollback", self._rolled_back)
            event.listen(sync, "after_transaction_end", self._ended)
            self._session = session
        elif kind is not None and not isinstance(self._session, kind):
            raise TypeError(f"{self._what} has a {type(self._session).__name__} already, which is no {kind.__name__}")
        return self._session

    def check_whole(self) -> None:
        """Its code has returned. Raises if what that wrote is gone, though it may not know."""
        if self.error is not None:
            raise self.error
        if self._spoilt is not None:
            raise RuntimeError(self._spoilt)
        if self._was_closed:
            raise RuntimeError(
                f"{self._what} has closed its session, and so undone what it wrote: the session is closed when the "
                "activity has returned, so use it without `async with` and close(); rollback() undoes what was written"
            )

    # What the engine asks (stores/engines.py), in the code's thread. --------------------------------------------------

    def check_begin(self) -> None:
        if self.error is not None:
            raise self.error
        self._check_lives()

    def begun(self, cut: Cut) -> None:
        with self._lock:
            self._check_lives()  # else nobody would cut it off any more
            self._cut = cut
        self._on_loop(self._start_clock)

    def ends(self) -> None:
        with self._lock:
            self._cut = None
        self._on_loop(self._stop_clock)

    def check_statement(self, connection: Connection, statement: str) -> None:
        self.check_begin()
        if ends := ENDS.match(statement):
            if ends[1] is None:
                self._refuse("roll back with SQL: session.rollback() undoes what it has written so far")
            self.check_commit()
        if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            raise RuntimeError(
                f"{self._what} can't work in AUTOCOMMIT mode: what it writes is committed with its result, when it "
                "returns, so leave that isolation level out"
            )

    def check_commit(self) -> None:
        if not self._may_commit:
            self._refuse(
                "commit by itself: what it writes is committed with its result, when it returns; "
                "session.begin_nested() makes savepoints"
            )

    def _refuse(self, what: str) -> NoReturn:
        """Nothing is committed any more, though the code may catch it."""
        self._spoilt = f"{self._what} can't {what}"
        raise RuntimeError(self._spoilt)

    def _check_lives(self) -> None:
        if self._is_over or self._is_abandoned:
            raise RuntimeError(f"{self._what} is over, and with it its session")

    # What the session tells. ------------------------------------------------------------------------------------------

    def _commits(self, session: Session) -> None:
        if not session.in_nested_transaction():
            self.check_commit()

    def _rolled_back(self, session: Session) -> None:
        if not session.in_nested_transaction():
            self._was_rolled_back = True

    def _ended(self, _session: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is None:
            self._was_closed = self._was_closed or not (self._was_rolled_back or self._is_closing or self._is_over)
            self._was_rolled_back = False

    # Its end. -----------------------------------------------------------------------------------------------------

    async def commit(self, report: ActivityReport | None) -> Outcome | None:
        """Write the report, and commit; what became of it. Refused: it is rolled back.

        Raises what the database has against it. Whoever is cancelled meanwhile waits for the end.
        """
        doing, _ = await ended(self._commit(report))
        return doing.result()

    async def roll_back(self) -> None:
        """Undo what was written, and let others go on; whoever is cancelled meanwhile waits for that."""
        if self._session is not None and not self._is_over:
            doing, _ = await ended(self._close())
            doing.result()

    def end_here(self, *, commits: bool) -> None:
        """The same for a sync one without a report, in the thread of its code."""
        if isinstance(self._session, Session):
            self._is_closing = True
            try:
                if commits:
                    self._may_commit = True
                    self._session.commit()
            finally:
                self._is_over = True
                self._session.close()

    def abandon(self) -> None:
        """Nobody will commit it: let others have what it holds, though its code goes on."""
        if not self._is_closing:
            self._is_abandoned = True
            with self._lock:
                self._cut_off()

    async def _commit(self, report: ActivityReport | None) -> Outcome | None:
        self._is_closing = True
        outcome: Outcome | None = None
        try:
            if report is not None:
                await self._do(lambda session: session.flush())
                outcome = await joined(self._database.store, self._run, report)
            if report is None or isinstance(outcome, Committed):
                self._may_commit = True
                await self._do(lambda session: session.commit())
        finally:
            await self._close()
            if report is not None and isinstance(outcome, Committed):
                self._database.joined(report)  # though its answer be lost: who waits has to look
        return outcome

    async def _close(self) -> None:
        """Whatever is not committed is rolled back when the connection goes home."""
        self._is_over = True
        self._stop_clock()
        if self._cutting is not None:
            await asyncio.wait([self._cutting])
        try:
            await self._do(lambda session: session.close())
        except Exception:
            # The connection is lost, or closed beneath the session: so is the transaction.
            try:
                await self._do(lambda session: session.invalidate())
            except Exception as error:
                logger.warning("the session of %s could not be closed: %r", self._what, error)
        finally:
            if self._cutting is not None:
                await self._cutting.result()()
            if self._lane is not None:
                self._lane.close()

    async def _do(self, work: Callable[[Session], T]) -> T:
        if isinstance(self._session, AsyncSession):
            return await self._session.run_sync(work)
        assert self._session is not None
        session = self._session
        if self._lane is None:
            # Its own, for it may have to wait for others that are at their end too.
            self._lane = self._database.host.lane("durable-transaction")
        context = contextvars.copy_context()
        return await self._lane.run(lambda: context.run(work, session))

    @property
    def _run(self) -> Run[Any]:
        async def run(work: Callable[[Connection], T]) -> T:
            return await self._do(lambda session: work(session.connection()))

        return run

    # Its time. ----------------------------------------------------------------------------------------------------

    def _on_loop(self, work: Callable[[], None]) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(work)

    def _start_clock(self) -> None:
        if self._loop is not None and self._limit_s is not None and self._clock is None and not self._is_over:
            self._clock = self._loop.call_later(self._limit_s, self._too_long)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _too_long(self) -> None:
        """End it beneath its code, which may be stuck: the database is what others wait for."""
        with self._lock:
            if self._cut is None or self._is_closing:
                return
            self.error = ApplicationError(
                f"{self._what} had its transaction open for {self._limit_s:g} s, for which time nobody else can write "
                "to the SQLite database: it was rolled back; do what takes long before the session is first used, or "
                "in an activity of its own, or use PostgreSQL",
                type="TransactionTooLong",
            )
            self._cut_off()
        if self._failed is not None:
            self._failed(self.error)

    def _cut_off(self) -> None:
        if self._cut is not None:
            self._cutting = asyncio.ensure_future(self._cut())
            self._cut = None
