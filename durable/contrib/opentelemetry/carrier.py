"""How a trace travels: a context of OpenTelemetry as a payload among the headers, and back."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from durable.converter import Payload, PayloadConverter

HEADER_KEY = "_tracer-data"

default_text_map_propagator = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])
"""The W3C's: ``traceparent``, ``tracestate`` and ``baggage``."""


class Carrier:
    """What both sides agree on. A subclass may set other values, in both of its classes."""

    header_key: str = HEADER_KEY
    text_map_propagator: TextMapPropagator = default_text_map_propagator
    payload_converter: PayloadConverter = PayloadConverter.default

    def context_to_headers(self, headers: Mapping[str, Payload], context: Context | None = None) -> dict[str, Payload]:
        """The headers with ``context``, by default the current one; as they are if that is in no trace."""
        carrier: dict[str, str] = {}
        self.text_map_propagator.inject(carrier, context)  # pyright: ignore[reportArgumentType] - its own default
        if not carrier:
            return dict(headers)
        return {**headers, self.header_key: self.payload_converter.to_payloads([carrier])[0]}

    def context_from_headers(self, headers: Mapping[str, Payload]) -> Context | None:
        """The context that came with the headers, and nothing else; None when they bring none."""
        payload = headers.get(self.header_key)
        if payload is None:
            return None
        carrier: dict[str, str] = self.payload_converter.from_payloads([payload])[0]
        return self.text_map_propagator.extract(carrier, Context()) if carrier else None
