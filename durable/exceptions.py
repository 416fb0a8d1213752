"""The errors that workflows, activities and callers raise and catch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from enum import IntEnum
from typing import Any, NamedTuple

from durable.history.values import Failure, RetryState, TimeoutType

__all__ = [
    "ActivityAlreadyStartedError",
    "ActivityError",
    "ApplicationError",
    "ApplicationErrorCategory",
    "CancelledError",
    "CompensationError",
    "FailedCompensation",
    "FailureError",
    "InvalidVersioningOverrideError",
    "NexusOperationAlreadyStartedError",
    "NexusOperationError",
    "RetryState",
    "ServerError",
    "TemporalError",
    "TerminatedError",
    "TimeoutError",
    "TimeoutType",
    "WorkflowAlreadyStartedError",
    "is_cancelled_exception",
]


class TemporalError(Exception):
    """Every error that this library raises on purpose to its users."""

    @property
    def cause(self) -> BaseException | None:
        """What this error was raised from: ``__cause__``."""
        return self.__cause__


class FailureError(TemporalError):
    """An error that ends a workflow (rather than its workflow task), and that a history can carry."""

    def __init__(
        self, message: str, *, failure: Failure | None = None, exc_args: tuple[Any, ...] | None = None
    ) -> None:
        super().__init__(*(exc_args if exc_args is not None else (message,)))
        self._message = message
        self._failure = failure

    @property
    def message(self) -> str:
        """What happened, without the type that ``str()`` may begin with."""
        return self._message

    @property
    def failure(self) -> Failure | None:
        """The recorded failure that this error was made from; None for one that was raised here."""
        return self._failure


class ApplicationErrorCategory(IntEnum):
    """How serious an application error is. BENIGN ones are expected: they are logged at DEBUG."""

    UNSPECIFIED = 0
    BENIGN = 1


class ApplicationError(FailureError):
    """An error of the program's own; ``str()`` is ``type: message`` when it has a type."""

    def __init__(
        self,
        message: str,
        *details: Any,
        type: str | None = None,
        non_retryable: bool = False,
        next_retry_delay: timedelta | None = None,
        category: ApplicationErrorCategory = ApplicationErrorCategory.UNSPECIFIED,
    ) -> None:
        super().__init__(message, exc_args=(f"{type}: {message}" if type else message,))
        self._details = details
        self._type = type
        self._non_retryable = non_retryable
        self._next_retry_delay = next_retry_delay
        self._category = category

    @property
    def details(self) -> Sequence[Any]:
        """What was given beside the message, converted."""
        return self._details

    @property
    def type(self) -> str | None:
        """What retry policies name; for a plain exception, the name of its class."""
        return self._type

    @property
    def non_retryable(self) -> bool:
        """Whether no other attempt is made, whatever the retry policy says."""
        return self._non_retryable

    @property
    def next_retry_delay(self) -> timedelta | None:
        """The wait before the next attempt, in place of the retry policy's."""
        return self._next_retry_delay

    @property
    def category(self) -> ApplicationErrorCategory:
        """How serious it is."""
        return self._category


class CancelledError(FailureError):
    """Cancelled, as a history tells it. Not asyncio's."""

    def __init__(self, message: str = "Cancelled", *details: Any) -> None:
        super().__init__(message)
        self._details = details

    @property
    def details(self) -> Sequence[Any]:
        """What was told with the cancellation."""
        return self._details


class TerminatedError(FailureError):
    """A run was ended from outside, without its code."""

    def __init__(self, message: str, *details: Any) -> None:
        super().__init__(message)
        self._details = details

    @property
    def details(self) -> Sequence[Any]:
        """What was told by whoever ended it."""
        return self._details


class TimeoutError(FailureError):
    """A timeout of an activity or a run ran out. Not the built-in one."""

    def __init__(self, message: str, *, type: TimeoutType | None, last_heartbeat_details: Sequence[Any]) -> None:
        super().__init__(message)
        self._type = type
        self._last_heartbeat_details = last_heartbeat_details

    @property
    def type(self) -> TimeoutType | None:
        """Which of the timeouts it was."""
        return self._type

    @property
    def last_heartbeat_details(self) -> Sequence[Any]:
        """What the activity told in its last heartbeat."""
        return self._last_heartbeat_details


class ServerError(FailureError):
    """The engine, rather than the program, failed."""

    def __init__(self, message: str, *, non_retryable: bool = False) -> None:
        super().__init__(message)
        self._non_retryable = non_retryable

    @property
    def non_retryable(self) -> bool:
        """Whether no other attempt is made."""
        return self._non_retryable


class ActivityError(FailureError):
    """An activity failed for good; ``cause`` says how."""

    def __init__(
        self,
        message: str,
        *,
        scheduled_event_id: int,
        started_event_id: int,
        identity: str,
        activity_type: str,
        activity_id: str,
        retry_state: RetryState | None,
    ) -> None:
        super().__init__(message)
        self._scheduled_event_id = scheduled_event_id
        self._started_event_id = started_event_id
        self._identity = identity
        self._activity_type = activity_type
        self._activity_id = activity_id
        self._retry_state = retry_state

    @property
    def scheduled_event_id(self) -> int:
        """The event that scheduled it."""
        return self._scheduled_event_id

    @property
    def started_event_id(self) -> int:
        """The event that tells of its last attempt's start."""
        return self._started_event_id

    @property
    def identity(self) -> str:
        """The worker that ran the last attempt."""
        return self._identity

    @property
    def activity_type(self) -> str:
        """The activity's name."""
        return self._activity_type

    @property
    def activity_id(self) -> str:
        """The activity's id, one of its kind in the run."""
        return self._activity_id

    @property
    def retry_state(self) -> RetryState | None:
        """Why there was no other attempt."""
        return self._retry_state


