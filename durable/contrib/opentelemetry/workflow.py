"""Spans that workflow code makes itself."""

from __future__ import annotations

from opentelemetry.util.types import Attributes

from durable.contrib.opentelemetry.workflow_interceptor import TracingWorkflowInboundInterceptor

__all__ = ["completed_span"]


def completed_span(name: str, *, attributes: Attributes = None, exception: Exception | None = None) -> None:
    """A span in the workflow's trace, at the workflow's time and without length; the run's ids are added to it.

    It is exported once, when this step is committed. Nothing happens where `TracingInterceptor` is not at work, or
    nobody has begun a trace.
    """
    tracing = TracingWorkflowInboundInterceptor.current()
    if tracing is not None:
        tracing.completed_span(name, attributes=attributes, exception=exception)
