"""Values to payloads and back: one converter per encoding, and the list that tries them in order."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from operator import is_
from typing import Any, ClassVar, Self

import pydantic_core
from pydantic import ValidationError
from pydantic_core import SchemaValidator

from durable.converter import diagnosis, schema
from durable.converter.context import SerializationContext, WithSerializationContext
from durable.converter.encoding import EncodingPayloadConverter
from durable.converter.errors import ConversionError
from durable.converter.json_encoder import AdvancedJSONEncoder
from durable.converter.protobuf import BinaryProtoPayloadConverter, JSONProtoPayloadConverter
from durable.converter.value_to_type import JSONTypeConverter, typed
from durable.history.values import Payload, Payloads

_write = pydantic_core.to_json
_DEPTH_BYTES = 2 * diagnosis.DEPTH_MAX


class PayloadConverter(ABC):
    """Values to payloads and back. Subclass it (without arguments to ``__init__``) for a DataConverter of your own."""

    default: ClassVar[PayloadConverter]

    @abstractmethod
    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """One payload per value. Raises ConversionError, which tells the index."""

    @abstractmethod
    def from_payloads(self, payloads: Sequence[Payload], type_hints: Sequence[Any] | None = None) -> list[Any]:
        """One value per payload, read as the hint at its place; no hint, or None: whatever the payload says."""

    def to_payloads_wrapper(self, values: Sequence[Any]) -> Payloads:
        """`to_payloads`, as one value."""
        return Payloads(payloads=self.to_payloads(values))

    def from_payloads_wrapper(self, payloads: Payloads | None) -> list[Any]:
        """`from_payloads`, of one value and without hints; None holds none."""
        return self.from_payloads(payloads.payloads) if payloads is not None else []

    def to_payload(self, value: Any) -> Payload:
        """One value's payload; raises as `to_payloads` does."""
        return self.to_payloads([value])[0]

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        """One payload's value; raises as `from_payloads` does."""
        return self.from_payloads([payload], [type_hint])[0]


class BinaryNullPayloadConverter(EncodingPayloadConverter):
    """None, as no bytes."""

    @property
    def encoding(self) -> str:
        return "binary/null"

    def to_payload(self, value: Any) -> Payload | None:
        return Payload(metadata={"encoding": b"binary/null"}) if value is None else None

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        if payload.data:
            raise ConversionError(f"a payload that says it is null holds {len(payload.data)} bytes")
        return None


class BinaryPlainPayloadConverter(EncodingPayloadConverter):
    """Bytes, as they are. A bytearray comes back as one where the hint asks for it, else as bytes."""

    @property
    def encoding(self) -> str:
        return "binary/plain"

    def to_payload(self, value: Any) -> Payload | None:
        if isinstance(value, (bytes, bytearray)):
            return Payload(metadata={"encoding": b"binary/plain"}, data=bytes(value))
        return None

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        return bytearray(payload.data) if type_hint is bytearray else payload.data


