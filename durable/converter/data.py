"""The converter that a client or a worker is given: payloads and failures under one set of limits."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, TypeVar

from durable.common import RawValue
from durable.converter.codec import PayloadCodec, through
from durable.converter.context import SerializationContext, WithSerializationContext
from durable.converter.errors import ConversionError, PayloadTooLarge
from durable.converter.failure import DefaultFailureConverter, FailureConverter
from durable.converter.payload import DefaultPayloadConverter, PayloadConverter, asking
from durable.converter.storage import ExternalStorage, StorageDriverTarget, target_of
from durable.converter.transfer import ATTRIBUTE, transfer_converter_of
from durable.history.values import Failure, Payload, Payloads

T = TypeVar("T")

PAYLOAD_BYTES_MAX = 2 * 1024 * 1024
"""How long one value's payload may be, unless the converter says another number: 2 MiB."""

_PLAIN: frozenset[Any] = frozenset((str, int, float, bool, bytes, list, dict, type(None)))
"""Types that nobody can give a transfer type: nearly all, and quickly told."""


@dataclass(frozen=True)
class DataConverter(WithSerializationContext):
    """Values to payloads and back, by the classes given; change one with ``dataclasses.replace``.

    Values become payloads at once, wherever code runs (``to_payloads`` …); what is stored of them goes through
    ``payload_codec`` and then, if it is large, to ``external_storage``, on the event loop (``stored`` …). ``encode``
    and ``decode`` do both. ``names`` are the parameters that the values belong to; errors speak of them.

    ``payload_bytes_max`` is the size of one payload as it is converted, or with ``external_storage`` as it is stored.
    """

    payload_converter_class: type[PayloadConverter] = DefaultPayloadConverter
    payload_codec: PayloadCodec | None = None
    failure_converter_class: type[FailureConverter] = DefaultFailureConverter
    external_storage: ExternalStorage | None = None
    payload_bytes_max: int = field(default=PAYLOAD_BYTES_MAX, kw_only=True)

    payload_converter: PayloadConverter = field(init=False, compare=False)
    failure_converter: FailureConverter = field(init=False, compare=False)
    wants_contexts: bool = field(init=False, compare=False, repr=False)
    """Does any part ask for what it converts, so that `with_context` may be another converter?"""
    _target: StorageDriverTarget = field(init=False, compare=False, repr=False, default=None)

    default: ClassVar[DataConverter]

    def __post_init__(self) -> None:
        object.__setattr__(self, "payload_converter", self.payload_converter_class())
        object.__setattr__(self, "failure_converter", self.failure_converter_class())
        parts = (*asking(self.payload_converter), self.payload_codec, self.failure_converter)
        wants = self.external_storage is not None or any(isinstance(part, WithSerializationContext) for part in parts)
        object.__setattr__(self, "wants_contexts", wants)

    async def encode(self, values: Sequence[Any]) -> list[Payload]:
        """One payload per value (more or less if the codec says so), as it is stored."""
        return await self.stored(self.to_payloads(values))

    async def decode(self, payloads: Sequence[Payload], type_hints: Sequence[Any] | None = None) -> list[Any]:
        """One value per stored payload, read as the hint at its place."""
        return self.from_payloads(await self.read(list(payloads)), type_hints)

    async def encode_wrapper(self, values: Sequence[Any]) -> Payloads:
        """`encode`, as one value."""
        return Payloads(payloads=await self.encode(values))

    async def decode_wrapper(self, payloads: Payloads | None, type_hints: Sequence[Any] | None = None) -> list[Any]:
        """`decode`, of one value; None holds none."""
        return await self.decode(payloads.payloads if payloads is not None else [], type_hints)

    async def encode_failure(self, exception: BaseException, failure: Failure) -> None:
        """Fill ``failure``, which is new and empty, with the exception as it is stored."""
        failure.CopyFrom(await self.stored(self.to_failure(exception)))

    async def decode_failure(self, failure: Failure) -> BaseException:
        """The exception that a stored failure is raised as. The failure stays as it is."""
        return self.from_failure(await self.read(failure))

    @property
    def is_plain(self) -> bool:
        """Is what is stored just what values are converted to, so that `stored` and `read` have nothing to do?"""
        return self.payload_codec is None and self.external_storage is None

    async def stored(self, value: T, *, headers: bool = False) -> T:
        """A list of payloads, or an event, command, message, failure … that holds some, as it is to be stored.

        ``headers``: those within are encoded too. Search attributes never are. Raises what the codec or a storage
        driver raises, and PayloadTooLarge for what is too large to be stored and no driver takes.
        """
        return value if self.is_plain else await through(self._stored, value, headers=headers)

    async def read(self, value: T, *, headers: bool = False) -> T:
        """What `stored` was given, of what it made."""
        return value if self.is_plain else await through(self._read, value, headers=headers)

    def with_context(self, context: SerializationContext) -> Self:
        """This converter for the values of one workflow or activity; itself, if none of its parts wants to know."""
        if not self.wants_contexts:
            return self
        changed: dict[str, object] = {}
        for name in ("payload_converter", "payload_codec", "failure_converter"):
            part = getattr(self, name)
            if isinstance(part, WithSerializationContext) and (told := part.with_context(context)) is not part:
                changed[name] = told
        if self.external_storage is not None:
            changed["_target"] = target_of(context)
        if not changed:
            return self
        made = copy(self)
        for name, part in changed.items():
            object.__setattr__(made, name, part)
        return made

    def to_payloads(self, values: Sequence[Any], names: Sequence[str] = ()) -> list[Payload]:
        """One payload per value; a `RawValue`'s is its own, and another stands for one with a transfer type.

        Raises ConversionError for a value that can't be converted, `PayloadTooLarge` for one that is too large.
        """
        for value in values:
            if type(value) not in _PLAIN and (isinstance(value, RawValue) or ATTRIBUTE in type(value).__dict__):
                return [self._to_payload(value, names[at : at + 1]) for at, value in enumerate(values)]
        try:
            payloads = self.payload_converter.to_payloads(values)
            if self.external_storage is None:
                self._check_sizes(payloads)
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
        for hint in type_hints or ():
            if hint is None or (isinstance(hint, type) and hint in _PLAIN):
                continue
            if hint is RawValue or transfer_converter_of(hint) is not None:
                hints = [*(type_hints or ()), *[None] * len(payloads)]
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
        if isinstance(value, RawValue):
            return value.payload
        transfer = transfer_converter_of(type(value))
        return self.to_payloads([value if transfer is None else transfer.to_transfer_type(value)], names)[0]

    def _from_payload(self, payload: Payload, hint: Any, names: Sequence[str]) -> Any:
        if hint is RawValue:
            return RawValue(payload)
        transfer = transfer_converter_of(hint)
        value = self.from_payloads([payload], [hint if transfer is None else transfer.transfer_type], names)[0]
        return value if transfer is None else transfer.from_transfer_type(value, hint)

    def to_failure(self, exception: BaseException) -> Failure:
        """What is recorded of an exception."""
        failure = Failure()
        self.failure_converter.to_failure(exception, self.payload_converter, failure)
        return failure

    def from_failure(self, failure: Failure) -> BaseException:
        """The exception that a recorded failure stands for."""
        return self.failure_converter.from_failure(failure, self.payload_converter)

    async def _stored(self, payloads: Sequence[Payload]) -> list[Payload]:
        encoded = list(payloads if self.payload_codec is None else await self.payload_codec.encode(payloads))
        if self.external_storage is not None:
            encoded = await self.external_storage.stored(encoded, self._target)
            self._check_sizes(encoded)
        return encoded

    async def _read(self, payloads: Sequence[Payload]) -> list[Payload]:
        if self.external_storage is not None:
            payloads = await self.external_storage.retrieved(payloads)
        return list(payloads if self.payload_codec is None else await self.payload_codec.decode(payloads))

    def _check_sizes(self, payloads: Sequence[Payload]) -> None:
        for index, payload in enumerate(payloads):
            size = len(payload.data)
            if size > self.payload_bytes_max:
                raise PayloadTooLarge(
                    f"{size:,} bytes are more than the {self.payload_bytes_max:,} that a payload may have; "
                    "store the data elsewhere and pass a reference, or split it",
                    index=index,
                )


DataConverter.default = DataConverter()


def default() -> DataConverter:
    """The default converter."""
    return DataConverter.default