class ChildWorkflowError(FailureError):
    """A child workflow did not complete; ``cause`` says how it ended."""

    def __init__(
        self,
        message: str,
        *,
        namespace: str,
        workflow_id: str,
        run_id: str,
        workflow_type: str,
        initiated_event_id: int,
        started_event_id: int,
        retry_state: RetryState | None,
    ) -> None:
        super().__init__(message)
        self._namespace = namespace
        self._workflow_id = workflow_id
        self._run_id = run_id
        self._workflow_type = workflow_type
        self._initiated_event_id = initiated_event_id
        self._started_event_id = started_event_id
        self._retry_state = retry_state

    @property
    def namespace(self) -> str:
        return self._namespace

    @property
    def workflow_id(self) -> str:
        return self._workflow_id

    @property
    def run_id(self) -> str:
        return self._run_id

    @property
    def workflow_type(self) -> str:
        return self._workflow_type

    @property
    def initiated_event_id(self) -> int:
        """The parent's event that asked for the child."""
        return self._initiated_event_id

    @property
    def started_event_id(self) -> int:
        return self._started_event_id

    @property
    def retry_state(self) -> RetryState | None:
        """Why there was no other run of it."""
        return self._retry_state


class FailedCompensation(NamedTuple):
    """A step of a saga that has not undone what it should have."""

    number: int
    """Its place among the steps that were registered; the first is 1."""
    step: str
    """The name of the activity or function."""
    error: BaseException

    @property
    def reason(self) -> str:
        """What went wrong, in a line: not that an activity or child failed, but why it did."""
        error = self.error
        while isinstance(error, ActivityError | ChildWorkflowError) and error.cause is not None:
            error = error.cause
        kind = error.type if isinstance(error, ApplicationError) and error.type else type(error).__name__
        message = error.message if isinstance(error, FailureError) else str(error)
        return f"{kind}: {message}" if message else kind


class CompensationError(ApplicationError):
    """Steps of a saga have failed: what they should have undone is still there. ``__cause__`` is what the saga's block
    was left by.

    Its type is "CompensationError". ``message`` names each of ``errors``; ``details`` has for each a dict of "number",
    "step" and "error", which are strings but for the number. Histories and clients have it as an `ApplicationError`.

    It is non-retryable: another run of the workflow would begin anew on what is half undone. Somebody has to look. A
    workflow that knows better catches it, and raises an error of its own.
    """

    def __init__(self, errors: Sequence[FailedCompensation], *, of: int) -> None:
        """``errors`` in the order in which the steps ran; ``of`` how many have run."""
        said = "; ".join(f"{each.step} (step {each.number}): {each.reason}" for each in errors)
        super().__init__(
            f"{len(errors)} of {of} compensations failed: {said}",
            *({"number": each.number, "step": each.step, "error": each.reason} for each in errors),
            type="CompensationError",
            non_retryable=True,
        )
        self.errors = list(errors)
        """What has failed, and how."""


class WorkflowAlreadyStartedError(FailureError):
    """A start was refused: the workflow id is in use, or may not be used again."""

    def __init__(
        self, workflow_id: str, workflow_type: str, *, run_id: str | None = None, first_run_id: str | None = None
    ) -> None:
        super().__init__("Workflow execution already started")
        self.workflow_id = workflow_id
        self.workflow_type = workflow_type
        self.run_id = run_id
        self.first_run_id = first_run_id


class ActivityAlreadyStartedError(FailureError):
    """A start was refused: the activity id is in use, or may not be used again."""

    def __init__(self, activity_id: str, activity_type: str, *, run_id: str | None = None) -> None:
        super().__init__("Activity execution already started")
        self.activity_id = activity_id
        self.activity_type = activity_type
        self.run_id = run_id


class InvalidVersioningOverrideError(FailureError):
    """A child can't start on the version that it was told to keep to. Never raised: runs keep to no version here."""

    def __init__(self) -> None:
        super().__init__("Invalid versioning override")


class NexusOperationError(FailureError):
    """A Nexus operation did not complete. Never raised: there is no Nexus here."""

    scheduled_event_id: int
    endpoint: str
    service: str
    operation: str
    operation_token: str

    def __init__(
        self,
        message: str,
        *,
        scheduled_event_id: int,
        endpoint: str,
        service: str,
        operation: str,
        operation_token: str,
    ) -> None:
        super().__init__(message)
        self.scheduled_event_id = scheduled_event_id
        self.endpoint = endpoint
        self.service = service
        self.operation = operation
        self.operation_token = operation_token


class NexusOperationAlreadyStartedError(FailureError):
    """A Nexus operation's id is in use. Never raised: there is no Nexus here."""

    def __init__(self, operation_id: str, *, run_id: str | None = None) -> None:
        super().__init__("Nexus operation execution already started")
        self.operation_id = operation_id
        self.run_id = run_id


def is_cancelled_exception(exception: BaseException) -> bool:
    """Whether an exception means "cancelled": asyncio's, ours, or an activity's or child's that was caused by ours."""
    return isinstance(exception, (asyncio.CancelledError, CancelledError)) or (
        isinstance(exception, ActivityError | ChildWorkflowError) and isinstance(exception.cause, CancelledError)
    )
