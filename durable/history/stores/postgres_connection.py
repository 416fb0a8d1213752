"""A connection to PostgreSQL: made when it is needed, used by one task at a time, never again after a doubtful end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
import msgspec

from durable.history.errors import HistoryError, StoreUnavailable, UnknownOutcome
from durable.history.stores.postgres_address import Address
from durable.history.stores.postgres_errors import BAD_DATA, BROKEN, HELD_UP, ROLLED_BACK, unavailable
from durable.history.stores.postgres_together import read_together

CONNECT_TIMEOUT = 10.0
ANSWER_TIMEOUT = 30.0
CLOSE_TIMEOUT = 2.0
KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 11_000}
"""When nothing comes any more from a machine that is gone, or cut off, that is known after 11 s, where the operating
system can do it; by itself it would wait for hours for an answer."""
PAUSE_FIRST = 0.02
PAUSE_MAX = 1.0
STALLED_AFTER = "5s"
"""The server ends a transaction whose process was stopped in the middle of it, so that others get at what it holds."""
LASTS_AT_MOST = "15s"
"""The same for a process that was stopped between a statement's preparation and its execution: there the server does
not take it for idle. PostgreSQL knows this limit since version 17."""
ISOLATION = "ISOLATION LEVEL READ COMMITTED"
"""Whatever the server's default is: what is read after a lock has to be what is there then, and not what was."""
WAITS_AT_MOST = "25ms"
"""For what others have locked, where it can't be passed over."""
BEGIN = (
    f"BEGIN {ISOLATION}; SET LOCAL lock_timeout = '{WAITS_AT_MOST}'; "
    f"SET LOCAL idle_in_transaction_session_timeout = '{STALLED_AFTER}'"
)
"""What is locked by others is passed over where that can be said; where it can't, the wait is short."""

PLANNING = ("jit", "enable_seqscan", "enable_hashjoin", "enable_mergejoin")
"""Off: all statements here find few rows by an index, from a short list. A plan that was made while a table was small,
and kept, would read all of it for ever."""
PLANNED_ONCE = {"plan_cache_mode": "force_generic_plan"}
"""For who asks the same all the time. Left to itself PostgreSQL plans a statement anew each time where it takes some
values for cheaper than others, as it does with many rows: that is 0.1 ms, and 0.6 with a list of run ids among them."""
PLANNED = "; ".join(f"SET LOCAL {name} = off" for name in PLANNING)
"""The same where a session is somebody else's after each transaction."""


class SessionLost(StoreUnavailable):
    """One that was there for a while, and is not any more: nothing is written, and another one may do at once."""


class Counters(msgspec.Struct):
    """What a connection was asked, for budgets in tests."""

    commits: int = 0
    statements: int = 0


class Raw(Protocol):
    """What is used of an `asyncpg.Connection`, which brings no types of its own."""

    async def fetch(self, query: str, *args: object) -> list[Sequence[Any]]: ...

    async def execute(self, query: str, *args: object) -> str: ...

    async def close(self, *, timeout: float) -> None: ...

    async def add_listener(self, channel: str, callback: Callable[[Any, int, str, object], None]) -> None: ...

    def add_termination_listener(self, callback: Callable[[Any], None]) -> None: ...

    def get_server_pid(self) -> int: ...

    def get_settings(self) -> object: ...

    def get_server_version(self) -> Sequence[Any]: ...

    def is_closed(self) -> bool: ...

    def terminate(self) -> None: ...


Question = tuple[str, Sequence[object]]
"""A statement and its values."""


class Asking(Protocol):
    """What a commit is decided and written over: a connection of the store's own, or somebody's transaction."""

    async def read(self, statement: str, *values: object) -> list[Sequence[Any]]: ...

    async def read_all(self, questions: Sequence[Question], /) -> list[list[Sequence[Any]]]: ...

    async def write(self, statement: str, *values: object) -> int: ...

    async def write_many(self, statement: str, rows: Sequence[Sequence[object]], /) -> int: ...

    async def say(self, statement: str, /) -> None: ...


