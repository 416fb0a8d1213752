"""A logger provider for workflow code: what is logged there, by OpenTelemetry's own logs API, is logged once."""

from __future__ import annotations

from functools import partial
from typing import Any

from opentelemetry._logs import Logger, LoggerProvider, LogRecord
from opentelemetry.context import get_current
from opentelemetry.util.types import Attributes

from durable import workflow
from durable.context import maybe_workflow
from durable.contrib.opentelemetry.once import tell_once


class ReplaySafeLoggerProvider(LoggerProvider):
    """Around ``logger_provider``: what workflow code emits is handed on once, when its step is committed, with the
    workflow's time if it brings none; a replay hands on nothing.

    (`workflow.logger`, and Python's logging, need none of this.)
    """

    def __init__(self, logger_provider: LoggerProvider) -> None:
        self._provider = logger_provider

    def get_logger(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> Logger:
        return _Logger(name, self._provider.get_logger(name, version, schema_url, attributes))

    def __getattr__(self, name: str) -> Any:
        """``shutdown``, ``force_flush`` …"""
        return getattr(self._provider, name)


class _Logger(Logger):
    def __init__(self, name: str, logger: Logger) -> None:
        super().__init__(name)
        self._logger = logger

    # OpenTelemetry's versions differ in what may be given instead of a record.
    def emit(self, record: LogRecord | None = None, **fields: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if record is None:
            fields["context"] = fields.get("context") or get_current()
        if maybe_workflow() is not None:
            if record is None:
                fields["timestamp"] = fields.get("timestamp") or workflow.time_ns()
            elif record.timestamp is None:
                record.timestamp = workflow.time_ns()
        given = () if record is None else (record,)
        tell_once(partial(self._logger.emit, *given, **fields))

    def enabled(self, **asked: Any) -> bool:
        return self._logger.enabled(**asked)
