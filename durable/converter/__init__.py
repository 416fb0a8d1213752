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
from durable.converter.encoding import EncodingPayloadConverter
from durable.converter.errors import ConversionError, PayloadTooLarge
from durable.converter.failure import (
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    FailureConverter,
)
from durable.converter.json_encoder import AdvancedJSONEncoder
from durable.converter.payload import (
    BinaryNullPayloadConverter,
    BinaryPlainPayloadConverter,
    CompositePayloadConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
    PayloadConverter,
)
from durable.converter.protobuf import BinaryProtoPayloadConverter, JSONProtoPayloadConverter
from durable.converter.search_attribute_messages import (
    decode_search_attributes,
    decode_typed_search_attributes,
    encode_search_attributes,
)
from durable.converter.search_attributes import encode_search_attribute_values, encode_typed_search_attribute_value
from durable.converter.storage import (
    ExternalStorage,
    StorageDriver,
    StorageDriverActivityInfo,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverSelectContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
    StorageWarning,
)
from durable.converter.transfer import TransferTypeConverter, transfer_type_convertible
from durable.converter.validation import create_payload_validation_error
from durable.converter.value_to_type import JSONTypeConverter, JSONTypeConverterUnhandled, value_to_type
from durable.history.values import Payload, Payloads

__all__ = [
    "PAYLOAD_BYTES_MAX",
    "ActivitySerializationContext",
    "AdvancedJSONEncoder",
    "BinaryNullPayloadConverter",
    "BinaryPlainPayloadConverter",
    "BinaryProtoPayloadConverter",
    "CompositePayloadConverter",
    "ConversionError",
    "DataConverter",
    "DefaultFailureConverter",
    "DefaultFailureConverterWithEncodedAttributes",
    "DefaultPayloadConverter",
    "EncodingPayloadConverter",
    "ExternalStorage",
    "FailureConverter",
    "JSONPlainPayloadConverter",
    "JSONProtoPayloadConverter",
    "JSONTypeConverter",
    "JSONTypeConverterUnhandled",
    "Payload",
    "PayloadCodec",
    "PayloadConverter",
    "PayloadTooLarge",
    "Payloads",
    "SerializationContext",
    "StorageDriver",
    "StorageDriverActivityInfo",
    "StorageDriverClaim",
    "StorageDriverRetrieveContext",
    "StorageDriverSelectContext",
    "StorageDriverStoreContext",
    "StorageDriverWorkflowInfo",
    "StorageWarning",
    "TransferTypeConverter",
    "WithSerializationContext",
    "WorkflowSerializationContext",
    "create_payload_validation_error",
    "decode_search_attributes",
    "decode_typed_search_attributes",
    "default",
    "encode_search_attribute_values",
    "encode_search_attributes",
    "encode_typed_search_attribute_value",
    "transfer_type_convertible",
    "value_to_type",
]
