"""The client: start workflows, get hold of them, look for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypedDict, TypeVar, Unpack, overload

from durable.client.async_activity import AsyncActivityHandle
from durable.client.beginning import begin_as_it_is
from durable.client.build_ids import (
    BuildIdOp,
    TaskReachabilityType,
    WorkerBuildIdVersionSets,
    WorkerTaskReachability,
)
from durable.client.connection import Connection
from durable.client.counting import WorkflowExecutionCount
from durable.client.description import WorkflowExecutionStatus
from durable.client.handle import WorkflowHandle
from durable.client.inputs import (
    CountWorkflowsInput,
    GetWorkerBuildIdCompatibilityInput,
    GetWorkerTaskReachabilityInput,
    ListWorkflowsInput,
    StartWorkflowInput,
    StartWorkflowUpdateWithStartInput,
    UpdateWithStartUpdateWorkflowInput,
    UpdateWorkerBuildIdCompatibilityInput,
)
from durable.client.joining import Transactional, carrier
from durable.client.listing import WorkflowExecutionAsyncIterator
from durable.client.pending import AsyncActivityIDReference
from durable.client.standalone import ActivityClient
from durable.client.updates import WorkflowUpdateHandle, WorkflowUpdateStage
from durable.client.with_start import WithStartWorkflowOperation
from durable.common import (
    DEFAULT_TASK_QUEUE,
    Priority,
    RetryPolicy,
    VersioningOverride,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from durable.converter.search_attributes import warn_of_untyped
from durable.history.beginning import StartRequest
from durable.history.transition import Committed
from durable.search_attributes import SearchAttributes, TypedSearchAttributes
from durable.workflow.calls import UNSET, arguments
from durable.workflow.definition import WorkflowDefinition
from durable.workflow.handlers import Kind, handler_name

R = TypeVar("R")


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
    rpc_metadata: Mapping[str, str | bytes]
    rpc_timeout: timedelta | None
    request_eager_start: bool
    versioning_override: VersioningOverride | None
    priority: Priority
    session: Transactional | None
    stack_level: int


class Client(Connection, ActivityClient):
    """A connection to a database of workflows. Make one with `connect`; close it, or use it as ``async with``.

    It belongs to the event loop and the process in which it was connected; a process forked from that one needs its
    own. Clients may share a connection: ``Client(**{**client.config(), "namespace": "other"})``; closing any of them
    closes it.
    """

    @overload
    async def start_workflow(
        self, workflow: Callable[..., Awaitable[R]], arg: Any = ..., *, id: str, **options: Unpack[StartOptions]
    ) -> WorkflowHandle[Any, R]: ...

    @overload
    async def start_workflow(
        self, workflow: str, arg: Any = ..., *, id: str, **options: Unpack[StartOptions]
    ) -> WorkflowHandle[Any, Any]: ...

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
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
        request_eager_start: bool = False,
        versioning_override: VersioningOverride | None = None,
        priority: Priority = Priority.default,
        session: Transactional | None = None,
        stack_level: int = 2,
    ) -> WorkflowHandle[Any, Any]:
        """Start a workflow: its function, its class's run method, or its name. It is durable when this returns.

        ``id`` is unique among the open workflows of the namespace: the policies say what happens when it is in use
        (by default `WorkflowAlreadyStartedError`). The same ``request_id`` starts it once, however often it is sent.
        ``arg`` is its one argument, or ``args`` all of them, and ``kwargs`` more by name; they must be convertible
        (`ConversionError`). Its code runs on a worker of ``task_queue``, from ``start_delay`` on. ``priority`` is that
        of its activities that say nothing else.

        With ``start_signal`` the workflow is started with a signal in its inbox; one that is running is only signalled.

        Once it has taken ``run_timeout``, or all its runs together ``execution_timeout``, it is timed out, without its
        code being asked. A run that fails or times out is tried again by ``retry_policy``; without one, never. With
        ``cron_schedule`` (``0 12 * * MON-FRI``, ``@every 1h30m``, ``CRON_TZ=Europe/Berlin 30 2 * * *``; UTC by default)
        runs follow each other for ever, each at the next match after the end of the one before, until it is cancelled
        or terminated. ``memo`` and ``search_attributes`` go with all its runs, ``static_summary`` (a line) and
        ``static_details`` (Markdown) too; `WorkflowHandle.describe` shows them. A duration of zero is none; a negative
        one, a retry policy that makes no sense and a schedule that never matches are refused (ValueError; that of a
        schedule is an `RPCError` INVALID_ARGUMENT as well). The untyped form of search attributes, a dict of lists, is
        deprecated; ``stack_level`` says where the warning points.

        With ``session``, SQLAlchemy's AsyncSession, Session, AsyncConnection or Connection on the engine's own
        database, the start is a part of the caller's transaction: the workflow exists if and only if that commits, and
        workers wake then. Nothing is committed here. ValueError for a session of another database, TypeError for what
        is no session.

        `RPCError` DEADLINE_EXCEEDED when ``rpc_timeout`` is over first; it may be started all the same. A start is as
        eager as it can be, always; runs keep to no version: ``request_eager_start`` and ``versioning_override`` are
        accepted, and ignored.
        """
        definition = None if isinstance(workflow, str) else WorkflowDefinition.to_invoke(workflow)
        if result_type is None and definition is not None:
            result_type = definition.signature.return_hint
        warn_of_untyped(search_attributes, stack_level)
        return await self.outbound.start_workflow(
            StartWorkflowInput(
                workflow=workflow if definition is None else definition.name,
                args=list(arguments(arg, args)),
                id=id,
                task_queue=task_queue,
                execution_timeout=execution_timeout,
                run_timeout=run_timeout,
                task_timeout=task_timeout,
                id_reuse_policy=id_reuse_policy,
                id_conflict_policy=id_conflict_policy,
                retry_policy=retry_policy,
                cron_schedule=cron_schedule,
                memo=memo,
                search_attributes=search_attributes,
                start_delay=start_delay,
                headers={},
                start_signal=start_signal,
                start_signal_args=start_signal_args,
                static_summary=static_summary,
                static_details=static_details,
                ret_type=result_type,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                request_eager_start=request_eager_start,
                priority=priority,
                versioning_override=versioning_override,
                kwargs=kwargs,
                request_id=request_id,
                definition=definition,
                session=carrier(session),
            )
        )

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
        """`start_workflow`, and wait for its result: see `WorkflowHandle.result`. ``rpc_timeout`` is for each.

        ValueError with a ``session``: before that commits there is no result, and waiting for it would never end.
        """
        if options.get("session") is not None:
            raise ValueError("execute_workflow takes no session: start_workflow, commit, and wait for the result then")
        options["stack_level"] = options.get("stack_level", 2) + 1
        handle = await self.start_workflow(workflow, arg, id=id, **options)
        return await handle.result(rpc_timeout=options.get("rpc_timeout"))

    def get_workflow_handle(
        self,
        workflow_id: str,
        *,
        run_id: str | None = None,
        first_execution_run_id: str | None = None,
        result_type: Any = None,
    ) -> WorkflowHandle[Any, Any]:
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
    ) -> WorkflowHandle[Any, R]:
        """Like `get_workflow_handle`, with the result type of the workflow: its function, or its class's run method."""
        return self.get_workflow_handle(
            workflow_id,
            run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=WorkflowDefinition.must_be(workflow).signature.return_hint,
        )

    def get_async_activity_handle(
        self,
        *,
        workflow_id: str | None = None,
        run_id: str | None = None,
        activity_id: str | None = None,
        task_token: bytes | None = None,
    ) -> AsyncActivityHandle:
        """A handle to heartbeat for an activity and to end it, from any process; nothing is asked or checked.

        Either ``task_token``, which an attempt finds in ``activity.info().task_token`` and which names it alone; or
        ``workflow_id`` and ``activity_id``, and ``run_id`` if it is not the latest run; or, of an activity that a
        client has started by itself, ``activity_id`` and its ``run_id``. ValueError otherwise.
        """
        ids = (workflow_id, run_id, activity_id)
        if task_token is not None:
            if any(each is not None for each in ids):
                raise ValueError("Cannot have task_token with workflow_id, run_id or activity_id")
            return AsyncActivityHandle(self, task_token)
        if not activity_id or not (workflow_id or (workflow_id is None and run_id)):
            raise ValueError(
                "Must have task_token, or workflow_id and activity_id, or activity_id and run_id of an activity "
                "without a workflow"
            )
        return AsyncActivityHandle(self, AsyncActivityIDReference(workflow_id, run_id, activity_id))

    async def execute_update_with_start_workflow(
        self,
        update: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        start_workflow_operation: WithStartWorkflowOperation[Any, Any],
        args: Sequence[Any] = (),
        id: str | None = None,
        result_type: Any = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
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
            rpc_metadata=rpc_metadata,
            rpc_timeout=rpc_timeout,
        )
        return await handle.result(rpc_metadata=rpc_metadata, rpc_timeout=rpc_timeout)

    async def start_update_with_start_workflow(
        self,
        update: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        start_workflow_operation: WithStartWorkflowOperation[Any, Any],
        wait_for_stage: WorkflowUpdateStage,
        args: Sequence[Any] = (),
        id: str | None = None,
        result_type: Any = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowUpdateHandle[Any]:
        """Start a workflow with an update in its inbox, or send the update to the one that is running.

        The operation's conflict policy says which; its ``workflow_handle()`` is the workflow's. An update with this
        ``id`` that the workflow knows already is found again, whatever the policies. See `WorkflowHandle.start_update`.
        """
        operation = start_workflow_operation
        name, definition = handler_name(update, Kind.UPDATE)
        if result_type is None and definition is not None:
            result_type = definition.signature.return_hint
        input = StartWorkflowUpdateWithStartInput(
            start_workflow_input=operation.use(),
            update_workflow_input=UpdateWithStartUpdateWorkflowInput(
                update_id=id,
                update=name,
                args=list(arguments(arg, args)),
                wait_for_stage=wait_for_stage,
                headers={},
                ret_type=result_type,
                definition=definition,
            ),
            rpc_metadata=rpc_metadata,
            rpc_timeout=rpc_timeout,
            _on_start=operation.settle,
            _on_start_error=operation.settle,
        )
        try:
            handle = await self.outbound.start_update_with_start_workflow(input)
        except BaseException as error:
            operation.settle(error)
            raise
        # If an interceptor has answered by itself, this is how the operation learns of it.
        operation.settle(self.get_workflow_handle(handle.workflow_id, run_id=handle.workflow_run_id))
        return handle

    def list_workflows(
        self,
        query: str | None = None,
        *,
        status: WorkflowExecutionStatus | None = None,
        limit: int | None = None,
        page_size: int = 1000,
        next_page_token: bytes | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowExecutionAsyncIterator:
        """The runs of the namespace, newest first, fetched in pages as they are walked.

        ``query`` is Temporal's list filter: ``WorkflowType = 'order' AND CustomerId = 'c-7' ORDER BY CloseTime DESC``,
        with all its operators; what was committed before is in the list. `RPCError` INVALID_ARGUMENT for one that can't
        be understood (it says why; with search attributes when the first page is fetched), DEADLINE_EXCEEDED when the
        database takes longer than 20 s for a page. ``next_page_token``, of an earlier list with the same query, says
        where to go on; ``rpc_timeout`` is for each page.
        """
        return self.outbound.list_workflows(
            ListWorkflowsInput(query, page_size, next_page_token, rpc_metadata, rpc_timeout, limit, status=status)
        )

    async def count_workflows(
        self,
        query: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowExecutionCount:
        """How many runs of the namespace pass ``query``, which `list_workflows` explains.

        With ``GROUP BY ExecutionStatus`` at its end, or another attribute that is no text and no list, also how many of
        each (1,000 groups at most). `RPCError` as `list_workflows` raises it.
        """
        return await self.outbound.count_workflows(CountWorkflowsInput(query, rpc_metadata, rpc_timeout))

    async def update_worker_build_id_compatibility(
        self,
        task_queue: str,
        operation: BuildIdOp,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Raises `RPCError` UNIMPLEMENTED: no work is routed by build id."""
        await self.outbound.update_worker_build_id_compatibility(
            UpdateWorkerBuildIdCompatibilityInput(task_queue, operation, rpc_metadata, rpc_timeout)
        )

    async def get_worker_build_id_compatibility(
        self,
        task_queue: str,
        max_sets: int | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> WorkerBuildIdVersionSets:
        """Raises `RPCError` UNIMPLEMENTED: no work is routed by build id."""
        return await self.outbound.get_worker_build_id_compatibility(
            GetWorkerBuildIdCompatibilityInput(task_queue, max_sets, rpc_metadata, rpc_timeout)
        )

    async def get_worker_task_reachability(
        self,
        build_ids: Sequence[str],
        task_queues: Sequence[str] = [],
        reachability_type: TaskReachabilityType | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> WorkerTaskReachability:
        """Raises `RPCError` UNIMPLEMENTED: no work is routed by build id."""
        return await self.outbound.get_worker_task_reachability(
            GetWorkerTaskReachabilityInput(build_ids, task_queues, reachability_type, rpc_metadata, rpc_timeout)
        )

    def started_handle(
        self, id: str, run_id: str, result_type: Any, *, first_execution_run_id: str | None
    ) -> WorkflowHandle[Any, Any]:
        """The handle of a workflow that this client has just started. For the client's own modules."""
        return WorkflowHandle(
            self,
            id,
            result_run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=result_type,
        )

    async def begin(self, request: StartRequest) -> Committed:
        """Start it as it is, by its policies: `WorkflowAlreadyStartedError` if they refuse. For the worker."""
        return await begin_as_it_is(self, request)