class JSONPlainPayloadConverter(EncodingPayloadConverter):
    """Everything else, as JSON, by pydantic: dataclasses, models, collections, dates, numbers.

    NaN and the infinities are written as Python's json writes them (``NaN``), bytes as URL-safe base64.
    A set is written in the order in which it iterates; only the value is the same each time, not the bytes.

    With an ``encoder``, a ``decoder`` or ``custom_type_converters``, values are written by Python's ``json`` with that
    encoder (compact, keys sorted), read with that decoder, and then become what their hint says by `value_to_type`'s
    rules; what those have no rule for, pydantic reads. Bytes are lists of numbers then. None is ``json``'s own encoder.
    """

    def __init__(
        self,
        *,
        encoder: type[json.JSONEncoder] | None = AdvancedJSONEncoder,
        decoder: type[json.JSONDecoder] | None = None,
        encoding: str = "json/plain",
        custom_type_converters: Sequence[JSONTypeConverter] = [],
    ) -> None:
        self._encoder, self._decoder, self._encoding = encoder, decoder, encoding
        self._type_converters = tuple(custom_type_converters)
        is_custom = encoder is not AdvancedJSONEncoder or decoder is not None or bool(self._type_converters)
        self._plain = JSONPlainPayloadConverter() if is_custom else None
        self._validators: dict[Any, SchemaValidator] = {}

    @property
    def encoding(self) -> str:
        return self._encoding

    def to_payload(self, value: Any) -> Payload | None:
        data = to_json(value) if self._plain is None else self._dumped(value)
        return Payload(metadata={"encoding": self._encoding.encode()}, data=data)

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        if self._plain is not None:
            return self._loaded(payload, type_hint, self._plain)
        if type_hint is None or type_hint is Any:
            try:
                return pydantic_core.from_json(payload.data)
            except ValueError as error:
                raise ConversionError(f"the payload is not JSON: {error}") from None
        try:
            return self._validator(type_hint).validate_json(payload.data)
        except ValidationError as error:
            return self._read_whole_floats(payload.data, type_hint, error)

    def _dumped(self, value: Any) -> bytes:
        try:
            return json.dumps(value, cls=self._encoder, separators=(",", ":"), sort_keys=True).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ConversionError(f"object of type {type(value).__qualname__} can't be converted: {error}") from error

    def _loaded(self, payload: Payload, type_hint: Any, plain: JSONPlainPayloadConverter) -> Any:
        def otherwise(hint: Any, value: Any) -> Any:
            return plain.from_payload(Payload(data=to_json(value)), hint)

        try:
            value = json.loads(payload.data, cls=self._decoder)
        except (ValueError, RecursionError) as error:
            raise ConversionError(f"the payload is not JSON: {error}") from error
        if type_hint is None:
            return value
        try:
            return typed(type_hint, value, self._type_converters, otherwise)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConversionError(f"can't be read as {schema.name_of(type_hint)}: {error}") from error

    def _validator(self, hint: Any) -> SchemaValidator:
        try:
            return self._validators[hint]
        except KeyError:
            return self._validators.setdefault(hint, schema.validator(hint))
        except TypeError:  # a hint that can't be hashed (Annotated with a list in it) is read without the cache
            return schema.validator(hint)

    def _read_whole_floats(self, data: bytes, hint: Any, error: ValidationError) -> Any:
        """Where all that is wrong is 2.0 for an int, read it as 2: other languages write no difference."""
        problems = error.errors(include_url=False, include_context=False)
        if all(problem["type"] == "int_type" and isinstance(problem["input"], float) for problem in problems):
            try:
                return self._validator(hint).validate_json(data, strict=False)
            except ValidationError:
                pass
        first = problems[0]
        found = repr(first["input"])
        found = found if len(found) <= 80 else found[:79] + "…"
        more = f"; {len(problems) - 1} more problems" if len(problems) > 1 else ""
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
        raise ConversionError(
            f"can't be read as {schema.name_of(hint)}: {first['msg']}, found {found}{more}", path=path
        )


def to_json(value: Any) -> bytes:
    """The value as JSON that can be read back. Raises ConversionError."""
    try:
        data = _write(value, bytes_mode="base64")
    except Exception as error:  # serializers of pydantic classes are anybody's code
        raise diagnosis.explain(value, error) from error
    if b"null" in data:
        diagnosis.refuse_lost_numbers(value)
    if len(data) > _DEPTH_BYTES and _may_be_unreadable(data):
        try:
            pydantic_core.from_json(data)
        except ValueError as error:
            raise diagnosis.explain(value, error) from error
    return data


def _may_be_unreadable(data: bytes) -> bool:
    """Whether JSON might be nested too deep, or hold a number too long, to be read. Cheap, and never wrongly False.

    A run of more than DIGITS_MAX digits covers one of every DIGITS_MAX bytes, and half of it lies on one side of that.
    """
    if data.count(b"[") + data.count(b"{") > diagnosis.DEPTH_MAX:
        return True
    half = diagnosis.DIGITS_MAX // 2
    places = range(diagnosis.DIGITS_MAX - 1, len(data), diagnosis.DIGITS_MAX)
    return any(data[at - half : at].isdigit() or data[at : at + half].isdigit() for at in places)