class Connection:
    """``made`` is called with every new session, before anything else is done with it. ``settings`` are its own, where
    a session is nobody else's."""

    def __init__(
        self,
        address: Address,
        made: Callable[[Raw], Awaitable[None]] | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        pause_max: float = PAUSE_MAX,
    ) -> None:
        self.address = address
        self._settings = settings
        self._pause_max = pause_max
        self.counters = Counters()
        self._made = made
        self._raw: Raw | None = None
        self._turn = asyncio.Lock()
        self._pause = 0.0

    async def close(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            try:
                await raw.close(timeout=CLOSE_TIMEOUT)
            except BROKEN:
                raw.terminate()

    # Asking: only within `held`. ----------------------------------------------------------------------------------

    async def read(self, statement: str, *values: object) -> list[Sequence[Any]]:
        """All rows."""
        self.counters.statements += 1
        return await self._session.fetch(statement, *values)

    async def read_all(self, questions: Sequence[Question]) -> list[list[Sequence[Any]]]:
        """The rows of each, in one round trip; as `read_together` has them."""
        if len(questions) < 2:
            return [await self.read(statement, *values) for statement, values in questions]
        text = read_together(tuple(statement for statement, _ in questions))
        return list((await self.read(text, *(value for _, values in questions for value in values)))[0])

    async def one(self, statement: str, *values: object) -> Any:
        """The first column of the only row."""
        return (await self.read(statement, *values))[0][0]

    async def write(self, statement: str, *values: object) -> int:
        """The number of rows changed."""
        self.counters.statements += 1
        return int((await self._session.execute(statement, *values)).rpartition(" ")[2])

    async def write_many(self, statement: str, rows: Sequence[Sequence[object]]) -> int:
        """A statement for many rows of values; the number of rows changed."""
        return await self.write(statement, *columns(rows)) if rows else 0

    async def write_alone(self, statement: str, *values: object) -> int:
        """One statement that is a transaction of its own; the number of rows changed. Within `held`.

        It waits for what others have locked, unless its session has a limit. When its answer is lost nobody knows
        whether it is written.
        """
        if self.address.pooled:
            async with self.transaction():
                return await self.write(statement, *values)
        changed = await self.write(statement, *values)
        self.counters.commits += 1
        return changed

    async def say(self, statement: str) -> None:
        """Something that has neither values nor rows."""
        self.counters.statements += 1
        await self._session.execute(statement)

    # Turns and transactions. --------------------------------------------------------------------------------------

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[Raw]:
        """It is the caller's turn, and a session is there. Raises `StoreUnavailable` when none is, or when it goes.

        Whoever is cancelled in the middle leaves no session to others: who knows what it still does.
        """
        async with self._turn:
            known = True
            try:
                if self._raw is None or self._raw.is_closed() or self._is_demoted(self._raw):
                    self._drop()
                    self._raw = await self._connect()
                    known = False
                yield self._raw
            except (HistoryError, HELD_UP, ROLLED_BACK, *BAD_DATA):
                raise
            except BROKEN as error:
                self._drop()
                told = unavailable(error, self.address)
                raise (SessionLost(*told.args) if known else told) from error
            except BaseException:
                self._drop()
                raise

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[None]:
        """For reading only; within `held`. Behind a pooler only a transaction brings a statement and its values to one
        session."""
        if not self.address.pooled:
            yield
            return
        await self.say(f"BEGIN READ ONLY; {PLANNED}")
        try:
            yield
        finally:
            await self._end("ROLLBACK")

    async def end_reading(self) -> None:
        """Of a transaction that only read; within `held`."""
        await self._end("ROLLBACK")

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[None]:
        """Written whole when the block is left, or not at all; within `held`. It is durable then.

        Raises `UnknownOutcome` when the commit's answer is lost.
        """
        await self._begin()
        try:
            yield
        except BaseException:
            await self._end("ROLLBACK")
            raise
        await self._commit()

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[None]:
        """`held`, and a `transaction` in it."""
        async with self.held(), self.transaction():
            yield

    async def begin_again(self) -> None:
        """Undo what this transaction has written, and begin it anew."""
        await self.say("ROLLBACK")
        await self._begin()

    async def _begin(self) -> None:
        begin = BEGIN
        if self._session.get_server_version()[0] >= 17:
            begin += f"; SET LOCAL transaction_timeout = '{LASTS_AT_MOST}'"
        if self.address.pooled:
            begin += f"; {PLANNED}"
        await self.say(begin)

    async def _commit(self) -> None:
        try:
            await self.say("COMMIT")
        except ROLLED_BACK:
            raise
        except BROKEN as error:
            self._drop()
            raise UnknownOutcome(
                f"the {self.address.name} did not answer to a commit ({error}): it may be written or not; read again "
                "before you retry"
            ) from error
        self.counters.commits += 1

    async def _end(self, statement: str) -> None:
        """Leave no transaction open; a session on which that fails is dropped."""
        try:
            if self._raw is not None and not self._raw.is_closed():
                await self.say(statement)
        except BROKEN:
            self._drop()

    # The session. -------------------------------------------------------------------------------------------------

    @property
    def _session(self) -> Raw:
        assert self._raw is not None, "within `held`"
        return self._raw

    def _is_demoted(self, raw: Raw) -> bool:
        """Has the server said meanwhile that it can't be written any more? It says so with any answer."""
        settings = raw.get_settings()
        said = (getattr(settings, name, "off") for name in ("in_hot_standby", "default_transaction_read_only"))
        return self.address.is_primary and "on" in said

    def _drop(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.terminate()

    async def _connect(self) -> Raw:
        """A new session; after a failure a little later, and later."""
        if self._pause:
            await asyncio.sleep(self._pause)
        self._pause = min(max(2 * self._pause, PAUSE_FIRST), self._pause_max)
        raw = await connect(self.address, self._settings)
        try:
            if self._made is not None:
                await self._made(raw)
        except BaseException:
            raw.terminate()
            raise
        self._pause = 0.0
        return raw


async def connect(address: Address, own: Mapping[str, str] | None = None) -> Raw:
    """A session at ``address``, with settings of its own. Raises `StoreUnavailable`."""
    settings = {"application_name": "durable", **dict.fromkeys(PLANNING, "off"), **(own or {})}
    options: dict[str, Any] = {"statement_cache_size": 0} if address.pooled else {"server_settings": settings}
    driver: Any = asyncpg
    try:
        raw: Raw = await driver.connect(address.dsn, timeout=CONNECT_TIMEOUT, command_timeout=ANSWER_TIMEOUT, **options)
    except (*BROKEN, ValueError) as error:
        raise unavailable(error, address) from error
    _keep_alive(raw)
    return raw


def _keep_alive(raw: Any) -> None:
    """The driver sets none of this."""
    sock = raw._transport.get_extra_info("socket")
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def own_end(raw: Any) -> tuple[str, int] | None:
    """The address and port from which a session was made; None on a socket of this machine."""
    sock = raw._transport.get_extra_info("socket")
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    host, port = sock.getsockname()[:2]
    return host, port


def columns(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    """Rows, turned into the arrays of their columns."""
    return [list(column) for column in zip(*rows, strict=True)]
