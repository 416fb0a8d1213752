"""The worker that programs make: what it runs, its settings, its start and its stop."""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from datetime import timedelta
from types import TracebackType
from typing import Any

from durable.client import Client
from durable.common import DEFAULT_TASK_QUEUE
from durable.history.errors import HistoryError
from durable.history.values import unstorable
from durable.worker import processes
from durable.worker.life import Life, Settings
from durable.worker.registry import Registry
from durable.worker.shared_state import SharedStateManager

logger = logging.getLogger("durable.worker")

ACTIVITY_SLOTS = 1000
"""So many activities run at once unless ``max_concurrent_activities`` says otherwise."""
LEASE = timedelta(seconds=5)
PAUSE = 1.0
DEADLOCK_TIMEOUT = 2.0


class Worker:
    """Runs workflows and activities of one task queue. ``async with Worker(…):``, or ``await worker.run()``.

    Parameters beyond Temporal's: ``lease``, how long the others wait for a sign of life before they take over (the
    operating system tells them sooner when the process is gone); ``activity_threads``, the size of the worker's own
    pool for sync activities when no ``activity_executor`` is given.

    ``build_id`` names the build of the code: it is recorded with each workflow task that the worker completes, and is
    what `workflow.Info.get_current_build_id` tells. ``max_cached_workflows`` runs stay in memory; others are rebuilt
    from their history when something happens to them.

    Sync activities run in threads; with an ``activity_executor`` of another kind, a ``ProcessPoolExecutor``, in its
    processes, which needs a ``shared_state_manager``. ``max_concurrent_activities`` (1,000) run at once, and no more
    begin in a second than ``max_activities_per_second``. ``max_task_queue_activities_per_second`` is the same: each
    worker of the queue keeps to it by itself. With ``disable_eager_activity_execution`` what its own workflows schedule
    goes through the queue, where other workers may take it.

    ``on_fatal_error`` is awaited with the error that ends the worker, before it stops: RuntimeError("Activity worker
    failed"), which `run` raises too, when the death of a process has broken the pool.
    ``graceful_shutdown_timeout`` is what running activities get to end; then they are cancelled, and handed back as
    if their attempt had not begun (one that may be tried once only has failed instead). What has not ended two seconds
    later is left behind, and runs anew elsewhere all the same. ``debug_mode`` (or the environment variable
    ``TEMPORAL_DEBUG``) switches the deadlock detector off.
    """

    def __init__(
        self,
        client: Client,
        *,
        task_queue: str = DEFAULT_TASK_QUEUE,
        activities: Sequence[Callable[..., Any]] = (),
        workflows: Sequence[Any] = (),
        activity_executor: Executor | None = None,
        build_id: str | None = None,
        identity: str | None = None,
        max_cached_workflows: int = 10_000,
        max_concurrent_activities: int | None = None,
        max_concurrent_local_activities: int | None = None,
        max_activities_per_second: float | None = None,
        max_task_queue_activities_per_second: float | None = None,
        disable_eager_activity_execution: bool = False,
        shared_state_manager: SharedStateManager | None = None,
        on_fatal_error: Callable[[BaseException], Awaitable[None]] | None = None,
        graceful_shutdown_timeout: timedelta = timedelta(),
        workflow_failure_exception_types: Sequence[type[BaseException]] = (),
        debug_mode: bool = False,
        lease: timedelta = LEASE,
        activity_threads: int = 40,
    ) -> None:
        if not task_queue:
            raise ValueError("task_queue can't be empty")
        if (why := unstorable("a task queue", task_queue)) is not None:
            raise ValueError(why)
        slots = ACTIVITY_SLOTS if max_concurrent_activities is None else max_concurrent_activities
        if slots < 1 or activity_threads < 1 or max_cached_workflows < 0:
            raise ValueError(
                "max_concurrent_activities and activity_threads are 1 or more, max_cached_workflows 0 or more"
            )
        rates = (max_activities_per_second, max_task_queue_activities_per_second)
        if any(rate is not None and not rate > 0 for rate in rates):
            raise ValueError("max_activities_per_second and max_task_queue_activities_per_second are more than 0")
        self._client = client
        self._registry = Registry(workflows, activities)
        self._on_fatal_error = on_fatal_error
        if activity_executor is not None:
            activity_threads = getattr(activity_executor, "_max_workers", slots)
            if activities and activity_threads < (max_concurrent_activities or 0):
                warnings.warn(
                    f"Worker max_concurrent_activities is {max_concurrent_activities} but activity_executor's "
                    f"max_workers is only {activity_threads}: no more sync activities than that run at once",
                    stacklevel=2,
                )
        if not processes.has_threads(activity_executor):
            processes.check(self._registry.all_activities, shared_state_manager)
        self._settings = Settings(
            task_queue=task_queue,
            build_id=build_id or "",
            identity=identity or client.identity,
            max_cached_workflows=max_cached_workflows,
            max_concurrent_activities=slots,
            activity_executor=activity_executor,
            activity_threads=activity_threads,
            activity_rates=tuple(rate for rate in rates if rate is not None),
            eager_activities=not disable_eager_activity_execution,
            shared_state_manager=shared_state_manager,
            graceful_shutdown_timeout=graceful_shutdown_timeout.total_seconds(),
            workflow_failure_exception_types=tuple(workflow_failure_exception_types),
            deadlock_timeout=None if debug_mode or os.environ.get("TEMPORAL_DEBUG") else DEADLOCK_TIMEOUT,
            lease_us=lease // timedelta(microseconds=1),
        )
        self._life: Life | None = None
        self._stopping = False
        self._running: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._stopping_asked = False

    @property
    def client(self) -> Client:
        return self._client

    @property
    def task_queue(self) -> str:
        return self._settings.task_queue

    @property
    def is_running(self) -> bool:
        """Has it been started, and not stopped?"""
        return self._life is not None and not self._stopping

    @property
    def is_shutdown(self) -> bool:
        """Has it been told to stop, and stopped?"""
        return self._stopping and self._life is None

    async def run(self) -> None:
        """Work until `shutdown`; cancelled, it shuts down first. A worker runs once."""
        if self._life is not None or self._stopping:
            raise RuntimeError("a worker runs once; make a new one")
        host = self._client.database.host
        ended = False
        try:
            while not (ended or self._stopping):
                self._life = Life(self._client, self._registry, self._settings, host, self._ready.set, self._failing)
                try:
                    ended = await self._live(self._life)
                except HistoryError as error:
                    if not self._ready.is_set():
                        raise  # it never began: the caller learns why
                    logger.warning("the worker could not begin anew, again in %g s: %s", PAUSE, error)
                    await asyncio.sleep(PAUSE)
        finally:
            self._stopping = True
            self._life = None

    async def _live(self, life: Life) -> bool:
        """One life, shut down in good order if this task is cancelled meanwhile."""
        living = asyncio.ensure_future(life.live())
        try:
            return await asyncio.shield(living)
        except asyncio.CancelledError:
            life.end()
            await asyncio.wait([living])
            raise

    async def _failing(self, error: BaseException) -> None:
        if self._on_fatal_error is not None:
            try:
                await self._on_fatal_error(error)
            except Exception:
                logger.exception("on_fatal_error failed; the worker stops all the same")

    async def shutdown(self) -> None:
        """Stop taking work, let activities end within the grace period, hand back the rest, and wait for all that."""
        self._stopping = True
        if self._life is not None:
            self._life.end()
        if self._running is not None:
            await asyncio.wait([self._running])

    async def __aenter__(self) -> Worker:
        body = asyncio.current_task()

        def ended(running: asyncio.Task[None]) -> None:
            """A fatal error ends the body too; leaving the block then raises the error."""
            if not self._stopping_asked and not running.cancelled() and running.exception() is not None and body:
                body.cancel()

        self._running = asyncio.ensure_future(self.run())
        ready = asyncio.ensure_future(self._ready.wait())
        await asyncio.wait([self._running, ready], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._running.done():
            self._running.result()
        self._running.add_done_callback(ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping_asked = True
        await self.shutdown()
        assert self._running is not None
        if not self._running.cancelled() and (failure := self._running.exception()) is not None:
            raise failure
