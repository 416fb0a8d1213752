"""Has anybody else committed to this PostgreSQL database? Heard by NOTIFY, which is a hint; where that fails, supposed.

A NOTIFY takes a lock that all of a server's databases share until it is committed; so it is never part of a commit, but
follows it, alone, at most every 20 ms, and only while others listen.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from durable.history.errors import HistoryError
from durable.history.host import Host
from durable.history.stores.postgres_address import Address
from durable.history.stores.postgres_connection import Connection, Raw

logger = logging.getLogger("durable.store")

CHANNEL = "durable"
TELL = f"NOTIFY {CHANNEL}"
TOLD_EVERY = 0.02
ECHO_WITHIN = 2.0
CHECKED_EVERY = 10.0
AGAIN_AFTER = 1.0
PACE_FIRST = 0.1
PACE_MAX = 1.0
LAST_WORD_WITHIN = 1.0

LISTENERS = (0x6475_7261, 0x626C_65)
"""The advisory lock that all listeners share, so that they can be counted."""
COME = f"SELECT pg_advisory_lock_shared({LISTENERS[0]}, {LISTENERS[1]})"
COUNT = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted "
    f"AND classid = {LISTENERS[0]} AND objid = {LISTENERS[1]} "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class Watch:
    """``open`` begins it; `tell` says that something was committed here, `changed` whether something was elsewhere."""

    def __init__(self, address: Address, host: Host) -> None:
        self._db = Connection(address, self._listen)
        self._host = host
        self._task: asyncio.Task[None] | None = None
        self._tested = asyncio.Event()
        self._echo = asyncio.Event()
        self._asked = asyncio.Event()
        self._untold = False
        """Something was committed, or somebody has come, since others were told last."""
        self._closing = asyncio.Event()
        self._pid = 0
        self._news = False
        self._others = False
        self._said = False
        self.hears = False
        """NOTIFY arrives here."""
        self.told = 0
        """How often others were told."""
        self.heard = 0
        """How often others told something."""
        self._pace = PACE_FIRST
        self._next = 0.0
        self._hint: Callable[[], None] | None = None
        self._every_s = 0.0
        self._supposing: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        if self._db.address.pooled:
            self._deaf("a transaction pooler is in between")
            return
        self._task = asyncio.create_task(self._watch(), name="durable-listen")
        await self._tested.wait()

    def begin(self, hint: Callable[[], None], every_s: float) -> Callable[[], None]:
        """``hint`` is called when something is heard; while nothing can be, when it is supposed."""
        self._hint, self._every_s = hint, every_s
        self._suppose()
        return self._end

    def _end(self) -> None:
        self._hint = None
        if self._supposing is not None:
            self._supposing.cancel()
            self._supposing = None

    def _suppose(self) -> None:
        """Again and again, for as long as nothing is heard."""
        self._supposing = None
        if self._hint is None or self.hears:
            return
        if self._is_time():
            self._hint()
        self._supposing = asyncio.get_running_loop().call_later(self._every_s, self._suppose)

    def _is_time(self) -> bool:
        return self._host.monotonic() >= self._next

    async def close(self) -> None:
        """What was committed last is told first: who commits and goes is not waited for until the next look."""
        self._closing.set()
        if self._task is not None:
            try:
                if self.hears:
                    self._asked.set()
                    await asyncio.wait([self._task], timeout=LAST_WORD_WITHIN)
            finally:
                self._task.cancel()
            await asyncio.wait([self._task])
        await self._db.close()

    def tell(self) -> None:
        """Something was committed here that others may wait for; and that others may answer to soon."""
        self._untold = True
        self._asked.set()
        self._pace, self._next = PACE_FIRST, min(self._next, self._host.monotonic() + PACE_FIRST)

    def notice(self) -> None:
        """Something was committed here, apart from the program, that it has to look at itself."""
        self._note()

    def changed(self) -> bool:
        """While nothing is heard it is supposed, less and less often as long as nothing happens here."""
        if not self.hears and self._is_time():
            self._news = True
            self._next = self._host.monotonic() + self._pace
            self._pace = min(2 * self._pace, PACE_MAX)
        news, self._news = self._news, False
        return news

    async def _listen(self, raw: Raw) -> None:
        self._pid = raw.get_server_pid()
        raw.add_termination_listener(self._ended)
        await raw.add_listener(CHANNEL, self._heard)
        await raw.fetch(COME)

    def _heard(self, _connection: object, pid: int, _channel: str, _payload: object) -> None:
        if pid == self._pid:
            self._echo.set()
            return
        self._note()
        self.heard += 1
        if not self._others:
            self._others = self._untold = True
            self._asked.set()  # who has just come may have missed what was committed here since

    def _note(self) -> None:
        """There is news."""
        self._news = True
        if self._hint is not None:
            self._hint()

    def _ended(self, _connection: object) -> None:
        """The session is no more: to tell something shows it."""
        self._others = self._untold = True
        self._asked.set()

    async def _watch(self) -> None:
        """Listen, and tell, until this is closed; a session that breaks is followed by another one."""
        while True:
            try:
                async with self._db.held():
                    await self._greet()
                    while self._untold or not self._closing.is_set():
                        await self._tell_others()
                    return
            except HistoryError as error:
                if self._closing.is_set():
                    return
                self._deaf(str(error))
            self._tested.set()
            await asyncio.sleep(AGAIN_AFTER)

    async def _greet(self) -> None:
        """Who comes tells the others; and hears it too, if anything is heard at all."""
        self._echo.clear()
        await self._db.say(TELL)
        try:
            async with asyncio.timeout(ECHO_WITHIN):
                await self._echo.wait()
        except TimeoutError:
            self._deaf("what was told did not come back")
        else:
            self.hears, self._said = True, False
        self._note()  # what was told before is not known
        await self._count()
        self._tested.set()

    async def _tell_others(self) -> None:
        try:
            async with asyncio.timeout(CHECKED_EVERY):
                await self._asked.wait()
        except TimeoutError:
            await self._count()  # and a session that is only half there shows itself
            return
        self._asked.clear()
        untold, self._untold = self._untold, False
        if untold and self._others:
            await self._db.say(TELL)
            self.told += 1
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), TOLD_EVERY)

    async def _count(self) -> None:
        async with asyncio.timeout(ECHO_WITHIN):  # the other end may be gone, and nobody have said so
            self._others = await self._db.one(COUNT) > 1

    def _deaf(self, why: str) -> None:
        self.hears = False
        if self._supposing is None:
            self._suppose()
        if not self._said:
            self._said = True
            logger.warning(
                "no LISTEN/NOTIFY on the %s (%s): work of other processes is found by asking, up to %g s later",
                *(self._db.address.name, why, PACE_MAX),
            )
