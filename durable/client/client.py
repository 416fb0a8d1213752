"""The client: connect to a database, start workflows, get hold of them."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, TypedDict, TypeVar, Unpack, overload

import msgspec

from durable.client import updates
from durable.client.description import WorkflowExecutionStatus
from durable.client.filter import parse
from durable.client.handle import RESEND_MAX, WorkflowHandle, termination
from durable.client.listing import WorkflowExecutionAsyncIterator
from durable.client.starting import start_request
from durable.client.updates import WorkflowUpdateHandle, WorkflowUpdateStage
from durable.client.with_start import WithStartWorkflowOperation, signal_with_start, update_with_start
from durable.common import DEFAULT_TASK_QUEUE, Priority, RetryPolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.converter import DataConverter
from durable.converter.search_attributes import given_search_attributes
from durable.exceptions import WorkflowAlreadyStartedError
from durable.history import rules
from durable.history.database import Database
from durable.history.errors import UnknownOutcome
from durable.history.host import Machine
from durable.history.rules import StartRequest
from durable.history.stores import open_store
from durable.history.transition import Committed, Outcome, Refusal, Refused, Transition
from durable.history.values import IdConflictPolicy, IdReusePolicy
from durable.search_attributes import SearchAttributes, TypedSearchAttributes
from durable.workflow.calls import UNSET, arguments
from durable.workflow.definition import WorkflowDefinition

R = TypeVar("R")

DEFAULT_ADDRESS = "sqlite:///durable.db"


class StartOptions(TypedDict, total=False):
    """The options of `Client.start_workflow`, which says what they mean."""

    args: Sequence[Any]
    kwargs: Mapping[str, Any] | None
    task_queue: str
    result_type: Any
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: WorkflowIDReusePolicy
    id_conflict_policy: WorkflowIDConflictPolicy
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | SearchAttributes | None
    static_summary: str | None
    static_details: str | None
    start_delay: timedelta | None
    request_id: str | None
    start_signal: str | None
    start_signal_args: Sequence[Any]
    priority: Priority
    stack_level: int


class Client:
    """A connection to a database of workflows. Make one with `connect`; close it, or use it as ``async with``.

    It belongs to the event loop and the process in which it was connected; a process forked from that one needs its
    own. ``failure_exception_types`` are exceptions that fail a workflow, besides Temporal's, on every worker of this
    client.
    """

    def __init__(
        self,
        database: Database,
        *,
        namespace: str = "default",
        data_converter: DataConverter = DataConverter.default,
        identity: str | None = None,
        failure_exception_types: Sequence[type[BaseException]] = (),
    ) -> None:
        self.failure_exception_types = tuple(failure_exception_types)
        self._database = database
        self.namespace = namespace
        self.data_converter = data_converter
        self.identity = identity or f"{os.getpid()}@{socket.gethostname()}"

    @property
    def database(self) -> Database:
        """What the client speaks to. Raises `StoreUnavailable` in a process that was forked since it was connected."""
        self._database.check_process()
        return self._database

    @staticmethod
    async def connect(
        target_host: str | None = None,
        *,
        namespace: str = "default",
        data_converter: DataConverter = DataConverter.default,
        identity: str | None = None,
        failure_exception_types: Sequence[type[BaseException]] = (),
    ) -> Client:
        """Open the database at ``target_host``, an URL; a new SQLite file gets its tables by itself.

        ``sqlite:///app.db`` is a file in the working directory, ``sqlite:////var/lib/app.db`` one by its full path,
        ``sqlite://`` one that is gone when the client is closed. The default is the environment's ``DURABLE_ADDRESS``,
        else ``sqlite:///durable.db``. Raises `StoreUnavailable` with what is wrong and what to do.
        """
        host = Machine()
        store = open_store(target_host or os.environ.get("DURABLE_ADDRESS") or DEFAULT_ADDRESS, host)
        database = await Database(store, host).open()
        return Client(
            database,
            namespace=namespace,
            data_converter=data_converter,
            identity=identity,
            failure_exception_types=failure_exception_types,
        )

    async def close(self) -> None:
        """Commit what waits, and let go of the database. Close workers first."""
        await self.database.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @overload
    async def start_workflow(
        self, workflow: Callable[..., Awaitable[R]], arg: Any = ..., *, id: str, **options: Unpack[StartOptions]
    ) -> WorkflowHandle[R]: ...

    @overload
    async def start_workflow(
        self, workflow: str, arg: Any = ..., *, id: str, **options: Unpack[StartOptions]
    ) -> WorkflowHandle[Any]: ...

    async def start_workflow(
        self,
        workflow: Any,
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        id: str,
        task_queue: str = DEFAULT_TASK_QUEUE,
        result_type: Any = None,
        execution_timeout: timedelta | None = None,
        run_timeout: timedelta | None = None,
        task_timeout: timedelta | None = None,
        id_reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        id_conflict_policy: WorkflowIDConflictPolicy = WorkflowIDConflictPolicy.UNSPECIFIED,
        retry_policy: RetryPolicy | None = None,
        cron_schedule: str = "",
        memo: Mapping[str, Any] | None = None,
        search_attributes: TypedSearchAttributes | SearchAttributes | None = None,
        static_summary: str | None = None,
        static_details: str | None = None,
        start_delay: timedelta | None = None,
        request_id: str | None = None,
        start_signal: str | None = None,
        start_signal_args: Sequence[Any] = (),
        priority: Priority = Priority.default,
        stack_level: int = 2,
    ) -> WorkflowHandle[Any]:
        """Start a workflow: its function, its class's run method, or its name. It is durable when this returns.

        ``id`` is unique among the open workflows of the namespace: the policies say what happens when it is in use
        (by default `WorkflowAlreadyStartedError`). The same ``request_id`` starts it once, however often it is sent.
        ``arg`` is its one argument, or ``args`` all of them, and ``kwargs`` more by name; they must be convertible
        (`ConversionError`). Its code runs on a worker of ``task_queue``, from ``start_delay`` on.

        With ``start_signal`` the workflow is started with a signal in its inbox; one that is running is only signalled.

        Once it has taken ``run_timeout``, or all its runs together ``execution_timeout``, it is timed out, without its
        code being asked. A run that fails or times out is tried again by ``retry_policy``; without one, never. With
        ``cron_schedule`` ("0 12 * * MON-FRI", "@every 1h30m", "CRON_TZ=Europe/Berlin 30 2 * * *"; UTC by default) runs
        follow each other for ever, each at the next match after the end of the one before, until it is cancelled or
        terminated. ``memo`` and ``search_attributes`` go with all its runs, ``static_summary`` (a line) and
        ``static_details`` (Markdown) too; `WorkflowHandle.describe` shows them. A duration of zero is none; a negative
        one, a retry policy that makes no sense and a schedule that never matches are refused (ValueError; that of a
        schedule is an `RPCError` INVALID_ARGUMENT as well). The untyped form of search attributes, a dict of lists, is
        deprecated; ``stack_level`` says where the warning points.
        """
        request, result_type = start_request(
            self,
            workflow,
            arguments(arg, args),
            kwargs=kwargs,
            id=id,
            task_queue=task_queue,
            result_type=result_type,
            execution_timeout=execution_timeout,
            run_timeout=run_timeout,
            task_timeout=task_timeout,
            id_reuse_policy=id_reuse_policy,
            id_conflict_policy=id_conflict_policy,
            retry_policy=retry_policy,
            cron_schedule=cron_schedule,
            memo=memo,
            search_attributes=given_search_attributes(search_attributes, stack_level),
            static_summary=static_summary,
            static_details=static_details,
            start_delay=start_delay,
            request_id=request_id,
            priority=priority,
        )
        if start_signal is not None:
            return await signal_with_start(self, request, start_signal, start_signal_args, result_type)
        run_id = (await self.begin(request)).run_id
        return self.started_handle(id, run_id, result_type, first_execution_run_id=run_id)

    @overload
    async def execute_workflow(
        self, workflow: Callable[..., Awaitable[R]], arg: Any = ..., *, id: str, **options: Unpack[StartOptions]
    ) -> R: ...

    @overload
    async def execute_workflow(
        self, workflow: str, arg: Any = ..., *, id: str, **options: Unpack[StartOptions]
    ) -> Any: ...

    async def execute_workflow(
        self, workflow: Any, arg: Any = UNSET, *, id: str, **options: Unpack[StartOptions]
    ) -> Any:
        """`start_workflow`, and wait for its result: see `WorkflowHandle.result`."""
        options["stack_level"] = options.get("stack_level", 2) + 1
        handle = await self.start_workflow(workflow, arg, id=id, **options)
        return await handle.result()

    def get_workflow_handle(
        self,
        workflow_id: str,
        *,
        run_id: str | None = None,
        first_execution_run_id: str | None = None,
        result_type: Any = None,
    ) -> WorkflowHandle[Any]:
        """A handle on a workflow by its id; nothing is asked or checked. ``run_id`` None is its latest run."""
        return WorkflowHandle(
            self,
            workflow_id,
            run_id=run_id,
            result_run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=result_type,
        )

    def get_workflow_handle_for(
        self,
        workflow: Callable[..., Awaitable[R]],
        workflow_id: str,
        *,
        run_id: str | None = None,
        first_execution_run_id: str | None = None,
    ) -> WorkflowHandle[R]:
        """Like `get_workflow_handle`, with the result type of the workflow: its function, or its class's run method."""
        return self.get_workflow_handle(
            workflow_id,
            run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=WorkflowDefinition.must_be(workflow).signature.return_hint,
        )

    async def execute_update_with_start_workflow(
        self,
        update: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        start_workflow_operation: WithStartWorkflowOperation[Any],
        args: Sequence[Any] = (),
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: timedelta | None = None,
    ) -> Any:
        """`start_update_with_start_workflow`, and wait for the update's result."""
        handle = await self.start_update_with_start_workflow(
            update,
            arg,
            start_workflow_operation=start_workflow_operation,
            wait_for_stage=WorkflowUpdateStage.COMPLETED,
            args=args,
            id=id,
            result_type=result_type,
            rpc_timeout=rpc_timeout,
        )
        return await handle.result(rpc_timeout=rpc_timeout)

    async def start_update_with_start_workflow(
        self,
        update: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        start_workflow_operation: WithStartWorkflowOperation[Any],
        wait_for_stage: WorkflowUpdateStage,
        args: Sequence[Any] = (),
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowUpdateHandle[Any]:
        """Start a workflow with an update in its inbox, or send the update to the one that is running.

        The operation's conflict policy says which; its ``workflow_handle()`` is the workflow's. An update with this
        ``id`` that the workflow knows already is found again, whatever the policies. See `WorkflowHandle.start_update`.
        """
        return await update_with_start(
            self,
            start_workflow_operation,
            updates.prepare(self, update, arguments(arg, args), id, result_type),
            wait_for_stage,
            rpc_timeout,
        )

    def list_workflows(
        self,
        query: str | None = None,
        *,
        status: WorkflowExecutionStatus | None = None,
        limit: int | None = None,
        page_size: int = 1000,
        next_page_token: bytes | None = None,
    ) -> WorkflowExecutionAsyncIterator:
        """The runs of the namespace, newest first, fetched in pages as they are walked.

        ``query`` is Temporal's list filter: ``WorkflowType = 'order' AND ExecutionStatus IN ('Running', 'Failed')``.
        `RPCError` INVALID_ARGUMENT for one that can't be understood; it says what can. ``next_page_token``, of an
        earlier list, says where to go on.
        """
        return WorkflowExecutionAsyncIterator(
            self, parse(query or ""), status=status, limit=limit, page_size=page_size, next_page_token=next_page_token
        )

    def started_handle(
        self, id: str, run_id: str, result_type: Any, *, first_execution_run_id: str | None
    ) -> WorkflowHandle[Any]:
        """The handle of a workflow that this client has just started. For the client's own modules."""
        return WorkflowHandle(
            self,
            id,
            result_run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=result_type,
        )

    async def begin(self, request: StartRequest) -> Committed:
        """Start it, by its policies: `WorkflowAlreadyStartedError` if they refuse. For the client's own modules."""
        lost, alone = 0, False
        while True:
            try:
                outcome = await self._submit_start(request, alone)
            except UnknownOutcome:
                # Its request id makes it happen once, however often it is sent.
                lost += 1
                if lost == RESEND_MAX:
                    raise
                continue
            match outcome:
                case Committed():
                    return outcome
                case Refused(reason=Refusal.IN_USE, run=run) if (
                    run is not None and run.closed_us is None and _replacing(request)
                ):
                    replaces = await termination(self, run, "replaced by a new start", [])
                    request = _with(request, replaces)
                case Refused(reason=Refusal.FENCED) if _replacing(request):
                    request = _with(request, None)
                case Refused(reason=Refusal.FENCED) if not alone:
                    alone = True  # the worker of this process that took it has been declared dead
                case Refused(reason=Refusal.IN_USE, run=run):
                    raise WorkflowAlreadyStartedError(
                        request.workflow_id, request.workflow_type, run_id=run.run_id if run else None
                    )
                case Refused(reason=reason, detail=detail):
                    raise ValueError(f"the database refuses to start {request.workflow_id!r}: {reason.value} {detail}")

    async def _submit_start(self, request: StartRequest, alone: bool) -> Outcome:
        """With its first workflow task by a worker of this process, unless ``alone``."""
        store = self.database.store
        run_id = store.new_id()
        for starter in self.database.starters:
            if not alone and starter.takes(request):
                return await starter.start(request, run_id)
        return await self.database.write(rules.start(request, run_id, store.now_us()).transition)


def _replacing(request: StartRequest) -> bool:
    return (
        request.conflict_policy is IdConflictPolicy.TERMINATE_EXISTING
        or request.reuse_policy is IdReusePolicy.TERMINATE_IF_RUNNING
    )


def _with(request: StartRequest, replaces: Transition | None) -> StartRequest:
    return msgspec.structs.replace(request, replaces=replaces)
