"""Runs the errands of a worker's runs: what they have to do at other runs, after the commit that asks for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import anyio

from durable.client import Client
from durable.client.termination import end
from durable.exceptions import WorkflowAlreadyStartedError
from durable.history import codec
from durable.history.beginning import StartRequest
from durable.history.errands import Errand, StartChild, Tell, Terminate
from durable.history.errors import HistoryError
from durable.history.messages import ChildClosed, ChildStarted, ChildStartFailed, Message, RequestAnswered
from durable.history.state import State, fold
from durable.history.transition import Committed, RunInfo, Send, Transition
from durable.history.values import StartChildFailedCause
from durable.service import RPCError, RPCStatusCode

logger = logging.getLogger("durable.worker")

Answer = Callable[[str, Message], None]
Spawn = Callable[[str], object]

BY_PARENT = "by parent close policy"


class Errands:
    """The batches of one run are run one after the other; what a batch does at different workflows, at once.

    What fails because the database is away is left to the reminder in the run's inbox. ``answer`` takes what a run is
    to learn; ``spawn`` begins `work` for a run, beside everything else.
    """

    def __init__(self, client: Client, answer: Answer, spawn: Spawn) -> None:
        self._client = client
        self._answer = answer
        self._spawn = spawn
        self._waiting: dict[str, list[tuple[State, Sequence[Errand]]]] = {}
        self._idle = anyio.Event()
        self._idle.set()

    @property
    def at_work(self) -> bool:
        return bool(self._waiting)

    async def stop(self) -> None:
        """Until all that was begun is done, or left to the reminders."""
        await self._idle.wait()

    def run(self, run_id: str, state: State, errands: Sequence[Errand]) -> None:
        """``state`` is the run's, as committed."""
        if run_id in self._waiting:
            self._waiting[run_id].append((state, errands))
            return
        if not self._waiting:
            self._idle = anyio.Event()
        self._waiting[run_id] = [(state, errands)]
        self._spawn(run_id)

    async def work(self, run_id: str) -> None:
        """Do what waits for this run."""
        try:
            while batches := self._waiting[run_id]:
                state, errands = batches.pop(0)
                try:
                    await self._batch(run_id, state, errands)
                except* (HistoryError, RPCError) as group:
                    for error in group.exceptions:
                        logger.warning("run %s could not reach another run; it tries again: %s", run_id, error)
                except* Exception as others:  # one run's errand is no reason to stop the worker
                    for other in others.exceptions:
                        logger.error("run %s can't do what it has to do at another run", run_id, exc_info=other)
        finally:
            del self._waiting[run_id]
            if not self._waiting:
                self._idle.set()

    async def _batch(self, run_id: str, state: State, errands: Sequence[Errand]) -> None:
        by_target: dict[str, list[Errand]] = {}
        for errand in errands:
            by_target.setdefault(errand.target, []).append(errand)
        async with anyio.create_task_group() as tasks:
            for of_target in by_target.values():
                tasks.start_soon(self._in_order, run_id, of_target)
        if state.ended is not None:
            # Nothing is left to be reminded of. (A closed run has no answers to wait for.)
            await self._client.database.write(
                Transition(
                    run_id=run_id,
                    last_event_id=state.last_event_id,
                    any_owner=True,
                    taken_back=(state.ended.id,),
                )
            )

    async def _in_order(self, run_id: str, errands: Sequence[Errand]) -> None:
        for errand in errands:
            match errand:
                case StartChild():
                    await self._start(run_id, errand)
                case Tell():
                    await self._tell(run_id, errand)
                case Terminate():
                    await self._terminate(errand)

    async def _start(self, run_id: str, errand: StartChild) -> None:
        initiated = errand.initiated
        request = StartRequest(
            namespace=initiated.namespace,
            workflow_id=initiated.workflow_id,
            workflow_type=initiated.workflow_type,
            task_queue=initiated.task_queue,
            input=initiated.input,
            request_id=errand.request_id,
            identity=self._client.identity,
            header=initiated.header,
            task_timeout_us=initiated.workflow_task_timeout_us,
            execution_timeout_us=initiated.workflow_execution_timeout_us,
            run_timeout_us=initiated.workflow_run_timeout_us,
            retry_policy=initiated.retry_policy,
            cron_schedule=initiated.cron_schedule,
            memo=initiated.memo,
            search_attributes=initiated.search_attributes,
            priority=initiated.priority,
            user_metadata=initiated.user_metadata,
            reuse_policy=initiated.workflow_id_reuse_policy,
            parent_namespace=initiated.namespace,
            parent=errand.parent,
            parent_initiated_event_id=initiated.id,
            root=errand.root,
        )
        try:
            child = await self._client.begin(request)
        except WorkflowAlreadyStartedError:
            cause = StartChildFailedCause.WORKFLOW_ALREADY_EXISTS
            self._answer(run_id, ChildStartFailed(initiated_event_id=initiated.id, cause=cause))
        else:
            self._answer(run_id, ChildStarted(initiated_event_id=initiated.id, run_id=child.run_id))

    async def _tell(self, run_id: str, errand: Tell) -> None:
        found = False
        if not errand.nobody:
            database = self._client.database
            send = Send(
                namespace=self._client.namespace,
                workflow_id=errand.to.workflow_id,
                run_id=errand.to.run_id or None,
                first_execution_run_id=errand.first_execution_run_id or None,
                message=codec.pack(errand.message, database.store.now_us()),
            )
            found = isinstance(await database.write(send), Committed)
        found = found or await self._was_read(errand)
        if errand.initiated_event_id:
            self._answer(run_id, RequestAnswered(initiated_event_id=errand.initiated_event_id, found=found))

    async def _was_read(self, errand: Tell) -> bool:
        """Is it a repetition, of what the other run has read before it was closed?"""
        message, store = errand.message, self._client.database.store
        if isinstance(message, ChildClosed):
            return False
        run = await store.find(self._client.namespace, errand.to.workflow_id, errand.to.run_id or None)
        if run is None:
            return False
        state = fold(State(), codec.decode_history(await store.history(run.run_id)))
        return message.request_id in state.request_ids

    async def _terminate(self, errand: Terminate) -> None:
        first_run_id = errand.run_id or await self._started_by(errand)
        if not first_run_id:
            return
        try:
            await end(self._client, errand.workflow_id, None, first_run_id, BY_PARENT)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:  # it is over already
                raise

    async def _started_by(self, errand: Terminate) -> str:
        """The first run of the child that this request has started; "" when it has not."""
        store, namespace = self._client.database.store, self._client.namespace
        latest = await store.find(namespace, errand.workflow_id)
        first: RunInfo | None = latest
        if latest is not None and latest.run_id != latest.first_execution_run_id:
            first = await store.find(namespace, errand.workflow_id, latest.first_execution_run_id)
        return first.run_id if first is not None and first.request_id == errand.request_id else ""