class CompositePayloadConverter(PayloadConverter, WithSerializationContext):
    """Encodings in order: the first that takes a value writes it; the payload's metadata says which one reads it."""

    converters: dict[bytes, EncodingPayloadConverter]

    def __init__(self, *converters: EncodingPayloadConverter) -> None:
        self.converters = {converter.encoding.encode(): converter for converter in converters}

    def get_converters_with_context(self, context: SerializationContext) -> list[EncodingPayloadConverter] | None:
        """The converters for values of one workflow or activity; None, if none of them wants to know."""
        for converter in self.converters.values():
            if isinstance(converter, WithSerializationContext):
                break
        else:  # nearly always
            return None
        told = [
            converter.with_context(context) if isinstance(converter, WithSerializationContext) else converter
            for converter in self.converters.values()
        ]
        return None if all(map(is_, told, self.converters.values())) else told

    def with_context(self, context: SerializationContext) -> Self:
        """A copy with `get_converters_with_context`; itself, if none of them wants to know."""
        told = self.get_converters_with_context(context)
        if told is None:
            return self
        made = copy(self)
        made.converters = {converter.encoding.encode(): converter for converter in told}
        return made

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        payloads: list[Payload] = []
        try:
            for value in values:
                for converter in self.converters.values():
                    payload = converter.to_payload(value)
                    if payload is not None:
                        payloads.append(payload)
                        break
                else:
                    raise ConversionError(
                        f"no payload converter takes an object of type {type(value).__qualname__}; add one that does"
                    )
        except ConversionError as error:
            error.index = len(payloads)
            raise
        return payloads

    def from_payloads(self, payloads: Sequence[Payload], type_hints: Sequence[Any] | None = None) -> list[Any]:
        hints = type_hints or ()
        values: list[Any] = []
        try:
            for index, payload in enumerate(payloads):
                encoding = payload.metadata.get("encoding", b"<unknown>")
                converter = self.converters.get(encoding)
                if converter is None:
                    raise ConversionError(
                        f"no payload converter reads the encoding {encoding.decode(errors='replace')!r}; "
                        "give the DataConverter the one that wrote it"
                    )
                values.append(converter.from_payload(payload, hints[index] if index < len(hints) else None))
        except ConversionError as error:
            error.index = len(values)
            raise
        return values


def asking(converter: PayloadConverter) -> list[PayloadConverter | EncodingPayloadConverter]:
    """Who may ask for a context: a composite converter as it is asks only if its parts do."""
    if isinstance(converter, CompositePayloadConverter):
        if type(converter).with_context is CompositePayloadConverter.with_context:
            return list(converter.converters.values())
    return [converter]


class DefaultPayloadConverter(CompositePayloadConverter):
    """None, bytes, protobuf's messages, and JSON for all the rest."""

    default_encoding_payload_converters: ClassVar[tuple[EncodingPayloadConverter, ...]] = (
        BinaryNullPayloadConverter(),
        BinaryPlainPayloadConverter(),
        JSONProtoPayloadConverter(),
        BinaryProtoPayloadConverter(),
        JSONPlainPayloadConverter(),
    )

    def __init__(self) -> None:
        super().__init__(*DefaultPayloadConverter.default_encoding_payload_converters)

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """What the list of converters would do, without asking each (it halves the time for a small value)."""
        default = self.default_encoding_payload_converters
        if len(self.converters) != len(default) or self.converters.get(b"json/plain") is not default[-1]:
            return super().to_payloads(values)  # of a subclass, or a copy, that has put in a converter of its own
        payloads: list[Payload] = []
        try:
            for value in values:
                if value is None:
                    payloads.append(Payload(metadata={"encoding": b"binary/null"}))
                elif isinstance(value, (bytes, bytearray)):
                    payloads.append(Payload(metadata={"encoding": b"binary/plain"}, data=bytes(value)))
                else:
                    payloads.append(Payload(metadata={"encoding": b"json/plain"}, data=to_json(value)))
        except ConversionError:
            return super().to_payloads(values)  # JSON has no form for protobuf's messages; of others it tells the index
        return payloads


PayloadConverter.default = DefaultPayloadConverter()
