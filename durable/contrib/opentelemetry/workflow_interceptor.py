"""The spans of workflow code: made where it runs, exported when its step is committed, never by a replay."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NoReturn

from opentelemetry.context import Context, attach, create_key, detach, get_current, get_value, set_value
from opentelemetry.trace import Link, SpanKind, get_current_span, set_span_in_context
from opentelemetry.util.types import Attributes

from durable import workflow
from durable.context import this_workflow
from durable.contrib.opentelemetry.carrier import Carrier
from durable.worker import (
    ContinueAsNewInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    SignalChildWorkflowInput,
    SignalExternalWorkflowInput,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowOutboundInterceptor,
)

if TYPE_CHECKING:
    from durable.contrib.opentelemetry.interceptor import TracingInterceptor

TRACING = "durable.contrib.opentelemetry"
"""The extern function that answers with the `TracingInterceptor` of the worker."""

_KEY = create_key("durable-workflow-tracing")


class TracingWorkflowInboundInterceptor(Carrier, WorkflowInboundInterceptor):
    """One run's part of a trace. See `TracingInterceptor` for when to extend it.

    All its spans are children of the one that started the workflow; what answers a message is linked to the span that
    sent it.
    """

    def __init__(self, next: WorkflowInboundInterceptor) -> None:
        super().__init__(next)
        self._tracing: TracingInterceptor = workflow.extern_functions()[TRACING]()

    @staticmethod
    def current() -> TracingWorkflowInboundInterceptor | None:
        """That of the workflow code that asks; None if that is not traced."""
        found = get_value(_KEY)
        return found if isinstance(found, TracingWorkflowInboundInterceptor) else None

    @cached_property
    def _started_in(self) -> Context:
        """The context in which the workflow was started; an empty one, if that was in no trace."""
        return self.context_from_headers(workflow.info().headers) or Context()

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound, self))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        name = workflow.info().workflow_type
        with self._entered(self._started_in):
            self.completed_span(f"RunWorkflow:{name}", kind=SpanKind.SERVER)
            try:
                result = await super().execute_workflow(input)
            except BaseException as error:
                if _ends_workflow(error):
                    self.completed_span(f"CompleteWorkflow:{name}", exception=error)
                raise
            self.completed_span(f"CompleteWorkflow:{name}")
            return result

    async def handle_signal(self, input: HandleSignalInput) -> None:
        with self._entered(self._started_in):
            sent = self.context_from_headers(input.headers)
            self.completed_span(f"HandleSignal:{input.signal}", kind=SpanKind.SERVER, link=sent)
            await super().handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        with self._entered(self.context_from_headers(input.headers) or Context()):
            self.completed_span(f"HandleQuery:{input.query}", kind=SpanKind.SERVER, link=self._started_in)
            return await super().handle_query(input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        with self._entered(self._started_in):
            sent = self.context_from_headers(input.headers)
            self.completed_span(f"ValidateUpdate:{input.update}", kind=SpanKind.SERVER, link=sent)
            super().handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        with self._entered(self._started_in):
            sent = self.context_from_headers(input.headers)
            self.completed_span(f"HandleUpdate:{input.update}", kind=SpanKind.SERVER, link=sent)
            return await super().handle_update_handler(input)

    def completed_span(
        self,
        name: str,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        link: Context | None = None,
        attributes: Attributes = None,
        exception: BaseException | None = None,
    ) -> Context | None:
        """A span at the time of the workflow, without length, in the current context; that with the span as the
        current one. None if there is no span: when history is repeated, or nobody has begun a trace."""
        run = this_workflow()
        if run.is_replaying() and not run.is_read_only():
            return None
        context = get_current()
        if not self._tracing.always_create_workflow_spans and not get_current_span(context).get_span_context().is_valid:
            return None
        linked = get_current_span(link or Context()).get_span_context()
        info, now_ns = workflow.info(), workflow.time_ns()
        with workflow.unsafe.sandbox_unrestricted():  # a span's id is a matter of chance, but not of the workflow's
            span = self._tracing.tracer.start_span(
                name,
                context,
                kind,
                {"temporalWorkflowID": info.workflow_id, "temporalRunID": info.run_id, **(attributes or {})},
                [Link(linked)] if linked.is_valid else [],
                start_time=now_ns,
            )
            if exception is not None:
                span.record_exception(exception, timestamp=now_ns)
        # Only a span that has ended is exported. One of a step that comes to nothing never does.
        run.after_commit(partial(span.end, now_ns))
        return set_span_in_context(span, context)

    @contextmanager
    def _entered(self, context: Context) -> Generator[None]:
        """Left in the same context, for that is where the engine closes the tasks of a run that it evicts."""
        token = attach(set_value(_KEY, self, context))
        try:
            yield
        finally:
            detach(token)


class _Outbound(WorkflowOutboundInterceptor):
    """What the code asks for goes out with a span, where there is somebody to go on with the trace."""

    def __init__(self, next: WorkflowOutboundInterceptor, inbound: TracingWorkflowInboundInterceptor) -> None:
        super().__init__(next)
        self._inbound = inbound

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        input.headers = self._inbound.context_to_headers(input.headers)
        super().continue_as_new(input)

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        self._begin(f"StartActivity:{input.activity}", input)
        return super().start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:
        self._begin(f"StartActivity:{input.activity}", input)
        return super().start_local_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> workflow.ChildWorkflowHandle[Any, Any]:
        self._begin(f"StartChildWorkflow:{input.workflow}", input)
        return await super().start_child_workflow(input)

    async def signal_child_workflow(self, input: SignalChildWorkflowInput) -> None:
        self._begin(f"SignalChildWorkflow:{input.signal}", input, SpanKind.SERVER)  # Temporal's kind
        await super().signal_child_workflow(input)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        self._begin(f"SignalExternalWorkflow:{input.signal}", input)
        await super().signal_external_workflow(input)

    def _begin(
        self,
        name: str,
        input: StartActivityInput
        | StartLocalActivityInput
        | StartChildWorkflowInput
        | SignalChildWorkflowInput
        | SignalExternalWorkflowInput,
        kind: SpanKind = SpanKind.CLIENT,
    ) -> None:
        context = self._inbound.completed_span(name, kind=kind)
        input.headers = self._inbound.context_to_headers(input.headers, context)


def _ends_workflow(error: BaseException) -> bool:
    """Is it not the workflow task that fails, nor a run that is followed by another?"""
    cancelled = isinstance(error, asyncio.CancelledError) and workflow.cancellation_reason() is not None
    return cancelled or this_workflow().is_failure(error)
