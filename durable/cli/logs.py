"""Log lines on stderr, safe for a terminal."""

from __future__ import annotations

import logging
from types import TracebackType

from durable.cli import visible

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class SafeFormatter(logging.Formatter):
    """One line a message, whatever it holds; tracebacks keep their lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = visible.text(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: ExcInfo) -> str:
        return "\n".join(visible.lines(super().formatException(ei)))


def to_stderr() -> None:
    """INFO and above, unless the program has set its logging up already."""
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter(FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
