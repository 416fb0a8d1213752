"""The client: connect to a database, start workflows, get hold of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack, overload

import msgspec

from durable.client import updates
from durable.client.async_activity import AsyncActivityHandle
from durable.client.build_ids import (
    BuildIdOp,
    TaskReachabilityType,
    WorkerBuildIdVersionSets,
    WorkerTaskReachability,
    refused,
)
from durable.client.config import ClientConfig, refuse_interceptors
from durable.client.counting import WorkflowExecutionCount, count
from durable.client.deadline import within
from durable.client.description import WorkflowExecutionStatus
from durable.client.filter import parse
from durable.client.handle import RESEND_MAX, WorkflowHandle, termination
from durable.client.listing import WorkflowExecutionAsyncIterator
from durable.client.pending import AsyncActivityIDReference
from durable.client.plugins import Plugin, configured, connected
from durable.client.standalone import ActivityClient
from durable.client.starting import start_request
from durable.client.updates import WorkflowUpdateHandle, WorkflowUpdateStage
from durable.client.with_start import WithStartWorkflowOperation, signal_with_start, update_with_start
from durable.common import (
    DEFAULT_TASK_QUEUE,
    HeaderCodecBehavior,
    Priority,
    QueryRejectCondition,
    RetryPolicy,
    VersioningOverride,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from durable.converter import DataConverter
from durable.converter.search_attributes import given_search_attributes
from durable.exceptions import WorkflowAlreadyStartedError
from durable.history import beginning
from durable.history.beginning import StartRequest
from durable.history.database import Database
from durable.history.errors import UnknownOutcome
from durable.history.transition import Committed, Outcome, Refusal, Refused, Transition
from durable.history.values import IdConflictPolicy, IdReusePolicy
from durable.runtime import Runtime
from durable.search_attributes import SearchAttributes, TypedSearchAttributes
from durable.service import (
    ConnectConfig,
    DnsLoadBalancingConfig,
    GrpcCompression,
    HttpConnectProxyConfig,
    KeepAliveConfig,
    OperatorService,
    PayloadLimitsConfig,
    RetryConfig,
    ServiceClient,
    TestService,
    TLSConfig,
    WorkflowService,
)
from durable.workflow.calls import UNSET, arguments
from durable.workflow.definition import WorkflowDefinition

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
    stack_level: int


class Client(ActivityClient):
    """A connection to a database of workflows. Make one with `connect`; close it, or use it as ``async with``.

    It belongs to the event loop and the process in which it was connected; a process forked from that one needs its
    own. Clients may share a connection: ``Client(**{**client.config(), "namespace": "other"})``; closing any of them
    closes it.
    """

    def __init__(
        self,
        service_client: ServiceClient | Database,
        *,
        namespace: str = "default",
        data_converter: DataConverter = DataConverter.default,
        plugins: Sequence[Plugin] = (),
        interceptors: Sequence[Any] = (),
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        header_codec_behavior: HeaderCodecBehavior = HeaderCodecBehavior.NO_CODEC,
        identity: str | None = None,
        failure_exception_types: Sequence[type[BaseException]] = (),
    ) -> None:
        """A client on a connection that is there: a `ServiceClient`'s, or a `Database` that is open.

        ``identity`` None is the connection's. ``default_workflow_query_reject_condition`` is what
        `WorkflowHandle.query` refuses runs by. ``failure_exception_types`` are exceptions that fail a workflow, besides
        Temporal's, on every worker of this client.
        """
        if isinstance(service_client, Database):
            service_client = ServiceClient(ConnectConfig("", identity=identity or ""), service_client)
        self._given = ClientConfig(
            service_client=service_client,
            namespace=namespace,
            data_converter=data_converter,
            plugins=plugins,
            interceptors=interceptors,
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            header_codec_behavior=header_codec_behavior,
            identity=identity,
            failure_exception_types=tuple(failure_exception_types),
        )
        self._config = configured(self._given, plugins)
        refuse_interceptors(self._config["interceptors"])

    def config(self, *, active_config: bool = False) -> ClientConfig:
        """A new dict of what this client was made with, for another one that differs: ``Client(**client.config())``.

        With ``active_config`` as the plugins have left it.
        """
        return self._config.copy() if active_config else self._given.copy()

    @property
    def service_client(self) -> ServiceClient:
        """The connection."""
        return self._config["service_client"]

    @property
    def workflow_service(self) -> WorkflowService:
        """Temporal's raw calls; each of them raises `RPCError` UNIMPLEMENTED."""
        return self.service_client.workflow_service

    @property
    def operator_service(self) -> OperatorService:
        """Temporal's raw calls; each of them raises `RPCError` UNIMPLEMENTED."""
        return self.service_client.operator_service

    @property
    def test_service(self) -> TestService:
        """Temporal's raw calls; each of them raises `RPCError` UNIMPLEMENTED."""
        return self.service_client.test_service

    @property
    def namespace(self) -> str:
        """The namespace that all its calls are in."""
        return self._config["namespace"]

    @property
    def identity(self) -> str:
        """Who the histories say it was: ``pid@host`` by default."""
        return self._config["identity"] or self.service_client.config.identity

    @property
    def data_converter(self) -> DataConverter:
        """What it converts values with."""
        return self._config["data_converter"]

    @property
    def failure_exception_types(self) -> tuple[type[BaseException], ...]:
        """The exceptions that fail a workflow, beside `FailureError`, wherever this client is used."""
        return tuple(self._config["failure_exception_types"])

    @property
    def default_workflow_query_reject_condition(self) -> QueryRejectCondition | None:
        """The condition for queries that say none."""
        return self._config["default_workflow_query_reject_condition"]

    @property
    def rpc_metadata(self) -> Mapping[str, str | bytes]:
        """Kept with the connection; a database has no use for it."""
        return self.service_client.config.rpc_metadata

    @rpc_metadata.setter
    def rpc_metadata(self, value: Mapping[str, str | bytes]) -> None:
        self.service_client.update_rpc_metadata(value)

    @property
    def api_key(self) -> str | None:
        """Kept with the connection; a database has no use for it."""
        return self.service_client.config.api_key

    @api_key.setter
    def api_key(self, value: str | None) -> None:
        self.service_client.update_api_key(value)

    @property
    def database(self) -> Database:
        """What the client speaks to. Raises `StoreUnavailable` in a process that was forked since it was connected."""
        return self.service_client.database

    @classmethod
    async def connect(
        cls,
        target_host: str | None = None,
        *,
        namespace: str = "default",
        api_key: str | None = None,
        data_converter: DataConverter = DataConverter.default,
        plugins: Sequence[Plugin] = (),
        interceptors: Sequence[Any] = (),
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        tls: bool | TLSConfig | None = None,
        retry_config: RetryConfig | None = None,
        keep_alive_config: KeepAliveConfig | None = KeepAliveConfig.default,
        connect_timeout: timedelta | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        identity: str | None = None,
        lazy: bool = False,
        runtime: Runtime | None = None,
        http_connect_proxy_config: HttpConnectProxyConfig | None = None,
        dns_load_balancing_config: DnsLoadBalancingConfig | None = None,
        grpc_compression: GrpcCompression = GrpcCompression.GZIP,
        payload_limits: PayloadLimitsConfig = PayloadLimitsConfig(),  # noqa: B008 - frozen
        header_codec_behavior: HeaderCodecBehavior = HeaderCodecBehavior.NO_CODEC,
        failure_exception_types: Sequence[type[BaseException]] = (),
    ) -> Self:
        """Open the database at ``target_host``, an URL; a new SQLite file gets its tables by itself.

        ``sqlite:///app.db`` is a file in the working directory, ``sqlite:////var/lib/app.db`` one by its full path,
        ``sqlite://`` one that is gone when the client is closed. The default is the environment's ``DURABLE_ADDRESS``,
        else ``sqlite:///durable.db``; it is also what the address of a Temporal server (``localhost:7233``) means, and
        the log says so. Raises `StoreUnavailable` with what is wrong and what to do.

        ``plugins`` may change all this: the first is outermost. For ``namespace``, ``data_converter``, ``identity``,
        ``default_workflow_query_reject_condition`` and ``failure_exception_types`` see `Client`. All else says how to
        reach a server; it is accepted, and ignored.
        """
        config = ConnectConfig(
            target_host or "",
            api_key=api_key,
            tls=tls,
            retry_config=retry_config,
            keep_alive_config=keep_alive_config,
            rpc_metadata=rpc_metadata,
            identity=identity or "",
            lazy=lazy,
            runtime=runtime,
            http_connect_proxy_config=http_connect_proxy_config,
            dns_load_balancing_config=dns_load_balancing_config,
            grpc_compression=grpc_compression,
            payload_limits=payload_limits,
            connect_timeout=connect_timeout,
        )
        return cls(
            await connected(config, plugins),
            namespace=namespace,
            data_converter=data_converter,
            plugins=plugins,
            interceptors=interceptors,
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            header_codec_behavior=header_codec_behavior,
            failure_exception_types=failure_exception_types,
        )

    async def close(self) -> None:
        """Commit what waits, and let go of the database. Close workers first."""
        await self.service_client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

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

        `RPCError` DEADLINE_EXCEEDED when ``rpc_timeout`` is over first; it may be started all the same. A start is as
        eager as it can be, always; runs keep to no version: ``request_eager_start`` and ``versioning_override`` are
        accepted, and ignored.
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
        what = f"the start of workflow {id!r}"
        if start_signal is not None:
            started = signal_with_start(self, request, start_signal, start_signal_args, result_type)
            return await within(started, rpc_timeout, what)
        run_id = (await within(self.begin(request), rpc_timeout, what)).run_id
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
        """`start_workflow`, and wait for its result: see `WorkflowHandle.result`. ``rpc_timeout`` is for each."""
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
            rpc_timeout=rpc_timeout,
        )
        return await handle.result(rpc_timeout=rpc_timeout)

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
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowExecutionAsyncIterator:
        """The runs of the namespace, newest first, fetched in pages as they are walked.

        ``query`` is Temporal's list filter: ``WorkflowType = 'order' AND ExecutionStatus IN ('Running', 'Failed')``.
        `RPCError` INVALID_ARGUMENT for one that can't be understood; it says what can. ``next_page_token``, of an
        earlier list, says where to go on; ``rpc_timeout`` is for each page.
        """
        return WorkflowExecutionAsyncIterator(
            self,
            parse(query or ""),
            status=status,
            limit=limit,
            page_size=page_size,
            next_page_token=next_page_token,
            rpc_timeout=rpc_timeout,
        )

    async def count_workflows(
        self,
        query: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowExecutionCount:
        """How many runs of the namespace pass ``query``, which `list_workflows` explains.

        With ``GROUP BY ExecutionStatus`` at its end, also how many of each status. All that pass are read, so this
        takes as long as listing them. `RPCError` INVALID_ARGUMENT for what can't be understood.
        """
        return await within(count(self, query or ""), rpc_timeout, "the count of workflows")

    async def update_worker_build_id_compatibility(
        self,
        task_queue: str,
        operation: BuildIdOp,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Raises `RPCError` UNIMPLEMENTED: no work is routed by build id."""
        raise refused("update_worker_build_id_compatibility")

    async def get_worker_build_id_compatibility(
        self,
        task_queue: str,
        max_sets: int | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> WorkerBuildIdVersionSets:
        """Raises `RPCError` UNIMPLEMENTED: no work is routed by build id."""
        raise refused("get_worker_build_id_compatibility")

    async def get_worker_task_reachability(
        self,
        build_ids: Sequence[str],
        task_queues: Sequence[str] = [],
        reachability_type: TaskReachabilityType | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> WorkerTaskReachability:
        """Raises `RPCError` UNIMPLEMENTED: no work is routed by build id."""
        raise refused("get_worker_task_reachability")

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
                        request.workflow_id,
                        request.workflow_type,
                        run_id=run.run_id if run else None,
                        first_run_id=run.first_execution_run_id if run else None,
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
        return await self.database.write(beginning.start(request, run_id, store.now_us()).transition)


def _replacing(request: StartRequest) -> bool:
    return (
        request.conflict_policy is IdConflictPolicy.TERMINATE_EXISTING
        or request.reuse_policy is IdReusePolicy.TERMINATE_IF_RUNNING
    )


def _with(request: StartRequest, replaces: Transition | None) -> StartRequest:
    return msgspec.structs.replace(request, replaces=replaces)
