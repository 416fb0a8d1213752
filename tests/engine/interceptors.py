"""Interceptors for tests: one that notes every call of every hook, and one that carries a word in headers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from durable import client as of_clients
from durable import workflow
from durable.converter import DataConverter
from durable.history.values import Payload
from durable.worker import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

CHAIN = (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    WorkflowInboundInterceptor,
    WorkflowOutboundInterceptor,
)

Note = Callable[[str, Any], None]


def hooks(link: type[Any]) -> set[str]:
    """The methods that an interceptor may override."""
    return {name for name, member in vars(link).items() if inspect.isfunction(member) and not name.startswith("_")}


ALL_HOOKS = {f"{link.__name__}.{name}" for link in CHAIN for name in hooks(link)}


def noting(link: type[Any], note: Note, **own: Any) -> type[Any]:
    """A class of this link that tells ``note`` of each call, by its name and first argument, and of each return."""

    def overridden(name: str) -> Any:
        called = f"{link.__name__}.{name}"

        if inspect.iscoroutinefunction(getattr(link, name)):

            async def call_async(self: Any, *args: Any) -> Any:
                note(called, args[0] if args else None)
                result = await getattr(self.next, name)(*args)
                note(f"{called} returned", result)
                return result

            return call_async

        def call(self: Any, *args: Any) -> Any:
            note(called, args[0] if args else None)
            result = getattr(self.next, name)(*args)
            note(f"{called} returned", result)
            return result

        return call

    return type(f"Noting{link.__name__}", (link,), {name: overridden(name) for name in hooks(link)} | own)


class Recording(Interceptor):
    """Tells ``note`` of every call."""

    def __init__(self, note: Note) -> None:
        activity_outbound = noting(ActivityOutboundInterceptor, note)
        outbound = noting(WorkflowOutboundInterceptor, note)

        def init_activity(self: Any, next: ActivityOutboundInterceptor) -> None:
            note("ActivityInboundInterceptor.init", next)
            self.next.init(activity_outbound(next))

        def init_workflow(self: Any, next: WorkflowOutboundInterceptor) -> None:
            note("WorkflowInboundInterceptor.init", workflow.info().workflow_id)
            self.next.init(outbound(next))

        self._activity = noting(ActivityInboundInterceptor, note, init=init_activity)
        self._workflow = noting(WorkflowInboundInterceptor, note, init=init_workflow)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        made: ActivityInboundInterceptor = self._activity(next)
        return made

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return self._workflow


word: ContextVar[str] = ContextVar("word", default="")
"""What travels."""


def _header(headers: Mapping[str, Payload]) -> Mapping[str, Payload]:
    return {**headers, "word": DataConverter.default.to_payloads([word.get()])[0]}


def carried(headers: Mapping[str, Payload]) -> str:
    """The word of a header; "" when there is none."""
    return str(DataConverter.default.from_payloads([headers["word"]])[0]) if "word" in headers else ""


class Carrying(of_clients.Interceptor, Interceptor):
    """Puts the word into the headers of all that is sent, and takes it from those of all that comes in."""

    def intercept_client(self, next: of_clients.OutboundInterceptor) -> of_clients.OutboundInterceptor:
        return _Client(next)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Activity(next)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return _Inbound


class _Client(of_clients.OutboundInterceptor):
    async def start_workflow(self, input: Any) -> Any:
        input.headers = _header(input.headers)
        return await super().start_workflow(input)

    async def signal_workflow(self, input: Any) -> Any:
        input.headers = _header(input.headers)
        return await super().signal_workflow(input)

    async def query_workflow(self, input: Any) -> Any:
        input.headers = _header(input.headers)
        return await super().query_workflow(input)

    async def start_workflow_update(self, input: Any) -> Any:
        input.headers = _header(input.headers)
        return await super().start_workflow_update(input)

    async def start_activity(self, input: Any) -> Any:
        input.headers = _header(input.headers)
        return await super().start_activity(input)


class _Activity(ActivityInboundInterceptor):
    async def execute_activity(self, input: Any) -> Any:
        word.set(carried(input.headers))
        return await super().execute_activity(input)


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))

    async def execute_workflow(self, input: Any) -> Any:
        word.set(carried(input.headers))
        return await super().execute_workflow(input)

    async def handle_signal(self, input: Any) -> None:
        word.set(carried(input.headers))
        await super().handle_signal(input)

    async def handle_query(self, input: Any) -> Any:
        before = word.set(carried(input.headers))
        try:
            return await super().handle_query(input)
        finally:
            word.reset(before)

    def handle_update_validator(self, input: Any) -> None:
        word.set(carried(input.headers))
        super().handle_update_validator(input)

    async def handle_update_handler(self, input: Any) -> Any:
        word.set(carried(input.headers))
        return await super().handle_update_handler(input)


class _Outbound(WorkflowOutboundInterceptor):
    def continue_as_new(self, input: Any) -> Any:
        input.headers = _header(input.headers)
        super().continue_as_new(input)

    async def signal_child_workflow(self, input: Any) -> None:
        input.headers = _header(input.headers)
        await super().signal_child_workflow(input)

    async def signal_external_workflow(self, input: Any) -> None:
        input.headers = _header(input.headers)
        await super().signal_external_workflow(input)

    def start_activity(self, input: Any) -> Any:
        input.headers = _header(input.headers)
        return super().start_activity(input)

    async def start_child_workflow(self, input: Any) -> Any:
        input.headers = _header(input.headers)
        return await super().start_child_workflow(input)

    def start_local_activity(self, input: Any) -> Any:
        input.headers = _header(input.headers)
        return super().start_local_activity(input)
