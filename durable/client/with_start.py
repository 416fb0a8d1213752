"""A workflow started together with its first message: one that is running gets the message only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from durable.client import updates
from durable.client.errors import already_completed
from durable.client.handle import WorkflowHandle
from durable.client.starting import start_request
from durable.client.updates import Prepared, WorkflowUpdateHandle, WorkflowUpdateStage
from durable.common import (
    DEFAULT_TASK_QUEUE,
    Priority,
    RetryPolicy,
    VersioningOverride,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from durable.converter.search_attributes import given_search_attributes
from durable.exceptions import WorkflowAlreadyStartedError
from durable.history import codec
from durable.history.beginning import StartRequest
from durable.history.messages import Message, Signal, Update
from durable.history.values import IdConflictPolicy
from durable.search_attributes import SearchAttributes, TypedSearchAttributes
from durable.service import RPCError, RPCStatusCode
from durable.workflow.calls import UNSET, arguments

if TYPE_CHECKING:
    from durable.client.client import Client

R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


class WithStartWorkflowOperation(Generic[S, R]):
    """The start that goes with an update; the options are those of `Client.start_workflow`. To be used once.

    ``id_conflict_policy`` must say what becomes of a run that is there: USE_EXISTING updates it, FAIL raises,
    TERMINATE_EXISTING replaces it.
    """

    def __init__(
        self: WithStartWorkflowOperation[Any, T],
        workflow: Callable[..., Awaitable[T]] | str,
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        id: str,
        id_conflict_policy: WorkflowIDConflictPolicy,
        task_queue: str = DEFAULT_TASK_QUEUE,
        result_type: Any = None,
        execution_timeout: timedelta | None = None,
        run_timeout: timedelta | None = None,
        task_timeout: timedelta | None = None,
        id_reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        retry_policy: RetryPolicy | None = None,
        cron_schedule: str = "",
        memo: Mapping[str, Any] | None = None,
        search_attributes: TypedSearchAttributes | SearchAttributes | None = None,
        static_summary: str | None = None,
        static_details: str | None = None,
        start_delay: timedelta | None = None,
        priority: Priority = Priority.default,
        versioning_override: VersioningOverride | None = None,
        stack_level: int = 2,
    ) -> None:
        if id_conflict_policy is WorkflowIDConflictPolicy.UNSPECIFIED:
            raise ValueError("WorkflowIDConflictPolicy is required")
        self._workflow = workflow
        self._args = arguments(arg, args)
        self._options: dict[str, Any] = {
            "id": id,
            "task_queue": task_queue,
            "result_type": result_type,
            "execution_timeout": execution_timeout,
            "run_timeout": run_timeout,
            "task_timeout": task_timeout,
            "id_reuse_policy": id_reuse_policy,
            "id_conflict_policy": id_conflict_policy,
            "retry_policy": retry_policy,
            "cron_schedule": cron_schedule,
            "memo": memo,
            "search_attributes": given_search_attributes(search_attributes, stack_level),
            "static_summary": static_summary,
            "static_details": static_details,
            "start_delay": start_delay,
            "priority": priority,
            "kwargs": None,
            "request_id": None,
        }
        self._is_used = False
        self._handle: WorkflowHandle[S, R] | BaseException | None = None
        self._is_known = asyncio.Event()

    async def workflow_handle(self) -> WorkflowHandle[S, R]:
        """The workflow's handle, as soon as it is started; or what has kept it from starting, raised."""
        await self._is_known.wait()
        if isinstance(self._handle, BaseException):
            raise self._handle
        assert self._handle is not None
        return self._handle

    def use(self, client: Client) -> tuple[StartRequest, Any]:
        """What is to be started; RuntimeError the second time. For the client's own modules."""
        if self._is_used:
            raise RuntimeError("WithStartWorkflowOperation cannot be reused")
        self._is_used = True
        return start_request(client, self._workflow, self._args, **self._options)

    def settle(self, handle: WorkflowHandle[S, R] | BaseException) -> None:
        """What `workflow_handle` is to tell; the first time counts. For the client's own modules."""
        if self._handle is None:
            self._handle = handle
            self._is_known.set()


async def signal_with_start(
    client: Client, request: StartRequest, name: str, args: Sequence[Any], result_type: Any
) -> WorkflowHandle[Any, Any]:
    """The handle of the workflow that has the signal: started for it, or running already."""
    if request.conflict_policy is IdConflictPolicy.UNSPECIFIED:
        request = msgspec.structs.replace(request, conflict_policy=IdConflictPolicy.USE_EXISTING)
    signal = Signal(
        name=name,
        input=client.data_converter.to_payloads(args),
        identity=client.identity,
        request_id=client.database.store.new_id(),
    )
    run_id = await _start_or_send(client, request, signal)
    return client.started_handle(request.workflow_id, run_id, result_type, first_execution_run_id=None)


async def update_with_start(
    client: Client,
    operation: WithStartWorkflowOperation[Any, Any],
    update: Prepared,
    stage: WorkflowUpdateStage,
    timeout: timedelta | None,
) -> WorkflowUpdateHandle[Any]:
    """The update's handle, when that has come so far; ``operation`` learns of the workflow's."""
    request, result_type = operation.use(client)

    async def updated() -> WorkflowUpdateHandle[Any]:
        try:
            try:
                run_id = await _start_or_send(client, request, Update(request=update.request))
            except WorkflowAlreadyStartedError as error:
                known = error.run_id and await updates.find(client, request.workflow_id, error.run_id, update)
                if not known:
                    raise
                operation.settle(client.get_workflow_handle(request.workflow_id, run_id=error.run_id))
                return known
            handle = client.started_handle(request.workflow_id, run_id, result_type, first_execution_run_id=run_id)
            operation.settle(handle)
            found = await updates.answered(client, request.workflow_id, run_id, update)
            if found is None:
                raise already_completed(request.workflow_id)
            return found
        except BaseException as error:
            operation.settle(error)
            raise

    return await updates.until(stage, updated(), timeout)


async def _start_or_send(client: Client, request: StartRequest, message: Signal | Update) -> str:
    """The run that has the message. One that closes before it can be told is started anew, if the policies let it."""
    while True:
        outcome = await client.begin(_with(request, message, client.database.store.now_us()))
        if not outcome.existing:
            return outcome.run_id
        try:
            return await client.get_workflow_handle(request.workflow_id, run_id=outcome.run_id).send(message)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        request = msgspec.structs.replace(request, request_id=client.database.store.new_id())


def _with(request: StartRequest, message: Message, now_us: int) -> StartRequest:
    return msgspec.structs.replace(request, message=codec.pack(message, now_us))
