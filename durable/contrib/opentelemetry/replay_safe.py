"""A tracer provider for workflow code: a span there may last through many steps, and is exported once, at its end."""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    SpanLimits,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import Attributes, AttributeValue

from durable import workflow
from durable.context import WorkflowContext, maybe_workflow
from durable.contrib.opentelemetry.once import tell_once


class TemporalIdGenerator(IdGenerator):
    """Ids that are the same in each replay, in workflow code; elsewhere, and in queries, those of ``id_generator``."""

    def __init__(self, id_generator: IdGenerator) -> None:
        self._given = id_generator
        self._of_runs: WeakKeyDictionary[WorkflowContext, random.Random] = WeakKeyDictionary()

    def generate_span_id(self) -> int:
        own = self._own()
        return self._given.generate_span_id() if own is None else own.randrange(1, 1 << 64)

    def generate_trace_id(self) -> int:
        own = self._own()
        return self._given.generate_trace_id() if own is None else own.randrange(1, 1 << 128)

    def _own(self) -> random.Random | None:
        """A source of chance apart from `workflow.random`, which must not depend on who traces what."""
        run = maybe_workflow()
        if run is None or run.is_read_only():
            return None
        own = self._of_runs.get(run)
        if own is None:
            own = self._of_runs[run] = random.Random(f"spans of {workflow.info().run_id}")
        return own


class ReplaySafeTracerProvider(trace.TracerProvider):
    """Around ``tracer_provider``, which must have been made with ``id_generator``. `create_tracer_provider` makes both.

    In workflow code its spans begin and end at the workflow's time. The step in which one ends exports it, once it is
    committed; a replay never does. Elsewhere they are ordinary spans.
    """

    def __init__(self, tracer_provider: TracerProvider, id_generator: TemporalIdGenerator) -> None:
        made_with: object = tracer_provider.id_generator
        if made_with is not id_generator:
            raise ValueError("tracer_provider must have been made with this id_generator; see create_tracer_provider")
        self._provider = tracer_provider
        self._id_generator = id_generator

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """As the SDK's provider does it."""
        self._provider.add_span_processor(span_processor)

    def shutdown(self) -> None:
        """As the SDK's provider does it."""
        self._provider.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """As the SDK's provider does it."""
        return self._provider.force_flush(timeout_millis)

    def id_generator(self) -> TemporalIdGenerator:
        """What ids come from."""
        return self._id_generator

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> Tracer:
        return _Tracer(
            self._provider.get_tracer(instrumenting_module_name, instrumenting_library_version, schema_url, attributes)
        )


def create_tracer_provider(
    sampler: Sampler | None = None,
    resource: Resource | None = None,
    shutdown_on_exit: bool = True,
    active_span_processor: SynchronousMultiSpanProcessor | ConcurrentMultiSpanProcessor | None = None,
    id_generator: IdGenerator | None = None,
    span_limits: SpanLimits | None = None,
) -> ReplaySafeTracerProvider:
    """A tracer provider for `OpenTelemetryPlugin`; the parameters are those of OpenTelemetry's ``TracerProvider``."""
    ids = TemporalIdGenerator(id_generator or RandomIdGenerator())
    provider = TracerProvider(sampler, resource, shutdown_on_exit, active_span_processor, ids, span_limits)
    return ReplaySafeTracerProvider(provider, ids)


class _Tracer(Tracer):
    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        if maybe_workflow() is not None and start_time is None:
            start_time = workflow.time_ns()
        with workflow.unsafe.sandbox_unrestricted():
            span = self._tracer.start_span(
                name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception
            )
        return span if maybe_workflow() is None else _Span(span)

    @contextmanager
    def start_as_current_span(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Generator[Span]:
        span = self.start_span(name, context, kind, attributes, links, start_time)
        with trace.use_span(span, end_on_exit, record_exception, set_status_on_exception):
            yield span


class _Span(Span):
    """A span of workflow code: what happens to it has the workflow's time, and its end waits for the commit."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._ended = False

    def end(self, end_time: int | None = None) -> None:
        if not self._ended:
            self._ended = True
            tell_once(partial(self._span.end, end_time or _now_ns()))

    def get_span_context(self) -> SpanContext:
        return self._span.get_span_context()

    def is_recording(self) -> bool:
        return not self._ended and self._span.is_recording()

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        self._span.set_attributes(attributes)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        self._span.set_attribute(key, value)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        self._span.add_event(name, attributes, timestamp or _now_ns())

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        self._span.add_link(context, attributes)

    def update_name(self, name: str) -> None:
        self._span.update_name(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self._span.set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        self._span.record_exception(exception, attributes, timestamp or _now_ns(), escaped)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._span, name)


def _now_ns() -> int | None:
    """The workflow's time; None elsewhere."""
    return workflow.time_ns() if maybe_workflow() is not None else None
