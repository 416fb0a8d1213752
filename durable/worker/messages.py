"""Pure: signals, queries and updates to the handlers of a run; signals without one are kept for who comes for them."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from msgspec import Struct

from durable.converter import DataConverter
from durable.history.events import WorkflowExecutionSignaled
from durable.history.messages import Query
from durable.history.values import Payload, UpdateRequest
from durable.workflow.definition import HandlersByName, WorkflowDefinition
from durable.workflow.errors import NondeterminismError
from durable.workflow.handlers import HandlerDefinition, Kind
from durable.workflow.interception import (
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    WorkflowInboundInterceptor,
)

logger = logging.getLogger("durable.worker")

_receiving: ContextVar[list[Sequence[Any]] | None] = ContextVar("durable_receiving", default=None)
"""Where a signal goes that the code is receiving, once its interceptors have handed it on."""

BUILT_IN = ("__enhanced_stack_trace", "__stack_trace", "__temporal_workflow_metadata")


class Call(Struct, frozen=True):
    """A handler and what to call it with."""

    definition: HandlerDefinition
    fn: Callable[..., Any]
    args: Sequence[Any]
    kwargs: dict[str, Any]

    def through(self, interceptor: Callable[[Any], Any], input: object) -> Call:
        """The interceptor's in its place."""
        return Call(self.definition, interceptor, (input,), {})

    async def run(self) -> Any:
        result = self.fn(*self.args, **self.kwargs)
        return await result if inspect.isawaitable(result) else result


