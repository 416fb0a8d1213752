"""Keep what is claimed claimed, and say when it is lost.

The lease is renewed apart from the engine's loop, so that an activity that blocks the loop for a while costs nothing;
but a loop that has not ticked for `DEAF_AFTER` seconds is given up: the lease runs out, and the work moves on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from durable.history.errors import HistoryError
from durable.history.host import Aside, Host
from durable.history.store import Store
from durable.history.transition import Renewal, WorkerInfo

logger = logging.getLogger("durable.worker")

DEAF_AFTER = 60.0
RENEWALS_PER_LEASE = 5


class Lease:
    """``news`` is called on the loop that began it, with each renewal."""

    def __init__(self, store: Store, host: Host, worker: WorkerInfo, news: Callable[[Renewal], None]) -> None:
        self._store = store
        self._host = host
        self._worker = worker
        self._news = news
        self._ticked = host.monotonic()
        self._aside: Aside | None = None

    def tick(self) -> None:
        """The engine's loop is alive."""
        self._ticked = self._host.monotonic()

    def begin(self) -> None:
        loop = asyncio.get_running_loop()

        async def renewing() -> None:
            interval = self._worker.lease_us / 1_000_000 / RENEWALS_PER_LEASE
            while True:
                await asyncio.sleep(interval)
                if self._host.monotonic() - self._ticked > DEAF_AFTER:
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
