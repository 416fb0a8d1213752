"""Pydantic models as values: the names of `temporalio.contrib.pydantic`. The default converter takes them already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import SchemaSerializer, core_schema

from durable.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
    Payload,
)

__all__ = [
    "PydanticJSONPlainPayloadConverter",
    "PydanticPayloadConverter",
    "ToJsonOptions",
    "pydantic_data_converter",
]

_SERIALIZER = SchemaSerializer(
    core_schema.any_schema(), core_schema.CoreConfig(ser_json_bytes="base64", ser_json_inf_nan="constants")
)


@dataclass
class ToJsonOptions:
    """``exclude_unset``: a model's fields that were not given are not written; readers see their own defaults."""

    exclude_unset: bool = False


class PydanticJSONPlainPayloadConverter(EncodingPayloadConverter):
    """JSON by pydantic: as `JSONPlainPayloadConverter`, with options.

    ``max_cached_type_adapters`` is without effect: each type is looked at once. ValueError when it is negative.
    """

    def __init__(
        self, to_json_options: ToJsonOptions | None = None, *, max_cached_type_adapters: int | None = 1024
    ) -> None:
        if max_cached_type_adapters is not None and max_cached_type_adapters < 0:
            raise ValueError(f"max_cached_type_adapters is 0 or more, or None; not {max_cached_type_adapters}")
        self._json = JSONPlainPayloadConverter()
        self._exclude_unset = to_json_options is not None and to_json_options.exclude_unset

    @property
    def encoding(self) -> str:
        return self._json.encoding

    def to_payload(self, value: Any) -> Payload | None:
        payload = self._json.to_payload(value)  # which refuses what could not be read back
        if payload is not None and self._exclude_unset:
            data = _SERIALIZER.to_json(value, exclude_unset=True)
            return Payload(metadata=payload.metadata, data=data)
        return payload

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        return self._json.from_payload(payload, type_hint)


class PydanticPayloadConverter(CompositePayloadConverter):
    """The default converters, with JSON as `PydanticJSONPlainPayloadConverter`, whose parameters are these."""

    def __init__(
        self, to_json_options: ToJsonOptions | None = None, *, max_cached_type_adapters: int | None = 1024
    ) -> None:
        json = PydanticJSONPlainPayloadConverter(to_json_options, max_cached_type_adapters=max_cached_type_adapters)
        defaults = DefaultPayloadConverter.default_encoding_payload_converters
        super().__init__(*(json if each.encoding == json.encoding else each for each in defaults))


pydantic_data_converter = DataConverter(payload_converter_class=PydanticPayloadConverter)
"""For ``Client.connect(…, data_converter=pydantic_data_converter)``."""
