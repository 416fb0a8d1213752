"""`TracingInterceptor`: the spans of clients and activities, and the way of a trace from one to the other."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, get_tracer

from durable import activity
from durable.client import (
    ActivityHandle,
    OutboundInterceptor,
    QueryWorkflowInput,
    SignalWorkflowInput,
    StartActivityInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    WorkflowHandle,
    WorkflowUpdateHandle,
)
from durable.client import Interceptor as ClientInterceptor
from durable.contrib.opentelemetry.carrier import Carrier
from durable.contrib.opentelemetry.workflow_interceptor import TRACING, TracingWorkflowInboundInterceptor
from durable.exceptions import ApplicationError, ApplicationErrorCategory
from durable.worker import ActivityInboundInterceptor, ExecuteActivityInput, WorkflowInterceptorClassInput
from durable.worker import Interceptor as WorkerInterceptor


class TracingInterceptor(Carrier, ClientInterceptor, WorkerInterceptor):
    """Traces what a client does, what workflows do about it, and their activities: one trace, whoever runs what.

    Give it to `Client.connect` as one of ``interceptors``; the workers of that client have it too. Spans have
    Temporal's names. Those of workflow code have no length, for it may take years, in many processes; each is exported
    once, when the step that made it is committed, and never again by a replay.

    ``tracer`` is OpenTelemetry's global one by default. Workflow code makes spans only in a trace that a client has
    begun; with ``always_create_workflow_spans`` always, but then they have no parent.

    For another header or propagator extend this class, and `TracingWorkflowInboundInterceptor` with the same values
    (see `Carrier`); let `workflow_interceptor_class` call this one's, and return the latter.
    """

    def __init__(self, tracer: Tracer | None = None, *, always_create_workflow_spans: bool = False) -> None:
        self.tracer = tracer or get_tracer("durable")
        self.always_create_workflow_spans = always_create_workflow_spans

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _ClientOutbound(next, self)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _ActivityInbound(next, self)

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[TracingWorkflowInboundInterceptor]:
        tracing: Callable[[], TracingInterceptor] = lambda: self  # noqa: E731 - for its type
        input.unsafe_extern_functions[TRACING] = tracing
        return TracingWorkflowInboundInterceptor


class _WithHeaders(Protocol):
    headers: Any


class _ClientOutbound(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, root: TracingInterceptor) -> None:
        super().__init__(next)
        self._root = root

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        what = "SignalWithStartWorkflow" if input.start_signal else "StartWorkflow"
        with self._span(f"{what}:{input.workflow}", {"temporalWorkflowID": input.id}, input):
            return await super().start_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        with self._span(f"SignalWorkflow:{input.signal}", {"temporalWorkflowID": input.id}, input):
            await super().signal_workflow(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        with self._span(f"QueryWorkflow:{input.query}", {"temporalWorkflowID": input.id}, input):
            return await super().query_workflow(input)

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:
        with self._span(f"StartWorkflowUpdate:{input.update}", {"temporalWorkflowID": input.id}, input):
            return await super().start_workflow_update(input)

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        start, update = input.start_workflow_input, input.update_workflow_input
        attributes = {"temporalWorkflowID": start.id}
        if update.update_id is not None:
            attributes["temporalUpdateID"] = update.update_id
        with self._span(f"StartUpdateWithStartWorkflow:{start.workflow}", attributes, start, update):
            return await super().start_update_with_start_workflow(input)

    async def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        attributes = {"temporalActivityID": input.id, "temporalActivityType": input.activity_type}
        with self._span(f"StartActivity:{input.activity_type}", attributes, input):
            return await super().start_activity(input)

    @contextmanager
    def _span(self, name: str, attributes: dict[str, str], *inputs: _WithHeaders) -> Generator[None]:
        """A call under way, which the inputs tell of."""
        with self._root.tracer.start_as_current_span(name, kind=SpanKind.CLIENT, attributes=attributes):
            for input in inputs:
                input.headers = self._root.context_to_headers(input.headers)
            yield


class _ActivityInbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, root: TracingInterceptor) -> None:
        super().__init__(next)
        self._root = root

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        ids = {
            "temporalWorkflowID": info.workflow_id,
            "temporalRunID": info.workflow_run_id,
            "temporalActivityID": info.activity_id,
        }
        with self._root.tracer.start_as_current_span(
            f"RunActivity:{info.activity_type}",
            self._root.context_from_headers(input.headers) or Context(),
            SpanKind.SERVER,
            {key: id for key, id in ids.items() if id},
            set_status_on_exception=False,
        ) as span:
            try:
                return await super().execute_activity(input)
            except Exception as error:
                if not (isinstance(error, ApplicationError) and error.category is ApplicationErrorCategory.BENIGN):
                    span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
                raise
