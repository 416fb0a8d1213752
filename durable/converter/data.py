"""The converter that a client or a worker is given: payloads and failures under one set of limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from durable.common import RawValue
from durable.converter.codec import PayloadCodec
from durable.converter.context import SerializationContext, WithSerializationContext
from durable.converter.errors import ConversionError, PayloadTooLarge
from durable.converter.failure import DefaultFailureConverter, FailureConverter
from durable.converter.payload import DefaultPayloadConverter, PayloadConverter
from durable.history.payloads import payload_lists, with_payload_lists
from durable.history.values import Failure, Payload

T = TypeVar("T")

PAYLOAD_BYTES_MAX = 2 * 1024 * 1024
"""How long one value's payload may be, unless the converter says another number: 2 MiB."""


@dataclass(frozen=True)
class DataConverter(WithSerializationContext):
    """Values to payloads and back, by the classes given; change one with ``dataclasses.replace``.

    Values become payloads at once, wherever code runs (``to_payloads`` …); what is stored of them goes through
    ``payload_codec``, on the event loop (``stored`` …). ``encode`` and ``decode`` do both. ``names`` are the parameters
    that the values belong to; errors speak of them.
    """

    payload_converter_class: type[PayloadConverter] = DefaultPayloadConverter
    payload_codec: PayloadCodec | None = None
    failure_converter_class: type[FailureConverter] = DefaultFailureConverter
    payload_bytes_max: int = field(default=PAYLOAD_BYTES_MAX, kw_only=True)

    payload_converter: PayloadConverter = field(init=False, compare=False)
    failure_converter: FailureConverter = field(init=False, compare=False)

    default: ClassVar[DataConverter]

    def __post_init__(self) -> None:
        object.__setattr__(self, "payload_converter", self.payload_converter_class())
        object.__setattr__(self, "failure_converter", self.failure_converter_class())

    async def encode(self, values: Sequence[Any]) -> list[Payload]:
        """One payload per value (more or less if the codec says so), as it is stored."""
        return await self.stored(self.to_payloads(values))

    async def decode(self, payloads: Sequence[Payload], type_hints: Sequence[Any] | None = None) -> list[Any]:
        """One value per stored payload, read as the hint at its place."""
        return self.from_payloads(await self.read(list(payloads)), type_hints)

    @property
    def is_plain(self) -> bool:
        """Is what is stored just what values are converted to, so that `stored` and `read` have nothing to do?"""
        return self.payload_codec is None

    async def stored(self, value: T, *, headers: bool = False) -> T:
        """A list of payloads, or an event, command, message, failure … that holds some, as it is to be stored.

        ``headers``: those within are encoded too. Search attributes never are. Raises what the codec raises.
        """
        if self.payload_codec is None:
            return value
        return await _through(self.payload_codec.encode, value, headers)

    async def read(self, value: T, *, headers: bool = False) -> T:
        """What `stored` was given, of what it made."""
        if self.payload_codec is None:
            return value
        return await _through(self.payload_codec.decode, value, headers)

    def with_context(self, context: SerializationContext) -> DataConverter:
        """This converter for the values of one workflow or activity; itself, if none of its parts wants to know."""
        parts = {
            name: part.with_context(context)
            for name in ("payload_converter", "payload_codec", "failure_converter")
            if isinstance(part := getattr(self, name), WithSerializationContext)
        }
        if not parts:
            return self
        made = copy(self)
        for name, part in parts.items():
            object.__setattr__(made, name, part)
        return made

    def to_payloads(self, values: Sequence[Any], names: Sequence[str] = ()) -> list[Payload]:
        """One payload per value; a `RawValue`'s is its own.

        Raises ConversionError for a value that can't be converted, `PayloadTooLarge` for one that is too large.
        """
        if any(isinstance(value, RawValue) for value in values):
            return [self._to_payload(value, names[at : at + 1]) for at, value in enumerate(values)]
        try:
            payloads = self.payload_converter.to_payloads(values)
            for index, payload in enumerate(payloads):
                if len(payload.data) > self.payload_bytes_max:
                    raise self._too_large(len(payload.data), index)
        except ConversionError as error:
            error.be_named(names)
            raise
        return payloads

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: Sequence[Any] | None = None, names: Sequence[str] = ()
    ) -> list[Any]:
        """One value per payload, unread for the hint `RawValue`.

        Raises ConversionError for one that can't be read as its hint.
        """
        if type_hints is not None and any(hint is RawValue for hint in type_hints):
            hints = [*type_hints, *[None] * (len(payloads) - len(type_hints))]
            return [
                self._from_payload(payload, hint, names[at : at + 1])
                for at, (payload, hint) in enumerate(zip(payloads, hints, strict=False))
            ]
        try:
            return self.payload_converter.from_payloads(payloads, type_hints)
        except ConversionError as error:
            error.be_named(names)
            raise

    def _to_payload(self, value: Any, names: Sequence[str]) -> Payload:
        return value.payload if isinstance(value, RawValue) else self.to_payloads([value], names)[0]

    def _from_payload(self, payload: Payload, hint: Any, names: Sequence[str]) -> Any:
        return RawValue(payload) if hint is RawValue else self.from_payloads([payload], [hint], names)[0]

    def to_failure(self, exception: BaseException) -> Failure:
        """What is recorded of an exception."""
        return self.failure_converter.to_failure(exception, self.payload_converter)

    def from_failure(self, failure: Failure) -> BaseException:
        """The exception that a recorded failure stands for."""
        return self.failure_converter.from_failure(failure, self.payload_converter)

    def _too_large(self, size: int, index: int) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"{size:,} bytes are more than the {self.payload_bytes_max:,} that a payload may have; "
            "store the data elsewhere and pass a reference, or split it",
            index=index,
        )


async def _through(transform: Callable[[Sequence[Payload]], Awaitable[list[Payload]]], value: T, headers: bool) -> T:
    lists = payload_lists(value, headers=headers)
    if not lists:
        return value
    if len(lists) == 1:
        return with_payload_lists(value, [list(await transform(lists[0]))], headers=headers)
    return with_payload_lists(
        value, [list(each) for each in await asyncio.gather(*map(transform, lists))], headers=headers
    )


DataConverter.default = DataConverter()


def default() -> DataConverter:
    """The default converter."""
    return DataConverter.default
