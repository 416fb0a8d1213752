"""Pure: what a run asks of other runs, and what it hears of them: children, signals, cancel requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from durable.context import ChildCall
from durable.history.commands import (
    RequestCancelExternalWorkflowExecution,
    SignalExternalWorkflowExecution,
    StartChildWorkflowExecution,
)
from durable.history.events import (
    ChildOutcomeEvent,
    ChildWorkflowExecutionCanceled,
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionFailed,
    ChildWorkflowExecutionStarted,
    ChildWorkflowExecutionTerminated,
    ChildWorkflowExecutionTimedOut,
    ExternalWorkflowExecutionCancelRequested,
    ExternalWorkflowExecutionSignaled,
    RequestCancelExternalWorkflowExecutionFailed,
    SignalExternalWorkflowExecutionFailed,
    StartChildWorkflowExecutionFailed,
)
from durable.history.values import Payload, WorkflowExecution
from durable.worker.loop import WorkflowFuture
from durable.worker.pending_children import ChildFuture, ChildOutcome, PendingChildHandle, RequestFuture
from durable.workflow.child_handles import ChildWorkflowCancellationType, ChildWorkflowHandle

if TYPE_CHECKING:
    from durable.worker.replay import Run

Answer = (
    ChildWorkflowExecutionStarted
    | StartChildWorkflowExecutionFailed
    | ChildOutcome
    | ExternalWorkflowExecutionSignaled
    | ExternalWorkflowExecutionCancelRequested
    | SignalExternalWorkflowExecutionFailed
    | RequestCancelExternalWorkflowExecutionFailed
)
ANSWERS: tuple[type[Answer], ...] = (
    ChildWorkflowExecutionStarted,
    StartChildWorkflowExecutionFailed,
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionFailed,
    ChildWorkflowExecutionCanceled,
    ChildWorkflowExecutionTimedOut,
    ChildWorkflowExecutionTerminated,
    ExternalWorkflowExecutionSignaled,
    ExternalWorkflowExecutionCancelRequested,
    SignalExternalWorkflowExecutionFailed,
    RequestCancelExternalWorkflowExecutionFailed,
)


class OtherRuns:
    """What one run has to do with others; what is under way, by the id of the event that began it."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._children: dict[int, ChildFuture] = {}
        self._requests: dict[int, RequestFuture] = {}

    def bind(self, pending: ChildFuture | RequestFuture, event_id: int) -> None:
        """It has become this event."""
        pending.initiated_event_id = event_id
        if isinstance(pending, ChildFuture):
            self._children[event_id] = pending
        else:
            self._requests[event_id] = pending

    def hear(self, event: Answer) -> None:
        """What was asked for has begun, is over, or could not be done."""
        match event:
            case ChildWorkflowExecutionStarted():
                self._children[event.initiated_event_id].begun(event.workflow_execution.run_id, event.id)
            case StartChildWorkflowExecutionFailed():
                self._children.pop(event.initiated_event_id).refused()
            case ChildOutcomeEvent():
                self._children.pop(event.initiated_event_id).ended(event)
            case ExternalWorkflowExecutionSignaled() | ExternalWorkflowExecutionCancelRequested():
                self._requests.pop(event.initiated_event_id).answered()
            case SignalExternalWorkflowExecutionFailed() | RequestCancelExternalWorkflowExecutionFailed():
                self._requests.pop(event.initiated_event_id).nobody()

    async def start_child(self, call: ChildCall) -> ChildWorkflowHandle[Any, Any]:
        self._run.must_write("start child workflow")
        child = ChildFuture(loop=self._run.loop)
        child.run, child.call, child.began = self._run, call, WorkflowFuture(loop=self._run.loop)
        command = StartChildWorkflowExecution(
            namespace=self._run.info().namespace,
            workflow_id=call.workflow_id,
            workflow_type=call.workflow_type,
            task_queue=call.task_queue or self._run.info().task_queue,
            input=call.input,
            workflow_execution_timeout_us=call.execution_timeout_us,
            workflow_run_timeout_us=call.run_timeout_us,
            workflow_task_timeout_us=call.task_timeout_us,
            parent_close_policy=call.parent_close_policy,
            workflow_id_reuse_policy=call.id_reuse_policy,
            retry_policy=call.retry_policy,
            cron_schedule=call.cron_schedule,
            memo=call.memo,
            search_attributes=call.search_attributes,
            priority=call.priority,
            user_metadata=call.user_metadata,
        )
        child.index = self._run.ask(command, child)

        async def outcome() -> Any:
            handle.stepped = True
            return self._run.converted(await child, call.result_type, child.converter)

        handle = PendingChildHandle(outcome(), loop=self._run.loop, name=f"child-{call.workflow_id}")
        handle.child = child
        while not child.began.done():
            try:
                await asyncio.shield(child.began)
            except asyncio.CancelledError as error:
                child.cancel(*error.args[:1])  # if it has begun in the same moment, all the same
        child.began.result()
        return handle

    async def signal(self, to: WorkflowExecution, name: str, input: list[Payload], *, child_only: bool) -> None:
        self._run.must_write("signal external workflow")
        command = SignalExternalWorkflowExecution(
            namespace=self._run.info().namespace,
            workflow_execution=to,
            signal_name=name,
            input=input,
            child_workflow_only=child_only,
        )
        await self._request(command, "signal")

    async def cancel(self, to: WorkflowExecution, reason: str) -> None:
        self._run.must_write("cancel external workflow")
        command = RequestCancelExternalWorkflowExecution(
            namespace=self._run.info().namespace, workflow_execution=to, reason=reason
        )
        await self._request(command, "cancel")

    def _request(
        self, command: SignalExternalWorkflowExecution | RequestCancelExternalWorkflowExecution, what: str
    ) -> RequestFuture:
        future = RequestFuture(loop=self._run.loop)
        future.run, future.what = self._run, what
        future.index = self._run.ask(command, future)
        return future

    def request_cancel(self, child: ChildFuture, reason: str) -> None:
        """Ask the child to end; nobody awaits the answer, but for a child whose request is waited for."""
        if child.initiated_event_id in self._run.over:
            return
        command = RequestCancelExternalWorkflowExecution(
            namespace=self._run.info().namespace,
            workflow_execution=WorkflowExecution(workflow_id=child.call.workflow_id),
            child_workflow_only=True,
            reason=reason,
        )
        request = self._request(command, "cancel")
        if child.call.cancellation_type == ChildWorkflowCancellationType.WAIT_CANCELLATION_REQUESTED:
            request.add_done_callback(lambda _: child.give_up())
