"""What waiting for a workflow, or asking it, can raise."""

from __future__ import annotations

from durable.exceptions import TemporalError


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


class WorkflowQueryFailedError(TemporalError):
    """The query's handler raised, or there is no handler of that name."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
