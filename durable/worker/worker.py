"""The worker that programs make: what it runs, its settings, its start and its stop."""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import timedelta
from types import TracebackType
from typing import Any, cast

from durable.client import Client
from durable.common import DEFAULT_TASK_QUEUE
from durable.history.errors import HistoryError
from durable.history.values import unstorable
from durable.worker import processes
from durable.worker.config import (
    PollerBehavior,
    PollerBehaviorSimpleMaximum,
    WorkerConfig,
    WorkerDeploymentConfig,
    check,
)
from durable.worker.guard import refusals
from durable.worker.interceptor import Interceptor, Interceptors
from durable.worker.life import Life, Settings
from durable.worker.patches import PatchActivationInput
from durable.worker.plugins import Applied, Plugin, of_client, run_worker
from durable.worker.registry import Registry
from durable.worker.restricted import NOTHING
from durable.worker.runner import UnsandboxedWorkflowRunner, WorkflowRunner
from durable.worker.shared_state import SharedStateManager
from durable.worker.tuning import DEFAULT_SLOTS, SLOT_KEYS, WorkerTuner
from durable.worker.workflow_sandbox import SandboxedWorkflowRunner

logger = logging.getLogger("durable.worker")

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
    ``TEMPORAL_DEBUG``) switches the deadlock detector off, and refuses workflow code nothing.
    ``workflow_runner`` says what workflow code is refused: what a `SandboxedWorkflowRunner` has in its restrictions,
    nothing with an `UnsandboxedWorkflowRunner`.
    ``tuner`` says how many activities run at once, instead of ``max_concurrent_activities``; with
    ``no_remote_activities`` none do: they are other workers'.
    ``patch_activation_callback`` decides whether a run that asks `workflow.patched` for the first time has the patch.
    ``interceptors``, after those of the client that are for workers too, stand between the worker and the code that it
    runs; the first is outermost. TypeError for what is none.
    ``plugins``, after those of the client, may change all this, and do something around the worker's run; for what they
    do after it, leaving ``async with`` waits ``plugin_shutdown_timeout`` (None: without limit).

    The parameters that come last speak of a server and its polls. They are accepted, and have no effect;
    what would be left out in silence is refused: Nexus services, runners of the program's own.
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
        tuner: WorkerTuner | None = None,
        no_remote_activities: bool = False,
        patch_activation_callback: Callable[[PatchActivationInput], bool] | None = None,
        interceptors: Sequence[Interceptor] = (),
        plugins: Sequence[Plugin] = (),
        plugin_shutdown_timeout: timedelta | None = timedelta(seconds=60),
        nexus_service_handlers: Sequence[Any] = (),
        nexus_task_executor: ThreadPoolExecutor | None = None,
        max_concurrent_nexus_tasks: int | None = None,
        nexus_task_poller_behavior: PollerBehavior = PollerBehaviorSimpleMaximum(),  # noqa: B008 - frozen
        workflow_task_executor: ThreadPoolExecutor | None = None,
        workflow_runner: WorkflowRunner = SandboxedWorkflowRunner(),  # noqa: B008 - frozen
        unsandboxed_workflow_runner: WorkflowRunner = UnsandboxedWorkflowRunner(),  # noqa: B008 - without state
        use_worker_versioning: bool = False,
        deployment_config: WorkerDeploymentConfig | None = None,
        max_concurrent_workflow_tasks: int | None = None,
        max_concurrent_workflow_task_polls: int | None = None,
        nonsticky_to_sticky_poll_ratio: float = 0.2,
        sticky_queue_schedule_to_start_timeout: timedelta = timedelta(seconds=10),
        max_concurrent_activity_task_polls: int | None = None,
        max_eager_activity_reservations_per_workflow_task: int = 3,
        disable_safe_workflow_eviction: bool = False,
        workflow_task_poller_behavior: PollerBehavior = PollerBehaviorSimpleMaximum(),  # noqa: B008 - frozen
        activity_task_poller_behavior: PollerBehavior = PollerBehaviorSimpleMaximum(),  # noqa: B008 - frozen
        disable_payload_error_limit: bool = False,
        max_heartbeat_throttle_interval: timedelta = timedelta(seconds=60),
        default_heartbeat_throttle_interval: timedelta = timedelta(seconds=30),
        max_workflow_task_external_storage_concurrency: int = 3,
    ) -> None:
        # All the parameters, before there is any other name.
        config = cast("WorkerConfig", {key: value for key, value in locals().items() if key != "self"})
        if not isinstance(plugins, Applied):
            plugins = of_client(client, plugins)
            if plugins:
                self._begin_changed(config, plugins)
                return
        check(config)
        if tuner is not None:
            if any(config.get(key) is not None for key in SLOT_KEYS):
                raise ValueError(f"Cannot specify {', '.join(SLOT_KEYS)} when also specifying tuner")
            max_concurrent_activities = tuner.activity_slots()
        if not task_queue:
            raise ValueError("task_queue can't be empty")
        if (why := unstorable("a task queue", task_queue)) is not None:
            raise ValueError(why)
        slots = DEFAULT_SLOTS if max_concurrent_activities is None else max_concurrent_activities
        if slots < 1 or activity_threads < 1 or max_cached_workflows < 0:
            raise ValueError(
                "max_concurrent_activities and activity_threads are 1 or more, max_cached_workflows 0 or more"
            )
        rates = (max_activities_per_second, max_task_queue_activities_per_second)
        if any(rate is not None and not rate > 0 for rate in rates):
            raise ValueError("max_activities_per_second and max_task_queue_activities_per_second are more than 0")
        self._config = self._given = config
        self._plugins: Sequence[Plugin] = plugins
        self._plugin_timeout = None if plugin_shutdown_timeout is None else plugin_shutdown_timeout.total_seconds()
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
        debug = debug_mode or bool(os.environ.get("TEMPORAL_DEBUG"))
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
            deadlock_timeout=None if debug else DEADLOCK_TIMEOUT,
            lease_us=lease // timedelta(microseconds=1),
            activates_patch=patch_activation_callback,
            no_remote_activities=no_remote_activities,
            interceptors=Interceptors.of(interceptors, client.config(active_config=True)["interceptors"]),
            refused=NOTHING if debug else refusals(workflow_runner),
        )
        self._life: Life | None = None
        self._stopping = False
        self._moving = False
        self._worked = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._stopping_asked = False

    def _begin_changed(self, given: WorkerConfig, plugins: Sequence[Plugin]) -> None:
        """Be made anew with the config that the plugins make of the given one."""
        config = given.copy()
        for plugin in plugins:
            config = plugin.configure_worker(config)
        config["plugins"] = Applied(plugins)
        Worker.__init__(self, **config)
        self._given = given

    def config(self, *, active_config: bool = False) -> WorkerConfig:
        """A new dict of what this worker was made with, for another one that differs: ``Worker(**worker.config())``.

        With ``active_config`` as the plugins have left it.
        """
        return {**(self._config if active_config else self._given), "client": self.client}

    @property
    def client(self) -> Client:
        """The client through which it works.

        A running worker that is given one on another connection moves there: it hands back what it has, as if it
        stopped, and goes on in that database.
        """
        return self._config["client"]

    @client.setter
    def client(self, value: Client) -> None:
        moves = value.database is not self.client.database
        self._config["client"] = value
        if moves and self._life is not None:
            self._moving = True
            self._life.end()

    @property
    def task_queue(self) -> str:
        """The queue that it takes its work from."""
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
        await run_worker(self, self._plugins, Worker._work)

    async def _work(self) -> None:
        if self._life is not None or self._stopping:
            raise RuntimeError("a worker runs once; make a new one")
        ended = False
        try:
            while not (ended or self._stopping):
                self._moving = False
                host = self.client.database.host
                self._life = Life(self.client, self._registry, self._settings, host, self._ready.set, self._failing)
                try:
                    ended = await self._live(self._life) and not self._moving
                except HistoryError as error:
                    if not self._ready.is_set():
                        raise  # it never began: the caller learns why
                    logger.warning("the worker could not begin anew, again in %g s: %s", PAUSE, error)
                    await asyncio.sleep(PAUSE)
        finally:
            self._stopping = True
            self._life = None
            self._worked.set()

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
            worked = asyncio.ensure_future(self._worked.wait())
            await asyncio.wait([self._running, worked], return_when=asyncio.FIRST_COMPLETED)
            worked.cancel()

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
        _, late = await asyncio.wait([self._running], timeout=self._plugin_timeout)
        if late:  # what plugins do after the worker's end
            self._running.cancel()
            await asyncio.wait([self._running])
        if not self._running.cancelled() and (failure := self._running.exception()) is not None:
            raise failure
