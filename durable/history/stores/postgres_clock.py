"""The time of a PostgreSQL, which all its clients share, told by this process's own clock in between."""

from __future__ import annotations

from durable.history.host import Host, Machine
from durable.history.stores.postgres_connection import Connection
from durable.history.stores.postgres_sql import statements

MEASURED_EVERY = 10.0
LEAST_ERROR_US = 500


class Clock:
    """Sets a `Machine`'s clock by the server's; a host whose time is somebody else's affair keeps it."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._measured: float | None = None

    async def keep(self, db: Connection) -> None:
        """Measure when the last measurement was a while ago; ``db`` is held."""
        if self._measured is None or self._host.monotonic() - self._measured > MEASURED_EVERY:
            await self.measure(db)

    async def measure(self, db: Connection) -> None:
        """The server read its clock while question and answer were on their way: half-way, as far as is known."""
        if not isinstance(self._host, Machine):
            return
        async with db.reading():
            asked = self._host.monotonic()
            self.shown(asked, await db.one(statements().own.wall_clock_us))

    def shown(self, asked: float, wall_us: int) -> None:
        """An answer that has just come: the server's clock has shown ``wall_us`` since it was ``asked``."""
        if not isinstance(self._host, Machine):
            return
        self._measured = self._host.monotonic()
        error_us = round((self._measured - asked) * 1_000_000 / 2)
        if abs(wall_us + error_us - self._host.now_us()) > max(error_us, LEAST_ERROR_US):
            self._host.adjust(wall_us + error_us)