class Handlers:
    """The handlers of one run, bound to its object (None for a function workflow), and the signals without one.

    ``inbound``, if there is one, is called in their place, and calls them.
    """

    def __init__(self, definition: WorkflowDefinition, instance: Any, converter: DataConverter) -> None:
        self.inbound: WorkflowInboundInterceptor | None = None
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

    def find(self, kind: Kind, name: str) -> HandlerDefinition | None:
        """The one that takes what is called so, be it the dynamic one."""
        handlers = self.of(kind)
        return handlers.get(name) or handlers.get(None)

    def must_find(self, kind: Kind, name: str) -> HandlerDefinition:
        """Like `find`; RuntimeError when there is none."""
        handler = self.find(kind, name)
        if handler is not None:
            return handler
        if kind is Kind.QUERY:
            known = f"known queries: [{' '.join([*BUILT_IN, *self._names(kind)])}]"
            raise RuntimeError(f"Query handler for {name!r} expected but not found, {known}")
        raise RuntimeError(
            f"Update handler for {name!r} expected but not found, and there is no dynamic handler. "
            f"known updates: [{' '.join(self._names(kind))}]"
        )

    def bound(self, handler: HandlerDefinition) -> Callable[..., Any]:
        """Its function as it may be called."""
        return handler.bound(self._instance)

    def judge(self, handler: HandlerDefinition, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Have its validator, if it has one, raise what rejects an update."""
        if handler.validator is not None:
            first = (self._instance,) if handler.is_method else ()
            handler.validator(*first, *args, **kwargs)

    def _names(self, kind: Kind) -> list[str]:
        return sorted(name for name in self.of(kind) if name is not None)

    # -- signals

    def signal(self, event: WorkflowExecutionSignaled) -> Call | None:
        """The handling of a signal, to be run as a task.

        None: there is no handler for it (it is kept), or its arguments can't be decoded (it is logged, and dropped).
        Raises `NondeterminismError` when the code that decodes them does what it may not do.
        """
        handler = self.find(Kind.SIGNAL, event.signal_name)
        if handler is None:
            self._unhandled.append(event)
            self._wake_receiver(event.signal_name)
            return None
        try:
            call = self._call(handler, event.signal_name, event.input)
        except NondeterminismError:
            raise
        except Exception as error:
            logger.warning("signal %r dropped: its arguments can't be decoded: %s", event.signal_name, error)
            return None
        if self.inbound is None:
            return call
        return call.through(
            self.inbound.handle_signal,
            HandleSignalInput(event.signal_name, call.args, event.header, kwargs=call.kwargs),
        )

    async def receive(self, name: str, type_hint: Any) -> Any:
        """The next signal of this name. Whoever is cancelled while it comes leaves it to the next."""
        if self.find(Kind.SIGNAL, name) is not None:
            raise ValueError(f"a handler takes the signals {name!r}: none of them will ever be there to be received")
        self._receivers.setdefault(name, [])
        while True:
            event = next((each for each in self._unhandled if each.signal_name == name), None)
            if event is None:
                await self._next_signal(name)
                continue
            self._unhandled.remove(event)
            try:
                values = self._received(event, type_hint)
            except NondeterminismError:
                raise
            except Exception as error:
                logger.warning("signal %r dropped: it can't be read as %s: %s", name, type_hint, error)
                continue
            if self.inbound is not None:
                handed_over = await self._through(self.inbound, event, values)
                if handed_over is None:
                    continue
                values = handed_over
            return values if len(values) > 1 else values[0] if values else None

    async def _through(
        self, inbound: WorkflowInboundInterceptor, event: WorkflowExecutionSignaled, values: Sequence[Any]
    ) -> Sequence[Any] | None:
        """What interceptors leave of a signal that is received; None if they keep it."""
        taken: list[Sequence[Any]] = []
        before = _receiving.set(taken)
        try:
            await inbound.handle_signal(HandleSignalInput(event.signal_name, values, event.header))
        except asyncio.CancelledError:
            self._unhandled.insert(0, event)
            self._wake_receiver(event.signal_name)
            raise
        finally:
            _receiving.reset(before)
        return taken[0] if taken else None

    def hand_over(self, input: HandleSignalInput) -> None:
        """For the last of the interceptors: a signal without a handler goes to the code that receives it."""
        taken = _receiving.get()
        if taken is None:
            raise RuntimeError(f"there is no handler for the signal {input.signal!r} that an interceptor hands on")
        taken.append(input.args)

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

    def _received(self, event: WorkflowExecutionSignaled, type_hint: Any) -> Sequence[Any]:
        hints = None if type_hint is None else [type_hint] * len(event.input)
        return self._converter.from_payloads(event.input, hints)

    # -- queries and updates

    def query(self, query: Query) -> Any:
        """What the handler answers. Raises what the handler raises; RuntimeError when there is none.

        What every run answers, only interceptors come here with.
        """
        if self.inbound is not None and query.name in BUILT_IN:
            return _at_once(self.inbound.handle_query(HandleQueryInput(query.id, query.name, [], query.header)))
        call = self._call(self.must_find(Kind.QUERY, query.name), query.name, query.args)
        if self.inbound is not None:
            input = HandleQueryInput(query.id, query.name, call.args, query.header, kwargs=call.kwargs)
            call = call.through(self.inbound.handle_query, input)
        result = call.fn(*call.args, **call.kwargs)
        return _at_once(result) if inspect.iscoroutine(result) else result

    def update(self, request: UpdateRequest, *, judge: bool) -> Call:
        """The handling of an update. Raises what rejects it: no handler, bad arguments; its validator, to ``judge``."""
        update = request.input
        handler = self.must_find(Kind.UPDATE, update.name)
        call = self._call(handler, update.name, update.args)
        if self.inbound is None:
            if judge:
                self.judge(handler, call.args, call.kwargs)
            return call
        if judge and handler.validator is not None:
            self.inbound.handle_update_validator(_update_input(request, call))
            call = self._call(handler, update.name, update.args)  # the validator may have changed the values
        return call.through(self.inbound.handle_update_handler, _update_input(request, call))

    def _call(self, handler: HandlerDefinition, name: str, payloads: Sequence[Payload]) -> Call:
        args, kwargs = handler.arguments(self._converter, name, payloads)
        return Call(handler, handler.bound(self._instance), args, kwargs)


def _update_input(request: UpdateRequest, call: Call) -> HandleUpdateInput:
    update = request.input
    return HandleUpdateInput(request.meta.update_id, update.name, call.args, update.header, kwargs=call.kwargs)


def _at_once(coroutine: Awaitable[Any]) -> Any:
    """The result of a coroutine that awaits nothing."""
    steps = coroutine.__await__()
    try:
        next(steps)
    except StopIteration as end:
        return end.value
    raise RuntimeError("a query can't wait for anything")
