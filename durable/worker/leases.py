"""Keep what is claimed claimed, and say when it is lost.

The lease is renewed apart from the engine's loop, so that an activity that blocks the loop for a while costs nothing;
but a worker that has not got on for `DEAF_AFTER` seconds is given up: the lease runs out, and the work moves on. Its
loop has not ticked then, or what it asked of the database has not been answered for so long.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

from durable.history.errors import HistoryError
from durable.history.host import Aside, Host
from durable.history.store import Store
from durable.history.transition import Renewal, WorkerInfo
from durable.worker.watchdog import stack_of_thread

logger = logging.getLogger("durable.worker")

DEAF_AFTER = 60.0
RENEWALS_PER_LEASE = 5
DEAF = (
    "worker %s has not got on for %.0f s: its event loop is blocked, or the database does not answer. It renews its "
    "lease no more, and others take its work over; if it does not come back, end the process. The loop is at:\n%s"
)


class Lease:
    """``news`` is called on the loop that began it, with each renewal."""

    def __init__(self, store: Store, host: Host, worker: WorkerInfo, news: Callable[[Renewal], None]) -> None:
        self._store = store
        self._host = host
        self._worker = worker
        self._news = news
        self._ticked = host.monotonic()
        self._aside: Aside | None = None

    def tick(self, stalled_for: float) -> None:
        """The engine's loop is alive; what it waits for has kept it waiting for so many seconds."""
        self._ticked = self._host.monotonic() - stalled_for

    def begin(self) -> None:
        loop = asyncio.get_running_loop()
        thread_id = threading.get_ident()

        async def renewing() -> None:
            interval = self._worker.lease_us / 1_000_000 / RENEWALS_PER_LEASE
            silences = 0
            while True:
                await asyncio.sleep(interval)
                silent_for = self._host.monotonic() - self._ticked
                silences = silences + 1 if silent_for > DEAF_AFTER else 0
                if silences == 2:  # once may be a process that was stopped, and goes on
                    logger.warning(DEAF, self._worker.worker_id, silent_for, stack_of_thread(thread_id))
                if silences:
                    continue
                try:
                    renewal = await self._store.renew(self._worker)
                except HistoryError as error:
                    logger.warning("renewing the lease of worker %s failed: %s", self._worker.worker_id, error)
                    continue
                loop.call_soon_threadsafe(self._news, renewal)

        self._aside = self._host.aside("durable-lease", renewing)

    async def end(self) -> None:
        if self._aside is not None:
            await self._aside.stop()
