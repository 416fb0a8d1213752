"""Traces with OpenTelemetry: the names of `temporalio.contrib.opentelemetry`. Needs ``pip install "durable[otel]"``."""

from __future__ import annotations

from durable.contrib.opentelemetry.interceptor import TracingInterceptor
from durable.contrib.opentelemetry.workflow_interceptor import TracingWorkflowInboundInterceptor

__all__ = ["TracingInterceptor", "TracingWorkflowInboundInterceptor"]
