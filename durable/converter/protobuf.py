"""Protobuf messages as values, in a process that has the package ``protobuf``; no other loads it."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from durable.converter.encoding import EncodingPayloadConverter
from durable.converter.errors import ConversionError
from durable.converter.storage import is_reference
from durable.history.values import Payload


class JSONProtoPayloadConverter(EncodingPayloadConverter):
    """Protobuf messages, as protobuf's JSON. ``ignore_unknown_fields``: do not refuse fields of a later version."""

    def __init__(self, ignore_unknown_fields: bool = False) -> None:
        self._ignore_unknown_fields = ignore_unknown_fields

    @property
    def encoding(self) -> str:
        return "json/protobuf"

    def to_payload(self, value: Any) -> Payload | None:
        if not _is_message(value):
            return None
        json_format = importlib.import_module("google.protobuf.json_format")
        text = json.dumps(json_format.MessageToDict(value), separators=(",", ":"), sort_keys=True)
        return _payload(self.encoding, value, text.encode())

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        message = _empty_message(payload)
        json_format = importlib.import_module("google.protobuf.json_format")
        try:
            return json_format.Parse(payload.data, message, ignore_unknown_fields=self._ignore_unknown_fields)
        except json_format.ParseError as error:
            raise ConversionError(f"can't be read as {_type_of(payload)}: {error}") from error


class BinaryProtoPayloadConverter(EncodingPayloadConverter):
    """Protobuf messages, in protobuf's wire format."""

    @property
    def encoding(self) -> str:
        return "binary/protobuf"

    def to_payload(self, value: Any) -> Payload | None:
        return _payload(self.encoding, value, value.SerializeToString()) if _is_message(value) else None

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        message = _empty_message(payload)
        try:
            message.ParseFromString(payload.data)
        except importlib.import_module("google.protobuf.message").DecodeError as error:
            raise ConversionError(f"can't be read as {_type_of(payload)}: {error}") from error
        return message


def _is_message(value: Any) -> bool:
    module = sys.modules.get("google.protobuf.message")  # not loaded: nobody can have a message
    return module is not None and isinstance(value, module.Message)


def _payload(encoding: str, message: Any, data: bytes) -> Payload:
    metadata = {"encoding": encoding.encode(), "messageType": message.DESCRIPTOR.full_name.encode()}
    return Payload(metadata=metadata, data=data)


def _type_of(payload: Payload) -> str:
    return payload.metadata.get("messageType", b"").decode(errors="replace") or "<a message without a type>"


def _empty_message(payload: Payload) -> Any:
    if is_reference(payload):
        raise ConversionError("the value is in an external storage; give the DataConverter its external_storage")
    name = _type_of(payload)
    try:
        pool = importlib.import_module("google.protobuf.descriptor_pool").Default()
        return importlib.import_module("google.protobuf.message_factory").GetMessageClass(
            pool.FindMessageTypeByName(name)
        )()
    except ModuleNotFoundError as error:
        raise ConversionError(f"the value is protobuf's {name}; install the package protobuf") from error
    except KeyError as error:
        raise ConversionError(f"the value is protobuf's {name}; import the module that defines it") from error
