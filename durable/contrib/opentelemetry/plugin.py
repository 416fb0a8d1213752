"""`OpenTelemetryPlugin`: spans of any length in workflow code, with OpenTelemetry's own tracer."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NoReturn

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Span, SpanKind, get_tracer, get_tracer_provider

from durable import workflow
from durable.contrib.opentelemetry.carrier import Carrier
from durable.contrib.opentelemetry.outside import OutsideWorkflows
from durable.contrib.opentelemetry.replay_safe import ReplaySafeTracerProvider
from durable.plugin import SimplePlugin
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
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

ROOT = "durable.contrib.opentelemetry.plugin"
"""The extern function that answers with the `OpenTelemetryInterceptor` of the worker."""


class OpenTelemetryInterceptor(OutsideWorkflows):
    """Takes the current context of OpenTelemetry along, from clients to workflows, activities, children, and so on.

    With ``add_temporal_spans`` there are spans of all that as well, under Temporal's names. The tracer is that of
    OpenTelemetry's global provider, which has to be of `create_tracer_provider` in a worker: ValueError otherwise.
    """

    def __init__(self, add_temporal_spans: bool = False) -> None:
        self._adds_spans = add_temporal_spans

    def span(
        self,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, str],
        context: Context | None = None,
        *,
        sets_status: bool = True,
    ) -> AbstractContextManager[Span | None]:
        if not self._adds_spans:
            return _entered(context)
        tracer = get_tracer("durable")
        return tracer.start_as_current_span(name, context, kind, attributes, set_status_on_exception=sets_status)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        if not isinstance(get_tracer_provider(), ReplaySafeTracerProvider):
            raise ValueError(
                "workflow code needs a tracer provider that knows of replay: "
                "opentelemetry.trace.set_tracer_provider(durable.contrib.opentelemetry.create_tracer_provider())"
            )
        input.unsafe_extern_functions[ROOT] = lambda: self
        return _Inbound


class OpenTelemetryPlugin(SimplePlugin):
    """`OpenTelemetryInterceptor` for a client and its workers: ``Client.connect(…, plugins=[OpenTelemetryPlugin()])``.

    Workflow code may then use OpenTelemetry as any code does: ``with tracer.start_as_current_span(…):``.
    """

    def __init__(self, *, add_temporal_spans: bool = False) -> None:
        super().__init__("OpenTelemetryPlugin", interceptors=[OpenTelemetryInterceptor(add_temporal_spans)])


@contextmanager
def _entered(context: Context | None) -> Generator[None]:
    """In ``context``, if it is one."""
    token = None if context is None else attach(context)
    try:
        yield
    finally:
        if token is not None:
            detach(token)


class _Inbound(Carrier, WorkflowInboundInterceptor):
    def __init__(self, next: WorkflowInboundInterceptor) -> None:
        super().__init__(next)
        self.root: OpenTelemetryInterceptor = workflow.extern_functions()[ROOT]()

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound, self))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        with self.span(f"RunWorkflow:{workflow.info().workflow_type}", SpanKind.SERVER, input):
            return await super().execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        with self.span(f"HandleSignal:{input.signal}", SpanKind.SERVER, input):
            await super().handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        with self.span(f"HandleQuery:{input.query}", SpanKind.SERVER, input):
            return await super().handle_query(input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        with self.span(f"ValidateUpdate:{input.update}", SpanKind.SERVER, input):
            super().handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        with self.span(f"HandleUpdate:{input.update}", SpanKind.SERVER, input):
            return await super().handle_update_handler(input)

    def span(
        self,
        name: str,
        kind: SpanKind,
        told: ExecuteWorkflowInput | HandleSignalInput | HandleQueryInput | HandleUpdateInput | None = None,
    ) -> AbstractContextManager[Span | None]:
        """In the context of whoever sent ``told``; by default in the current one."""
        info = workflow.info()
        context = None
        if told is not None:
            sent = self.context_from_headers(told.headers)
            context = sent or self.context_from_headers(info.headers) or Context()
        return self.root.span(
            name, kind, {"temporalWorkflowID": info.workflow_id, "temporalRunID": info.run_id}, context
        )


class _Outbound(WorkflowOutboundInterceptor):
    """What the code asks for takes the current context along."""

    def __init__(self, next: WorkflowOutboundInterceptor, inbound: _Inbound) -> None:
        super().__init__(next)
        self._inbound = inbound

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        input.headers = self._inbound.context_to_headers(input.headers)
        super().continue_as_new(input)

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        with self._inbound.span(f"StartActivity:{input.activity}", SpanKind.CLIENT):
            input.headers = self._inbound.context_to_headers(input.headers)
            return super().start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:
        with self._inbound.span(f"StartActivity:{input.activity}", SpanKind.CLIENT):
            input.headers = self._inbound.context_to_headers(input.headers)
            return super().start_local_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> workflow.ChildWorkflowHandle[Any, Any]:
        with self._inbound.span(f"StartChildWorkflow:{input.workflow}", SpanKind.CLIENT):
            input.headers = self._inbound.context_to_headers(input.headers)
            return await super().start_child_workflow(input)

    async def signal_child_workflow(self, input: SignalChildWorkflowInput) -> None:
        with self._inbound.span(f"SignalChildWorkflow:{input.signal}", SpanKind.SERVER):  # Temporal's kind
            input.headers = self._inbound.context_to_headers(input.headers)
            await super().signal_child_workflow(input)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        with self._inbound.span(f"SignalExternalWorkflow:{input.signal}", SpanKind.CLIENT):
            input.headers = self._inbound.context_to_headers(input.headers)
            await super().signal_external_workflow(input)
