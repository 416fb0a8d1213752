"""Pure: signals, queries and updates to the handlers of a run; signals without one are kept for who comes for them."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec import Struct

from durable.converter import DataConverter
from durable.history.events import WorkflowExecutionSignaled
from durable.history.messages import Query
from durable.history.values import Payload, UpdateInput
from durable.workflow.definition import HandlersByName, WorkflowDefinition
from durable.workflow.handlers import HandlerDefinition, Kind

logger = logging.getLogger("durable.worker")

BUILT_IN = ("__enhanced_stack_trace", "__stack_trace", "__temporal_workflow_metadata")


class Call(Struct, frozen=True):
    """A handler and what to call it with."""

    definition: HandlerDefinition
    fn: Callable[..., Any]
    args: Sequence[Any]
    kwargs: dict[str, Any]

    async def run(self) -> Any:
        result = self.fn(*self.args, **self.kwargs)
        return await result if inspect.isawaitable(result) else result


class Handlers:
    """The handlers of one run, bound to its object (None for a function workflow), and the signals without one."""

    def __init__(self, definition: WorkflowDefinition, instance: Any, converter: DataConverter) -> None:
        self._by_kind: dict[Kind, HandlersByName] = definition.handlers  # replaced as a whole, never changed
        self._instance = instance
        self._converter = converter
        self._unhandled: list[WorkflowExecutionSignaled] = []
        self._receivers: dict[str, list[asyncio.Future[None]]] = {}
        self._takes_all = definition.cls is None

    # -- which handlers there are

    def of(self, kind: Kind) -> HandlersByName:
        return self._by_kind.get(kind, {})

    def get(self, kind: Kind, name: str | None) -> Callable[..., Any] | None:
        definition = self.of(kind).get(name)
        return None if definition is None else definition.bound(self._instance)

    def set(
        self, kind: Kind, name: str | None, definition: HandlerDefinition | None
    ) -> Sequence[WorkflowExecutionSignaled]:
        """Put a handler in place, or None. The answer are the signals that waited for it, to be handled now."""
        others = {known: handler for known, handler in self.of(kind).items() if known != name}
        self._by_kind = {**self._by_kind, kind: others if definition is None else {**others, name: definition}}
        if kind is not Kind.SIGNAL or definition is None:
            return ()
        waited = [event for event in self._unhandled if name in (None, event.signal_name)]
        self._unhandled = [event for event in self._unhandled if name not in (None, event.signal_name)]
        return waited

    def _find(self, kind: Kind, name: str) -> HandlerDefinition | None:
        handlers = self.of(kind)
        return handlers.get(name) or handlers.get(None)

    def _known(self, kind: Kind) -> str:
        names = sorted(name for name in self.of(kind) if name is not None)
        return " ".join([*BUILT_IN, *names] if kind is Kind.QUERY else names)

    # -- signals

    def signal(self, event: WorkflowExecutionSignaled) -> Call | None:
        """The handling of a signal, to be run as a task.

        None: there is no handler for it (it is kept), or its arguments can't be decoded (it is logged, and dropped).
        """
        handler = self._find(Kind.SIGNAL, event.signal_name)
        if handler is None:
            self._unhandled.append(event)
            self._wake_receiver(event.signal_name)
            return None
        try:
            return self._call(handler, event.signal_name, event.input)
        except Exception as error:
            logger.warning("signal %r dropped: its arguments can't be decoded: %s", event.signal_name, error)
            return None

    async def receive(self, name: str, type_hint: Any) -> Any:
        """The next signal of this name. Whoever is cancelled while it comes leaves it to the next."""
        if self._find(Kind.SIGNAL, name) is not None:
            raise ValueError(f"a handler takes the signals {name!r}: none of them will ever be there to be received")
        self._receivers.setdefault(name, [])
        while True:
            event = next((each for each in self._unhandled if each.signal_name == name), None)
            if event is None:
                await self._next_signal(name)
                continue
            self._unhandled.remove(event)
            try:
                return self._received(event, type_hint)
            except Exception as error:
                logger.warning("signal %r dropped: it can't be read as %s: %s", name, type_hint, error)

    def untaken(self) -> list[WorkflowExecutionSignaled]:
        """The signals that may still be received: all, for a function; for a class, those that it has asked for."""
        return [event for event in self._unhandled if self._takes_all or event.signal_name in self._receivers]

    async def _next_signal(self, name: str) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._receivers[name]
        waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._wake_receiver(name)
            raise
        finally:
            if waiter in waiters:
                waiters.remove(waiter)

    def _wake_receiver(self, name: str) -> None:
        waiters = self._receivers.get(name)
        if waiters:
            waiters.pop(0).set_result(None)

    def _received(self, event: WorkflowExecutionSignaled, type_hint: Any) -> Any:
        hints = None if type_hint is None else [type_hint] * len(event.input)
        values = self._converter.from_payloads(event.input, hints)
        return values if len(values) > 1 else values[0] if values else None

    # -- queries and updates

    def query(self, query: Query) -> Any:
        """What the handler answers. Raises what the handler raises; RuntimeError when there is none."""
        handler = self._find(Kind.QUERY, query.name)
        if handler is None:
            raise RuntimeError(
                f"Query handler for {query.name!r} expected but not found, known queries: [{self._known(Kind.QUERY)}]"
            )
        call = self._call(handler, query.name, query.args)
        result = call.fn(*call.args, **call.kwargs)
        return _at_once(result) if inspect.iscoroutine(result) else result

    def update(self, update: UpdateInput, *, judge: bool) -> Call:
        """The handling of an update. Raises what rejects it: no handler, bad arguments; its validator, to ``judge``."""
        handler = self._find(Kind.UPDATE, update.name)
        if handler is None:
            raise RuntimeError(
                f"Update handler for {update.name!r} expected but not found, and there is no dynamic handler. "
                f"known updates: [{self._known(Kind.UPDATE)}]"
            )
        call = self._call(handler, update.name, update.args)
        if judge and handler.validator is not None:
            first = (self._instance,) if handler.is_method else ()
            handler.validator(*first, *call.args, **call.kwargs)
        return call

    def _call(self, handler: HandlerDefinition, name: str, payloads: Sequence[Payload]) -> Call:
        args, kwargs = handler.arguments(self._converter, name, payloads)
        return Call(handler, handler.bound(self._instance), args, kwargs)


def _at_once(coroutine: Awaitable[Any]) -> Any:
    """The result of a coroutine that awaits nothing."""
    steps = coroutine.__await__()
    try:
        next(steps)
    except StopIteration as end:
        return end.value
    raise RuntimeError("a query can't wait for anything")
