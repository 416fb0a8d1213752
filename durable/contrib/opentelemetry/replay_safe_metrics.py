"""A meter provider for workflow code: what is measured there counts once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from opentelemetry.context import Context, get_current
from opentelemetry.metrics import (
    CallbackT,
    Counter,
    Histogram,
    Meter,
    MeterProvider,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
    _Gauge,  # pyright: ignore[reportPrivateUsage] - the class that the public name stands for in older versions
)
from opentelemetry.util.types import Attributes

from durable.contrib.opentelemetry.once import tell_once


class ReplaySafeMeterProvider(MeterProvider):
    """Around ``meter_provider``: in workflow code its counters, histograms and gauges are told once, when the step is
    committed; a replay tells them nothing. Observable instruments are as they are."""

    def __init__(self, meter_provider: MeterProvider) -> None:
        self._provider = meter_provider

    def get_meter(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> Meter:
        return _Meter(self._provider.get_meter(name, version, schema_url, attributes))

    def __getattr__(self, name: str) -> object:
        """``shutdown``, ``force_flush`` …"""
        return getattr(self._provider, name)


class _Meter(Meter):
    def __init__(self, meter: Meter) -> None:
        super().__init__(meter.name, meter.version, meter.schema_url)
        self._meter = meter

    def create_counter(self, name: str, unit: str = "", description: str = "") -> Counter:
        return _Counter(self._meter.create_counter(name, unit, description))

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "") -> UpDownCounter:
        return _UpDownCounter(self._meter.create_up_down_counter(name, unit, description))

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> Histogram:
        buckets = explicit_bucket_boundaries_advisory
        given = {} if buckets is None else {"explicit_bucket_boundaries_advisory": buckets}
        return _Histogram(self._meter.create_histogram(name, unit, description, **given))

    def create_gauge(self, name: str, unit: str = "", description: str = "") -> _Gauge:
        return _SafeGauge(self._meter.create_gauge(name, unit, description))

    def create_observable_counter(
        self, name: str, callbacks: Sequence[CallbackT] | None = None, unit: str = "", description: str = ""
    ) -> ObservableCounter:
        return self._meter.create_observable_counter(name, callbacks, unit, description)

    def create_observable_up_down_counter(
        self, name: str, callbacks: Sequence[CallbackT] | None = None, unit: str = "", description: str = ""
    ) -> ObservableUpDownCounter:
        return self._meter.create_observable_up_down_counter(name, callbacks, unit, description)

    def create_observable_gauge(
        self, name: str, callbacks: Sequence[CallbackT] | None = None, unit: str = "", description: str = ""
    ) -> ObservableGauge:
        return self._meter.create_observable_gauge(name, callbacks, unit, description)


class _Counter(Counter):
    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    def add(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        tell_once(partial(self._counter.add, amount, attributes, context or get_current()))


class _UpDownCounter(UpDownCounter):
    def __init__(self, counter: UpDownCounter) -> None:
        self._counter = counter

    def add(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        tell_once(partial(self._counter.add, amount, attributes, context or get_current()))


class _Histogram(Histogram):
    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram

    def record(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        tell_once(partial(self._histogram.record, amount, attributes, context or get_current()))


class _SafeGauge(_Gauge):
    def __init__(self, gauge: _Gauge) -> None:
        self._gauge = gauge

    def set(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        tell_once(partial(self._gauge.set, amount, attributes, context or get_current()))
