"""What a run waits for from other runs: children that it has asked for; signals and cancel requests on their way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable.exceptions import ApplicationError, WorkflowAlreadyStartedError
from durable.history.events import (
    ChildWorkflowExecutionCanceled,
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionFailed,
    ChildWorkflowExecutionTerminated,
    ChildWorkflowExecutionTimedOut,
)
from durable.history.values import (
    CanceledFailureInfo,
    ChildWorkflowExecutionFailureInfo,
    Failure,
    Payload,
    RetryState,
    TerminatedFailureInfo,
    TimeoutFailureInfo,
    TimeoutType,
    WorkflowExecution,
)
from durable.worker.loop import WorkflowFuture, WorkflowTask
from durable.workflow.child_handles import ChildWorkflowCancellationType, ChildWorkflowHandle

if TYPE_CHECKING:
    from durable.context import ChildCall
    from durable.converter import DataConverter
    from durable.worker.replay import Run

ChildOutcome = (
    ChildWorkflowExecutionCompleted
    | ChildWorkflowExecutionFailed
    | ChildWorkflowExecutionCanceled
    | ChildWorkflowExecutionTimedOut
    | ChildWorkflowExecutionTerminated
)


class ChildFuture(WorkflowFuture[list[Payload]]):
    """A child's outcome. Cancelled, it obeys its cancellation type."""

    run: Run
    call: ChildCall
    index: int
    began: WorkflowFuture[str]
    """The id of the child's first run, once it has begun."""
    initiated_event_id = 0
    started_event_id = 0
    first_run_id = ""
    cancel_asked = False

    @property
    def converter(self) -> DataConverter:
        return self.run.workflow_converter(self.call.workflow_id)

    def cancel(self, msg: Any | None = None) -> bool:
        if self.done():
            return False
        if self.run.evicting:
            return super().cancel(msg)
        kind = self.call.cancellation_type
        if not self.initiated_event_id:
            self.run.take_back(self.index)
        elif kind != ChildWorkflowCancellationType.ABANDON:
            if not self.cancel_asked:
                self.cancel_asked = True
                self.run.others.request_cancel(self, msg if isinstance(msg, str) else "")
            if kind != ChildWorkflowCancellationType.TRY_CANCEL:
                return True
        self.give_up()
        return True

    def give_up(self) -> None:
        """It was cancelled, and nothing more is waited for."""
        cause = Failure(message="Cancelled", source="durable", info=CanceledFailureInfo())
        self.fail(self.converter.from_failure(self.failure("Child Workflow execution canceled", cause)))

    def fail(self, error: BaseException) -> None:
        for future in (self.began, self):
            if not future.done():
                future.set_exception(error)
                future.exception()  # retrieved: a child nobody awaits is no news

    def refused(self) -> None:
        """Its workflow id is in use."""
        self.fail(WorkflowAlreadyStartedError(self.call.workflow_id, self.call.workflow_type))

    def begun(self, run_id: str, started_event_id: int) -> None:
        self.first_run_id, self.started_event_id = run_id, started_event_id
        if not self.began.done():
            self.began.set_result(run_id)

    def ended(self, event: ChildOutcome) -> None:
        if self.done():
            return
        if isinstance(event, ChildWorkflowExecutionCompleted):
            self.set_result(event.result)
            return
        state, cause = RetryState.UNSPECIFIED, Failure(message="Cancelled", source="durable")
        match event:
            case ChildWorkflowExecutionFailed():
                state, cause = event.retry_state, event.failure
            case ChildWorkflowExecutionCanceled():
                cause = Failure(
                    message="Cancelled", source="durable", info=CanceledFailureInfo(details=event.details or None)
                )
            case ChildWorkflowExecutionTimedOut():
                info = TimeoutFailureInfo(timeout_type=TimeoutType.START_TO_CLOSE)
                state, cause = event.retry_state, Failure(message="Workflow timed out", source="durable", info=info)
            case ChildWorkflowExecutionTerminated():
                cause = Failure(message="Workflow terminated", source="durable", info=TerminatedFailureInfo())
        failure = self.failure("Child Workflow execution failed", cause, state)
        self.fail(self.converter.from_failure(failure))

    def failure(self, message: str, cause: Failure, state: RetryState = RetryState.UNSPECIFIED) -> Failure:
        """What the parent sees: Temporal's ChildWorkflowError around the child's own."""
        info = ChildWorkflowExecutionFailureInfo(
            namespace=self.run.info().namespace,
            workflow_execution=WorkflowExecution(workflow_id=self.call.workflow_id, run_id=self.first_run_id),
            workflow_type=self.call.workflow_type,
            initiated_event_id=self.initiated_event_id,
            started_event_id=self.started_event_id,
            retry_state=state,
        )
        return Failure(message=message, source="durable", cause=cause, info=info)


class PendingChildHandle(WorkflowTask[Any], ChildWorkflowHandle[Any, Any]):
    """A child handle: cancelled before its first step it still cancels the child, by its rules."""

    child: ChildFuture
    stepped = False

    @property
    def id(self) -> str:
        return self.child.call.workflow_id

    @property
    def first_execution_run_id(self) -> str | None:
        return self.child.first_run_id or None

    def cancel(self, msg: Any | None = None) -> bool:
        if not self.stepped and not self.done():
            return self.child.cancel(msg)
        return super().cancel(msg)


class RequestFuture(WorkflowFuture[None]):
    """A signal or a cancel request on its way to another run."""

    run: Run
    index: int
    what: str
    initiated_event_id = 0

    def cancel(self, msg: Any | None = None) -> bool:
        if not self.done() and not self.run.evicting and not self.initiated_event_id:
            self.run.take_back(self.index)
        return super().cancel(msg)

    def answered(self) -> None:
        if not self.done():
            self.set_result(None)

    def nobody(self) -> None:
        if not self.done():
            text = f"Unable to {self.what} external workflow because it was not found"
            self.set_exception(ApplicationError(text, type="NotFoundError", non_retryable=True))
            self.exception()
