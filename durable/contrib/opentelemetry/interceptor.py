"""`TracingInterceptor`: Temporal's spans, those of workflow code without length."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Tracer, get_tracer

from durable.contrib.opentelemetry.outside import OutsideWorkflows
from durable.contrib.opentelemetry.workflow_interceptor import TRACING, TracingWorkflowInboundInterceptor
from durable.worker import WorkflowInterceptorClassInput


class TracingInterceptor(OutsideWorkflows):
    """Traces what a client does, what workflows do about it, and their activities: one trace, whoever runs what.

    Give it to `Client.connect` as one of ``interceptors``; the workers of that client have it too. Spans have
    Temporal's names. Those of workflow code have no length, for it may take years, in many processes; each is exported
    once, when the step that made it is committed, and never again by a replay.

    ``tracer`` is OpenTelemetry's global one by default. Workflow code makes spans only in a trace that a client has
    begun; with ``always_create_workflow_spans`` always, but then they have no parent.

    For another ``header_key``, ``text_map_propagator`` or ``payload_converter`` extend this class, and
    `TracingWorkflowInboundInterceptor` alike; let `workflow_interceptor_class` call this one's, and return the latter.
    """

    def __init__(self, tracer: Tracer | None = None, *, always_create_workflow_spans: bool = False) -> None:
        self.tracer = tracer or get_tracer("durable")
        self.always_create_workflow_spans = always_create_workflow_spans

    def span(
        self,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, str],
        context: Context | None = None,
        *,
        sets_status: bool = True,
    ) -> AbstractContextManager[Span]:
        return self.tracer.start_as_current_span(name, context, kind, attributes, set_status_on_exception=sets_status)

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[TracingWorkflowInboundInterceptor]:
        tracing: Callable[[], TracingInterceptor] = lambda: self  # noqa: E731 - for its type
        input.unsafe_extern_functions[TRACING] = tracing
        return TracingWorkflowInboundInterceptor
