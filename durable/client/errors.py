"""What waiting for a workflow, or asking it, can raise."""

from __future__ import annotations

from durable.activity import ActivityCancellationDetails
from durable.exceptions import TemporalError
from durable.history.values import RunStatus
from durable.service import RPCError, RPCStatusCode


class WorkflowFailureError(TemporalError):
    """The workflow did not complete; ``cause`` tells how it ended (failed, cancelled, terminated, timed out)."""

    def __init__(self, *, cause: BaseException) -> None:
        super().__init__("Workflow execution failed")
        self.__cause__ = cause

    @property
    def cause(self) -> BaseException:
        """How it ended: an `ApplicationError`, `ActivityError`, `CancelledError`, `TerminatedError` …"""
        assert self.__cause__ is not None
        return self.__cause__


class ActivityFailureError(TemporalError):
    """The activity did not complete; ``cause`` tells how it ended (failed, timed out, cancelled, terminated)."""

    def __init__(self, *, cause: BaseException) -> None:
        super().__init__("Activity execution failed")
        self.__cause__ = cause

    @property
    def cause(self) -> BaseException:
        """How it ended: an `ApplicationError`, `TimeoutError`, `CancelledError`, `TerminatedError` …"""
        assert self.__cause__ is not None
        return self.__cause__


class WorkflowContinuedAsNewError(TemporalError):
    """The run was continued as new, and its followers are not to be waited for."""

    def __init__(self, new_execution_run_id: str) -> None:
        super().__init__("Workflow continued as new")
        self._new_execution_run_id = new_execution_run_id

    @property
    def new_execution_run_id(self) -> str:
        """The run that came next."""
        return self._new_execution_run_id


class WorkflowQueryFailedError(TemporalError):
    """The query's handler raised, or there is no handler of that name."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self._message = message

    @property
    def message(self) -> str:
        """What the handler raised, as text."""
        return self._message


class WorkflowQueryRejectedError(TemporalError):
    """The query was not asked, because of how the run stands: see `QueryRejectCondition`."""

    def __init__(self, status: RunStatus | None) -> None:
        super().__init__(f"Query rejected, status: {status.name if status is not None else None}")
        self._status = status

    @property
    def status(self) -> RunStatus | None:
        """How the run stands."""
        return self._status


class WorkflowUpdateFailedError(TemporalError):
    """The update was rejected, or its handler failed; ``cause`` tells why."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("Workflow update failed")
        self.__cause__ = cause

    @property
    def cause(self) -> BaseException:
        assert self.__cause__ is not None
        return self.__cause__


class RPCTimeoutOrCancelledError(TemporalError):
    """A wait was over before what it waited for."""


class WorkflowUpdateRPCTimeoutOrCancelledError(RPCTimeoutOrCancelledError):
    """The wait for an update was over, or cancelled; the update itself goes on."""

    def __init__(self) -> None:
        super().__init__("Timeout or cancellation while waiting for an update; the update itself goes on")


class AsyncActivityCancelledError(TemporalError):
    """The activity that a heartbeat was sent for was asked to end, or was paused or reset: ``details`` tells which."""

    def __init__(self, details: ActivityCancellationDetails | None = None) -> None:
        super().__init__("Activity cancelled")
        self.details = details


def already_completed(workflow_id: str) -> RPCError:
    """The answer to a message for a run that is closed."""
    return RPCError(
        f"workflow execution already completed: {workflow_id!r} is closed and takes no more messages",
        RPCStatusCode.NOT_FOUND,
    )


class InvalidArgument(RPCError, ValueError):
    """What Temporal's server would refuse; caught as either."""

    def __init__(self, message: str) -> None:
        super().__init__(message, RPCStatusCode.INVALID_ARGUMENT)
