"""`workflow.logger`: silent while replaying, and one line per committed step, never two."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from durable.context import maybe_workflow
from durable.workflow.info import current_update

_Base = logging.LoggerAdapter[logging.Logger]


class LoggerAdapter(_Base):
    """A logger that knows the run.

    In workflow code a record is handed on when the step that made it is committed, and not at all when the step
    repeats history. ``workflow_info_on_message`` appends the run's identity to the text, ``workflow_info_on_extra``
    puts it into the record as ``temporal_workflow``, ``full_workflow_info_on_extra`` the whole `Info` as
    ``workflow_info``; ``log_during_replay`` lets repeated records through.
    """

    def __init__(self, logger: logging.Logger, extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(logger, extra or {})
        self.workflow_info_on_message = True
        self.workflow_info_on_extra = True
        self.full_workflow_info_on_extra = False
        self.log_during_replay = False
        self.disable_sandbox = False

    def unsafe_disable_sandbox(self, value: bool = True) -> None:
        """Without effect, but for ``disable_sandbox``: handlers of log records run outside of workflow code anyway."""
        self.disable_sandbox = value

    @property
    def base_logger(self) -> logging.Logger:
        """The logger underneath, which logs at once and during replay too."""
        return self.logger

    def isEnabledFor(self, level: int) -> bool:
        run = maybe_workflow()
        if run is not None and run.is_replaying() and not run.is_read_only() and not self.log_during_replay:
            return False
        return super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        run = maybe_workflow()
        extra = dict(self.extra or {})
        if run is not None:
            info = run.info()
            details = info._logger_details()  # pyright: ignore[reportPrivateUsage]
            update = current_update.get()
            if update is not None:
                details.update(update._logger_details())  # pyright: ignore[reportPrivateUsage]
            if self.workflow_info_on_message:
                msg = f"{msg} ({details})"
            if self.workflow_info_on_extra:
                extra["temporal_workflow"] = details
            if self.full_workflow_info_on_extra:
                extra["workflow_info"] = info
        kwargs["extra"] = {**extra, **(kwargs.get("extra") or {})}
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, stacklevel: int = 1, **kwargs: Any) -> None:
        if not self.isEnabledFor(level):
            return
        run = maybe_workflow()
        msg, kwargs = self.process(msg, kwargs)
        kwargs["stacklevel"] = stacklevel + 1
        if run is None:
            self.logger.log(level, msg, *args, **kwargs)
        else:
            run.log(self.logger, _record(self.logger, level, msg, args, **kwargs))


def _record(
    logger: logging.Logger,
    level: int,
    msg: Any,
    args: tuple[object, ...],
    *,
    exc_info: Any = None,
    extra: Mapping[str, object] | None = None,
    stack_info: bool = False,
    stacklevel: int = 1,
) -> logging.LogRecord:
    """The record that ``logger`` would make for the caller of the adapter, to be handled later."""
    path, line, function, stack = logger.findCaller(stack_info, stacklevel + 1)
    error: Any = exc_info or None
    if isinstance(error, BaseException):
        error = (type(error), error, error.__traceback__)
    elif error is True:
        error = sys.exc_info()
    return logger.makeRecord(logger.name, level, path, line, msg, args, error, function, extra, stack)


logger = LoggerAdapter(logging.getLogger("temporalio.workflow"))
"""Logs with the run that it is called in, and says nothing while it replays: `LoggerAdapter`."""
"""Log from workflow code with this."""
