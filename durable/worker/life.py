"""One life of a worker: from its registration to its release, or to its being declared dead."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor

import anyio
from msgspec import Struct

from durable.client import Client
from durable.history import attempts
from durable.history.beginning import StartRequest
from durable.history.database import Database
from durable.history.errands import Errand
from durable.history.errors import HistoryError
from durable.history.host import Host
from durable.history.messages import ActivityOutcome
from durable.history.standalone import hidden
from durable.history.state import State
from durable.history.transition import (
    ActivityTask,
    AttemptToken,
    Outcome,
    Renewal,
    WorkerInfo,
)
from durable.history.values import IdConflictPolicy
from durable.worker.activities import Activities
from durable.worker.encoding import Conversion, Encoding
from durable.worker.errands import Errands
from durable.worker.leases import Lease
from durable.worker.patches import PatchActivationInput
from durable.worker.poller import Poller
from durable.worker.registry import Registry
from durable.worker.replay import Environment
from durable.worker.runs import Runs
from durable.worker.shared_state import SharedStateManager
from durable.worker.step import Job, Stepped, Stepping
from durable.worker.watchdog import Stepper

logger = logging.getLogger("durable.worker")

TICK = 1.0


class Settings(Struct, frozen=True, kw_only=True):
    """What a worker is set to; see `Worker` for what each means."""

    task_queue: str
    build_id: str
    identity: str
    max_cached_workflows: int
    max_concurrent_activities: int
    activity_executor: Executor | None
    activity_threads: int
    activity_rates: tuple[float, ...]
    eager_activities: bool
    shared_state_manager: SharedStateManager | None
    graceful_shutdown_timeout: float
    workflow_failure_exception_types: tuple[type[BaseException], ...]
    deadlock_timeout: float | None
    lease_us: int
    activates_patch: Callable[[PatchActivationInput], bool] | None
    no_remote_activities: bool


class Life:
    """``live`` until ``end`` is called (then all is handed back), or until others have declared the worker dead.

    ``ready`` is called once it is registered and takes work, ``failing`` with the error that it is about to end with.
    """

    def __init__(
        self,
        client: Client,
        registry: Registry,
        settings: Settings,
        host: Host,
        ready: Callable[[], None],
        failing: Callable[[BaseException], Awaitable[None]],
    ) -> None:
        database = client.database
        self._database: Database = database
        self._settings = settings
        self._namespace = client.namespace
        self.worker_id = host.uuid7()
        stepping = Stepping(
            registry,
            Environment(
                namespace=client.namespace,
                converter=client.data_converter,
                failure_exception_types=(*client.failure_exception_types, *settings.workflow_failure_exception_types),
                build_id=settings.build_id,
                missing_activity=registry.why_missing,
                activates_patch=settings.activates_patch,
            ),
            self.worker_id,
            database.store.now_us,
            database.store.new_id,
        )
        self._stepper: Stepper[Job, Stepped | Conversion] = Stepper(
            host, stepping.step, stepping.stuck, settings.deadlock_timeout
        )
        self._activities = Activities(
            client,
            registry,
            worker_id=self.worker_id,
            identity=settings.identity,
            task_queue="" if settings.no_remote_activities else settings.task_queue,
            slots=settings.max_concurrent_activities,
            executor=settings.activity_executor,
            threads=settings.activity_threads,
            shared_state=settings.shared_state_manager,
            rates=settings.activity_rates,
            eager=settings.eager_activities,
            finished=self._finished,
            freed=lambda: self._poller.due(0),
            broken=self._fail,
        )
        self._runs = Runs(
            database,
            registry,
            stepping,
            self._stepper,
            Encoding(client.data_converter, client.config()["header_codec_behavior"]),
            self._activities,
            worker_id=self.worker_id,
            cached_max=settings.max_cached_workflows,
            namespace=client.namespace,
            look_again=lambda: self._poller.due(0),
            run_errands=self._run_errands,
        )
        self._errands = Errands(
            client, self._runs.answer, lambda run_id: self._tasks.start_soon(self._errands.work, run_id)
        )
        queues = (settings.task_queue,)
        self._workflow_queues = (
            *(queues if registry.has_workflows else ()),
            *((hidden(settings.task_queue),) if registry.all_activities else ()),
        )
        self._poller = Poller(
            database,
            self._runs,
            self._activities,
            worker_id=self.worker_id,
            namespace=client.namespace,
            workflow_queues=self._workflow_queues,
            activity_queues=queues if registry.all_activities and not settings.no_remote_activities else (),
            dead=self._die,
        )
        self._info = WorkerInfo(
            worker_id=self.worker_id,
            namespace=client.namespace,
            identity=settings.identity,
            host=socket.gethostname(),
            pid=os.getpid(),
            lease_us=settings.lease_us,
        )
        self._lease = Lease(database.store, host, self._info, self._renewed)
        self._ready = ready
        self._accepting = False
        self._dead = False
        self._failing = failing
        self._failure: BaseException | None = None
        self._over = asyncio.Event()
        self._strangers: set[AttemptToken] = set()

    def end(self) -> None:
        """Stop, and hand everything back."""
        self._over.set()

    async def live(self) -> bool:
        """Work. True when it was ended, False when the worker was declared dead (begin a new life then).

        RuntimeError when it can't go on.
        """
        store = self._database.store
        await store.register(self._info)
        stop_listening = self._database.listen(self._poller.due)
        self._database.starters.append(self)
        self._lease.begin()
        try:
            await store.unpark(self._namespace, self._workflow_queues, self.worker_id)
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self._runs.work)
                polling = anyio.CancelScope()
                tasks.start_soon(self._poll, polling)
                tasks.start_soon(self._tick)
                self._accepting = True
                self._ready()
                await self._over.wait()
                self._accepting = False
                polling.cancel()
                if self._failure is not None:
                    await self._failing(self._failure)
                if self._dead:
                    self._activities.drop()
                else:
                    await self._activities.stop(self._settings.graceful_shutdown_timeout)
                await self._errands.stop()
                await self._runs.stop()
                if not self._dead:
                    await self._activities.told_all()
                tasks.cancel_scope.cancel()
        finally:
            self._accepting = False
            stop_listening()
            self._database.starters.remove(self)
            with anyio.CancelScope(shield=True):
                await self._lease.end()
                await self._hand_back()
            self._stepper.close()
        if self._failure is not None:
            raise self._failure
        return not self._dead

    # -- a start's first workflow task (Starter)

    def takes(self, request: StartRequest) -> bool:
        return (
            self._accepting
            and request.namespace == self._namespace
            and request.task_queue in self._workflow_queues
            and not request.start_delay_us
            and not request.cron_schedule
            and request.message is None
            and request.conflict_policy in (IdConflictPolicy.UNSPECIFIED, IdConflictPolicy.FAIL)
            and self._runs.takes(request)
        )

    async def start(self, request: StartRequest, run_id: str) -> Outcome:
        return await self._runs.start(request, run_id)

    def owns(self, run_id: str) -> bool:
        return self._accepting and self._runs.owns(run_id)

    def quiet_until(self) -> int | None:
        if not self._runs.is_quiet or self._activities.at_work or self._errands.at_work:
            return None
        return self._poller.quiet_until()

    # -- the inside

    async def _hand_back(self) -> None:
        await self._runs.evict_all()
        if self._dead:
            return
        try:
            await self._database.store.release(self.worker_id)
        except HistoryError as error:
            logger.warning("worker %s could not hand its work back; its lease will run out: %s", self.worker_id, error)

    async def _poll(self, polling: anyio.CancelScope) -> None:
        with polling:
            await self._poller.work()

    async def _tick(self) -> None:
        while True:
            self._lease.tick(max(self._poller.stalled_for, self._database.stalled_for))
            await anyio.sleep(TICK)

    def _renewed(self, renewal: Renewal) -> None:
        if not renewal.alive:
            self._die()
            return
        if renewal.died:
            logger.warning("took over from dead workers: %s", ", ".join(renewal.died))
            self._poller.due(0)
        if self._accepting:
            self._note_strangers(renewal.attempts)

    def _note_strangers(self, booked: Sequence[AttemptToken]) -> None:
        """Attempts booked on this worker that it does not run, twice in a row: the reply of their claim was lost."""
        unknown = {token for token in booked if not self._activities.holds(token) and not self._poller.claiming}
        for token in [token for token in booked if token in unknown & self._strangers]:
            self._tasks.start_soon(self._adopt, token)
        self._strangers = unknown
        self._activities.compare(booked)

    async def _adopt(self, token: AttemptToken) -> None:
        """Take up an attempt that only the store knows of.

        To hand it back would do harm: this worker could claim it anew under the very same token, and a hand-back that
        is sent again, because its reply was lost, would then take away what is running.
        """
        try:
            tasks = await self._database.store.tasks(token.run_id)
        except HistoryError as error:
            logger.warning("looking for an attempt of run %s failed: %s", token.run_id, error)
            return  # a later renewal finds it again
        for task in tasks:
            is_unknown = attempts.token(task) == token and not self._activities.holds(token)
            if is_unknown and self._accepting and self._activities.free:
                self._activities.take(task)

    def _finished(self, task: ActivityTask, outcome: ActivityOutcome) -> None:
        self._runs.finished(task, outcome)

    def _run_errands(self, run_id: str, state: State, errands: Sequence[Errand]) -> None:
        self._errands.run(run_id, state, errands)

    def _fail(self, cause: BrokenExecutor) -> None:
        """Sync activities can't run any more: the program must know, and another worker take over."""
        if self._failure is None:
            logger.error("the pool of activity_executor is broken, so the worker ends: %s", cause)
            self._failure = RuntimeError("Activity worker failed")
            self._failure.__cause__ = cause
            self._over.set()

    def _die(self) -> None:
        if not self._over.is_set():
            logger.warning("worker %s was declared dead; it drops its work and begins anew", self.worker_id)
            self._dead = True
            self._over.set()
