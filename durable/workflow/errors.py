"""What goes wrong in workflow code by breaking its rules."""

from __future__ import annotations

from durable.exceptions import TemporalError


class NondeterminismError(TemporalError):
    """The code no longer does what the run's history says it did. ``message`` tells event, record and code."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ContinueAsNewError(BaseException):
    """Ends the run, for the next one of its workflow id to begin. Raised by `workflow.continue_as_new` only."""

    def __init__(self, *args: object) -> None:
        if type(self) is ContinueAsNewError:
            raise RuntimeError("Cannot instantiate ContinueAsNewError directly: call workflow.continue_as_new()")
        super().__init__(*args)


class ReadOnlyContextError(TemporalError):
    """A query tried to change something."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
