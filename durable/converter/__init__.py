"""Values to payloads and back: what authors and callers import from ``durable.converter``."""

from __future__ import annotations

from durable.converter.codec import PayloadCodec
from durable.converter.context import (
    ActivitySerializationContext,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from durable.converter.data import PAYLOAD_BYTES_MAX, DataConverter, default
from durable.converter.errors import ConversionError, PayloadTooLarge
from durable.converter.failure import DefaultFailureConverter, FailureConverter
from durable.converter.payload import (
    BinaryNullPayloadConverter,
    BinaryPlainPayloadConverter,
    CompositePayloadConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
    PayloadConverter,
)
from durable.history.values import Payload

__all__ = [
    "PAYLOAD_BYTES_MAX",
    "ActivitySerializationContext",
    "BinaryNullPayloadConverter",
    "BinaryPlainPayloadConverter",
    "CompositePayloadConverter",
    "ConversionError",
    "DataConverter",
    "DefaultFailureConverter",
    "DefaultPayloadConverter",
    "EncodingPayloadConverter",
    "FailureConverter",
    "JSONPlainPayloadConverter",
    "Payload",
    "PayloadCodec",
    "PayloadConverter",
    "PayloadTooLarge",
    "SerializationContext",
    "WithSerializationContext",
    "WorkflowSerializationContext",
    "default",
]
