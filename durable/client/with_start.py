"""A workflow started together with its first message: one that is running gets the message only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec

from durable.client import updates
from durable.client.beginning import begin
from durable.client.converting import encodes_headers, for_workflow, stored
from durable.client.deadline import within
from durable.client.errors import already_completed
from durable.client.handle import WorkflowHandle
from durable.client.inputs import (
    StartWorkflowInput,
    StartWorkflowUpdateWithStartInput,
    UpdateWithStartStartWorkflowInput,
)
from durable.client.sending import send
from durable.client.starting import start_of, start_request, stored_start
from durable.client.updates import WorkflowUpdateHandle
from durable.common import (
    DEFAULT_TASK_QUEUE,
    Priority,
    RetryPolicy,
    VersioningOverride,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from durable.converter.search_attributes import warn_of_untyped
from durable.exceptions import WorkflowAlreadyStartedError
from durable.history import codec
from durable.history.beginning import StartRequest
from durable.history.messages import Message, Signal, Update
from durable.history.values import IdConflictPolicy
from durable.search_attributes import SearchAttributes, TypedSearchAttributes
from durable.service import RPCError, RPCStatusCode
from durable.workflow.calls import UNSET, arguments
from durable.workflow.definition import WorkflowDefinition

if TYPE_CHECKING:
    from durable.client.client import Client
    from durable.history.joining import Carrier

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
        definition = None if isinstance(workflow, str) else WorkflowDefinition.to_invoke(workflow)
        warn_of_untyped(search_attributes, stack_level)
        self._input = UpdateWithStartStartWorkflowInput(
            workflow=cast("str", workflow) if definition is None else definition.name,
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
            static_summary=static_summary,
            static_details=static_details,
            ret_type=result_type or (None if definition is None else definition.signature.return_hint),
            priority=priority,
            versioning_override=versioning_override,
            definition=definition,
        )
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

    def use(self) -> UpdateWithStartStartWorkflowInput:
        """What is to be started; RuntimeError the second time. For the client's own modules."""
        if self._is_used:
            raise RuntimeError("WithStartWorkflowOperation cannot be reused")
        self._is_used = True
        return self._input

    def settle(self, handle: WorkflowHandle[S, R] | BaseException) -> None:
        """What `workflow_handle` is to tell: the first error, or, whenever it comes, the first handle. For the client's
        own modules."""
        if self._handle is None or (isinstance(self._handle, BaseException) and isinstance(handle, WorkflowHandle)):
            self._handle = handle
            self._is_known.set()


async def signal_with_start(client: Client, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
    """The handle of the workflow that has the signal: started for it, or running already."""
    request = start_request(client, input)
    if request.conflict_policy is IdConflictPolicy.UNSPECIFIED:
        request = msgspec.structs.replace(request, conflict_policy=IdConflictPolicy.USE_EXISTING)
    converter = for_workflow(client, input.id)
    message = Signal(
        name=input.start_signal or "",
        input=converter.to_payloads(input.start_signal_args),
        header=request.header,
        identity=client.identity,
        request_id=client.database.store.new_id(),
    )

    async def started() -> str:
        what = f"signal {input.start_signal!r} of workflow {input.id!r}"
        signal = await stored(converter, message, what, headers=encodes_headers(client))
        return await _start_or_send(client, await stored_start(client, request), signal, input.session)

    run_id = await within(started(), input.rpc_timeout, start_of(input.id))
    return client.started_handle(input.id, run_id, input.ret_type, first_execution_run_id=None)


async def update_with_start(client: Client, input: StartWorkflowUpdateWithStartInput) -> WorkflowUpdateHandle[Any]:
    """The update's handle, when that has come so far; ``_on_start`` learns of the workflow's."""
    start = input.start_workflow_input
    on_start = input._on_start  # pyright: ignore[reportPrivateUsage]
    request = start_request(client, start)
    prepared = updates.prepare(client, start.id, input.update_workflow_input)

    async def sent() -> WorkflowUpdateHandle[Any]:
        update = await updates.stored_update(client, start.id, prepared)
        try:
            run_id = await _start_or_send(client, await stored_start(client, request), Update(request=update.request))
        except WorkflowAlreadyStartedError as error:
            known = error.run_id and await updates.find(client, start.id, error.run_id, update)
            if not known:
                raise
            on_start(client.get_workflow_handle(start.id, run_id=error.run_id))
            return known
        on_start(client.started_handle(start.id, run_id, start.ret_type, first_execution_run_id=run_id))
        found = await updates.answered(client, start.id, run_id, update)
        if found is None:
            raise already_completed(start.id)
        return found

    async def updated() -> WorkflowUpdateHandle[Any]:
        try:
            return await sent()
        except BaseException as error:
            input._on_start_error(error)  # pyright: ignore[reportPrivateUsage]
            raise

    return await updates.until(input.update_workflow_input.wait_for_stage, updated(), input.rpc_timeout)


async def _start_or_send(
    client: Client, request: StartRequest, message: Signal | Update, session: Carrier | None = None
) -> str:
    """The run that has the message. One that closes before it can be told is started anew, if the policies let it."""
    while True:
        outcome = await begin(client, _with(request, message, client.database.store.now_us()), session)
        if not outcome.existing:
            return outcome.run_id
        try:
            return await send(client, request.workflow_id, outcome.run_id, message, session=session)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        request = msgspec.structs.replace(request, request_id=client.database.store.new_id())


def _with(request: StartRequest, message: Message, now_us: int) -> StartRequest:
    return msgspec.structs.replace(request, message=codec.pack(message, now_us))
