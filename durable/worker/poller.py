"""Wait until something may be due, claim it, hand it over: one loop for runs, activities, timeouts, cancellations."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from durable.history import attempts
from durable.history.database import NEVER, Database
from durable.history.errors import HistoryError, WorkerDead
from durable.history.transition import Claim, Claimed
from durable.worker.activities import Activities
from durable.worker.runs import Runs

logger = logging.getLogger("durable.worker")

FLOOR = 5.0
"""Seconds after which the store is asked though nothing said that anything is due: alone it suffices."""
RUNS_PER_CLAIM = 500
SHARED_FOR_US = 50_000
"""For so long a claim leaves the other workers their part of what it finds: twice as long as they take to look."""
AGAIN_FIRST = 0.1
AGAIN_MAX = 5.0


class Poller:
    """``dead`` is called when the store says that this worker has been declared dead."""

    def __init__(
        self,
        database: Database,
        runs: Runs,
        activities: Activities,
        *,
        worker_id: str,
        namespace: str,
        workflow_queues: tuple[str, ...],
        activity_queues: tuple[str, ...],
        dead: Callable[[], None],
    ) -> None:
        self._database = database
        self._runs = runs
        self._activities = activities
        self._worker_id = worker_id
        self._namespace = namespace
        self._workflow_queues = workflow_queues
        self._activity_queues = activity_queues
        self._dead = dead
        self._due_us: int | None = 0
        self._left_us: int | None = None
        """When it first left something to the others that they may not have come for."""
        self._roused = asyncio.Event()
        self._claiming_since: float | None = None

    @property
    def claiming(self) -> bool:
        """Is a claim under way? What it has booked may not be known here yet."""
        return self._claiming_since is not None

    @property
    def stalled_for(self) -> float:
        """For how many seconds the claim under way has waited for its answer; 0.0 when there is none."""
        since = self._claiming_since
        return asyncio.get_running_loop().time() - since if since is not None else 0.0

    def due(self, at_us: int) -> None:
        """Something may fall due at ``at_us``; 0 is now."""
        if self._due_us is None or at_us < self._due_us:
            self._due_us = at_us
            self._roused.set()

    def quiet_until(self) -> int | None:
        """When the next thing that it knows of falls due (µs); None while it asks, or has to."""
        if self.claiming or (self._due_us is not None and self._due_us <= self._database.store.now_us()):
            return None
        return NEVER if self._due_us is None else self._due_us

    async def work(self) -> None:
        """Claim whenever something is due; for ever."""
        pause = AGAIN_FIRST
        while True:
            await self._wait()
            self._due_us = None
            try:
                self._claiming_since = asyncio.get_running_loop().time()
                claimed = await self._claim()
            except WorkerDead:
                self._dead()
                return
            except HistoryError as error:
                self._claiming_since = None
                logger.warning("asking for work failed, again in %g s: %s", pause, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, AGAIN_MAX)
                self.due(0)
                continue
            pause = AGAIN_FIRST
            self._claiming_since = None
            self._hand_over(claimed)

    async def _wait(self) -> None:
        """Until the earliest due time that is known of, `FLOOR` seconds at most."""
        floor = asyncio.get_running_loop().time() + FLOOR
        while True:
            self._roused.clear()
            wait = floor - asyncio.get_running_loop().time()
            if self._due_us is not None:
                wait = min(wait, (self._due_us - self._database.store.now_us()) / 1_000_000)
            if wait <= 0:
                return
            try:
                async with asyncio.timeout(wait):
                    await self._roused.wait()
            except TimeoutError:
                return

    async def _claim(self) -> Claimed:
        now_us = self._database.store.now_us()
        if self._left_us is not None and self._left_us + SHARED_FOR_US <= now_us:
            shares_since_us, self._left_us = self._left_us, None
        else:
            shares_since_us = 0
        claimed = await self._database.store.claim(
            Claim(
                worker_id=self._worker_id,
                namespace=self._namespace,
                workflow_queues=self._workflow_queues,
                activity_queues=self._activity_queues,
                max_runs=RUNS_PER_CLAIM,
                max_activities=self._activities.free,
                cached=self._runs.cached,
                busy=self._runs.busy,
                shares_since_us=shares_since_us,
            )
        )
        if not claimed.left:
            self._left_us = None
        elif self._left_us is None:
            self._left_us = now_us
        return claimed

    def _hand_over(self, claimed: Claimed) -> None:
        self._runs.take(claimed.runs, claimed.waiting)
        for task in claimed.activities:
            self._activities.take(task)
        for token in claimed.cancelled:
            self._activities.cancel_requested(token.run_id, token.scheduled_event_id)
        now_us = self._database.store.now_us()
        for task in claimed.overdue:
            report = attempts.overdue(task, now_us)
            if report is not None:
                self._activities.report(report)
        if self._left_us is not None:
            self.due(self._left_us + SHARED_FOR_US)
        if claimed.more:
            self.due(0)
        elif claimed.next_due_us is not None:
            self.due(claimed.next_due_us)
