"""Temporal's runtime and its telemetry settings: accepted so that programs port. No core is there to use them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import ClassVar, NewType, Protocol

from durable.metrics import MetricAttributes, MetricMeter

__all__ = [
    "BUFFERED_METRIC_KIND_COUNTER",
    "BUFFERED_METRIC_KIND_GAUGE",
    "BUFFERED_METRIC_KIND_HISTOGRAM",
    "BufferedMetric",
    "BufferedMetricKind",
    "BufferedMetricUpdate",
    "LogForwardingConfig",
    "LoggingConfig",
    "LoggingFormat",
    "MetricBuffer",
    "MetricBufferDurationFormat",
    "OpenTelemetryConfig",
    "OpenTelemetryMetricTemporality",
    "PrometheusConfig",
    "Runtime",
    "TelemetryConfig",
    "TelemetryFilter",
]


@dataclass
class TelemetryFilter:
    """Which levels a Temporal core logs, for itself and for what it uses."""

    core_level: str
    other_level: str

    def formatted(self) -> str:
        """As Temporal's core takes it: the level of all others, then that of each of its modules."""
        modules = ("temporalio_common", "temporalio_sdk_core", "temporalio_client", "temporalio_sdk")
        return ",".join(
            [self.other_level, *(f"{module}={self.core_level}" for module in (*modules, "temporal_sdk_bridge"))]
        )


class LoggingFormat(Enum):
    """How a Temporal core writes its log."""

    COMPACT = "compact"
    PRETTY = "pretty"
    JSON = "json"


@dataclass
class LogForwardingConfig:
    """To which logger a Temporal core's log would go."""

    logger: logging.Logger
    append_target_to_name: bool = True
    prepend_target_on_message: bool = True
    overwrite_log_record_time: bool = True
    append_log_fields_to_message: bool = True


@dataclass(frozen=True)
class LoggingConfig:
    """What a Temporal core logs. durable logs to Python's loggers ``durable.*``: set those."""

    filter: TelemetryFilter | str
    forwarding: LogForwardingConfig | None = None
    format: LoggingFormat | None = None

    default: ClassVar[LoggingConfig]


LoggingConfig.default = LoggingConfig(filter=TelemetryFilter(core_level="WARN", other_level="ERROR"))


class OpenTelemetryMetricTemporality(Enum):
    """Values are Temporal's."""

    CUMULATIVE = 1
    DELTA = 2


@dataclass(frozen=True)
class OpenTelemetryConfig:
    """Where a Temporal core's metrics would be sent."""

    url: str
    headers: Mapping[str, str] | None = None
    metric_periodicity: timedelta | None = None
    metric_temporality: OpenTelemetryMetricTemporality = OpenTelemetryMetricTemporality.CUMULATIVE
    durations_as_seconds: bool = False
    http: bool = False
    histogram_bucket_overrides: Mapping[str, Sequence[float]] | None = None


@dataclass(frozen=True)
class PrometheusConfig:
    """Where a Temporal core's metrics would be shown. Nothing listens there."""

    bind_address: str
    counters_total_suffix: bool = False
    unit_suffix: bool = False
    durations_as_seconds: bool = False
    histogram_bucket_overrides: Mapping[str, Sequence[float]] | None = None


class MetricBufferDurationFormat(Enum):
    """Values are Temporal's."""

    MILLISECONDS = 1
    SECONDS = 2


BufferedMetricKind = NewType("BufferedMetricKind", int)
"""What kind a metric is: one of the three below."""

BUFFERED_METRIC_KIND_COUNTER = BufferedMetricKind(0)
"""It only grows."""
BUFFERED_METRIC_KIND_GAUGE = BufferedMetricKind(1)
"""It is set."""
BUFFERED_METRIC_KIND_HISTOGRAM = BufferedMetricKind(2)
"""It is spread over buckets."""


class BufferedMetric(Protocol):
    """A metric in a `MetricBuffer`."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def description(self) -> str | None:
        """What it measures, for people."""

    @property
    def unit(self) -> str | None:
        """What one of it is."""

    @property
    def kind(self) -> BufferedMetricKind:
        """Counter, gauge or histogram."""
        ...


class BufferedMetricUpdate(Protocol):
    """A value of a metric in a `MetricBuffer`."""

    @property
    def metric(self) -> BufferedMetric:
        """The metric that has changed."""
        ...

    @property
    def value(self) -> int | float:
        """Its value, or by how much it has grown."""
        ...

    @property
    def attributes(self) -> MetricAttributes:
        """What the value is labelled with."""
        ...


class MetricBuffer:
    """Collects what a Temporal core measures. Nothing is measured here, so it stays empty."""

    def __init__(
        self, buffer_size: int, duration_format: MetricBufferDurationFormat = MetricBufferDurationFormat.MILLISECONDS
    ) -> None:
        if buffer_size < 1:
            raise ValueError(f"a buffer holds 1 update or more, not {buffer_size}")
        self._buffer_size = buffer_size
        self._duration_format = duration_format

    def retrieve_updates(self) -> Sequence[BufferedMetricUpdate]:
        """What was measured since the last call: nothing."""
        return []


@dataclass(frozen=True)
class TelemetryConfig:
    """What a Temporal core tells of itself, and where."""

    logging: LoggingConfig | None = LoggingConfig.default
    metrics: OpenTelemetryConfig | PrometheusConfig | MetricBuffer | None = None
    global_tags: Mapping[str, str] = field(default_factory=dict[str, str])
    attach_service_name: bool = True
    metric_prefix: str | None = None


class Runtime:
    """Where a Temporal core would run. There is none here; clients take a runtime and need none."""

    _default: ClassVar[Runtime | None] = None
    _prevented: ClassVar[bool] = False

    def __init__(
        self,
        *,
        telemetry: TelemetryConfig,
        worker_heartbeat_interval: timedelta | None = timedelta(seconds=60),
        disable_environment_info: bool = False,
    ) -> None:
        self.telemetry = telemetry

    @classmethod
    def default(cls) -> Runtime:
        """The runtime of those who name none, made when it is first asked for. RuntimeError after `prevent_default`."""
        if cls._default is None:
            if cls._prevented:
                raise RuntimeError("there is no default runtime: it was prevented; set one with Runtime.set_default")
            cls._default = cls(telemetry=TelemetryConfig())
        return cls._default

    @classmethod
    def prevent_default(cls) -> None:
        """From now on no default is made. RuntimeError when one was."""
        if cls._default is not None:
            raise RuntimeError("the default runtime is made already: prevent it first thing in the program")
        cls._prevented = True

    @staticmethod
    def set_default(runtime: Runtime, *, error_if_already_set: bool = True) -> None:
        """Make ``runtime`` the default. RuntimeError when there is one, unless ``error_if_already_set`` is False."""
        if Runtime._default is not None and error_if_already_set:
            raise RuntimeError("the default runtime is set already")
        Runtime._default = runtime

    @property
    def metric_meter(self) -> MetricMeter:
        """A meter that measures nothing."""
        return MetricMeter.noop
