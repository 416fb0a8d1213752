"""Meters and their instruments: what code that measures is written against. The ones here measure nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar, Self, TypeAlias, cast

MetricAttributes: TypeAlias = Mapping[str, str | int | float | bool]
"""What a value of a metric is labelled with."""


class MetricMeter(ABC):
    """Makes instruments. ``MetricMeter.noop`` makes such as throw away what they are told."""

    noop: ClassVar[MetricMeter]

    @abstractmethod
    def create_counter(self, name: str, description: str | None = None, unit: str | None = None) -> MetricCounter:
        """A metric that only grows."""

    @abstractmethod
    def create_histogram(self, name: str, description: str | None = None, unit: str | None = None) -> MetricHistogram:
        """A metric whose integers are spread over buckets."""

    @abstractmethod
    def create_histogram_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramFloat:
        """A metric whose floats are spread over buckets."""

    @abstractmethod
    def create_histogram_timedelta(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramTimedelta:
        """A metric whose durations are spread over buckets."""

    @abstractmethod
    def create_gauge(self, name: str, description: str | None = None, unit: str | None = None) -> MetricGauge:
        """A metric that is set to an integer."""

    @abstractmethod
    def create_gauge_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGaugeFloat:
        """A metric that is set to a float."""

    @abstractmethod
    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> MetricMeter:
        """A meter whose instruments add these to each value. TypeError for a value that is no attribute."""


class MetricCommon(ABC):
    """What all instruments have."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called."""

    @property
    @abstractmethod
    def description(self) -> str | None:
        """What it measures, for people."""

    @property
    @abstractmethod
    def unit(self) -> str | None:
        """What one of it is."""

    @abstractmethod
    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> Self:
        """The same instrument, which adds these to each value. TypeError for a value that is no attribute."""


class MetricCounter(MetricCommon):
    """Counts."""

    @abstractmethod
    def add(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """ValueError for a negative value."""


class MetricHistogram(MetricCommon):
    """Notes how often which values occur."""

    @abstractmethod
    def record(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """ValueError for a negative value."""


class MetricHistogramFloat(MetricCommon):
    """Notes how often which values occur."""

    @abstractmethod
    def record(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        """ValueError for a negative value."""


class MetricHistogramTimedelta(MetricCommon):
    """Notes how often which durations occur."""

    @abstractmethod
    def record(self, value: timedelta, additional_attributes: MetricAttributes | None = None) -> None:
        """ValueError for a negative value."""


class MetricGauge(MetricCommon):
    """Shows the latest value."""

    @abstractmethod
    def set(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """ValueError for a negative value."""


class MetricGaugeFloat(MetricCommon):
    """Shows the latest value."""

    @abstractmethod
    def set(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        """ValueError for a negative value."""


class _Noop(MetricCommon):
    """An instrument that checks what it is told, and throws it away."""

    def __init__(self, name: str, description: str | None, unit: str | None) -> None:
        self._name, self._description, self._unit = name, description, unit

    @property
    def name(self) -> str:
        return self._name

    @property
    def description(self) -> str | None:
        return self._description

    @property
    def unit(self) -> str | None:
        return self._unit

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> Self:
        _check(additional_attributes)
        return self

    def _take(self, negative: bool, additional_attributes: MetricAttributes | None) -> None:
        if negative:
            raise ValueError(f"metric {self._name}: a value can't be negative")
        _check(additional_attributes or {})


class _Counter(_Noop, MetricCounter):
    def add(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        self._take(value < 0, additional_attributes)


class _Histogram(_Noop, MetricHistogram):
    def record(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        self._take(value < 0, additional_attributes)


class _HistogramFloat(_Noop, MetricHistogramFloat):
    def record(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        self._take(value < 0, additional_attributes)


class _HistogramTimedelta(_Noop, MetricHistogramTimedelta):
    def record(self, value: timedelta, additional_attributes: MetricAttributes | None = None) -> None:
        self._take(value < timedelta(), additional_attributes)


class _Gauge(_Noop, MetricGauge):
    def set(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        self._take(value < 0, additional_attributes)


class _GaugeFloat(_Noop, MetricGaugeFloat):
    def set(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        self._take(value < 0, additional_attributes)


class _NoopMeter(MetricMeter):
    def create_counter(self, name: str, description: str | None = None, unit: str | None = None) -> MetricCounter:
        return _Counter(name, description, unit)

    def create_histogram(self, name: str, description: str | None = None, unit: str | None = None) -> MetricHistogram:
        return _Histogram(name, description, unit)

    def create_histogram_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramFloat:
        return _HistogramFloat(name, description, unit)

    def create_histogram_timedelta(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramTimedelta:
        return _HistogramTimedelta(name, description, unit)

    def create_gauge(self, name: str, description: str | None = None, unit: str | None = None) -> MetricGauge:
        return _Gauge(name, description, unit)

    def create_gauge_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGaugeFloat:
        return _GaugeFloat(name, description, unit)

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> MetricMeter:
        _check(additional_attributes)
        return self


def _check(attributes: MetricAttributes) -> None:
    for key, value in attributes.items():
        if not isinstance(cast("Any", value), str | int | float | bool):
            raise TypeError(f"Invalid value type for key {key!r}: {type(value).__name__} is no str, int, float or bool")


MetricMeter.noop = _NoopMeter()
