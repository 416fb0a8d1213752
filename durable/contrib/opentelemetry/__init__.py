"""Traces with OpenTelemetry: the names of `temporalio.contrib.opentelemetry`. Needs ``pip install "durable[otel]"``."""

from __future__ import annotations

from durable.contrib.opentelemetry.interceptor import TracingInterceptor
from durable.contrib.opentelemetry.plugin import OpenTelemetryInterceptor, OpenTelemetryPlugin
from durable.contrib.opentelemetry.replay_safe import (
    ReplaySafeTracerProvider,
    TemporalIdGenerator,
    create_tracer_provider,
)
from durable.contrib.opentelemetry.replay_safe_logs import ReplaySafeLoggerProvider
from durable.contrib.opentelemetry.replay_safe_metrics import ReplaySafeMeterProvider
from durable.contrib.opentelemetry.workflow_interceptor import TracingWorkflowInboundInterceptor

__all__ = [
    "OpenTelemetryInterceptor",
    "OpenTelemetryPlugin",
    "ReplaySafeLoggerProvider",
    "ReplaySafeMeterProvider",
    "ReplaySafeTracerProvider",
    "TemporalIdGenerator",
    "TracingInterceptor",
    "TracingWorkflowInboundInterceptor",
    "create_tracer_provider",
]
