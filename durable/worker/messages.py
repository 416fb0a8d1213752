"""Pure: signals and queries to the handlers of a run."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from durable.converter import DataConverter
from durable.history.events import WorkflowExecutionSignaled
from durable.history.messages import Query, QueryAnswer
from durable.workflow.definition import HandlerDefinition, WorkflowDefinition

logger = logging.getLogger("durable.worker")


class Handlers:
    """The handlers of one run, bound to its object (None for a function workflow), and the signals without one."""

    def __init__(self, definition: WorkflowDefinition, instance: Any, converter: DataConverter) -> None:
        self._signals: dict[str, HandlerDefinition] = definition.signals
        self._queries: dict[str, HandlerDefinition] = definition.queries
        self._instance = instance
        self._converter = converter
        self._unhandled: list[WorkflowExecutionSignaled] = []

    def signal(self, event: WorkflowExecutionSignaled) -> Coroutine[Any, Any, None] | None:
        """The handling of a signal, to be run as a task.

        None: there is no handler of its name (it is kept for one), or its arguments can't be decoded (it is logged,
        and dropped).
        """
        handler = self._signals.get(event.signal_name)
        if handler is None:
            self._unhandled.append(event)
            return None
        try:
            args, kwargs = handler.signature.decode(self._converter, event.input)
        except Exception as error:
            logger.warning("signal %r dropped: its arguments can't be decoded: %s", event.signal_name, error)
            return None
        return _call(handler.fn, (self._instance, *args), kwargs)

    def query(self, query: Query) -> QueryAnswer:
        """The answer; a handler's error, or the lack of one, is an answer too."""
        handler = self._queries.get(query.name)
        try:
            if handler is None:
                raise LookupError(_unknown(query.name, self._queries))
            args, kwargs = handler.signature.decode(self._converter, query.args)
            result = handler.fn(self._instance, *args, **kwargs)
            return QueryAnswer(result=self._converter.to_payloads([result]))
        except Exception as error:
            return QueryAnswer(failure=self._converter.to_failure(error))


def _unknown(name: str, known: Iterable[str]) -> str:
    names = ", ".join(sorted(known)) or "none"
    return f"Query handler for {name!r} expected but not found; known queries: {names}"


async def _call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    result = fn(*args, **kwargs)
    if inspect.isawaitable(result):
        await result
