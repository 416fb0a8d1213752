"""The other parts of a DataConverter: contexts, external storage, transfer types, protobuf, search attributes."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from copy import copy
from typing import Any, Generic, Self, TypeVar

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio import converter as theirs
from temporalio.api.common.v1 import WorkflowExecution as TheirExecution

from durable.api.common.v1 import SearchAttributes
from durable.common import HeaderCodecBehavior, RawValue, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from durable.contrib.pydantic import PydanticPayloadConverter
from durable.converter import (
    ActivitySerializationContext,
    BinaryProtoPayloadConverter,
    CompositePayloadConverter,
    ConversionError,
    DataConverter,
    DefaultFailureConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    ExternalStorage,
    JSONProtoPayloadConverter,
    Payload,
    PayloadCodec,
    PayloadConverter,
    PayloadTooLarge,
    SerializationContext,
    StorageDriver,
    StorageDriverActivityInfo,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverSelectContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
    StorageWarning,
    TransferTypeConverter,
    WithSerializationContext,
    WorkflowSerializationContext,
    create_payload_validation_error,
    decode_search_attributes,
    decode_typed_search_attributes,
    encode_search_attribute_values,
    encode_search_attributes,
    transfer_type_convertible,
)
from durable.history.events import WorkflowExecutionStarted
from durable.history.values import Failure
from durable.worker.encoding import CodecError, Conversion, Encoding, through_codec
from tests.conversion.test_codec import Base64

WORKFLOW = WorkflowSerializationContext(namespace="default", workflow_id="order-7")
ACTIVITY = ActivitySerializationContext("default", "5", "charge", "queue", "order-7", "process", False)
ALONE = ActivitySerializationContext("default", "5", "charge", "queue", None, None, False)

# Contexts -------------------------------------------------------------------------------------------------------------


class Told(WithSerializationContext):
    context: SerializationContext | None = None

    def with_context(self, context: SerializationContext) -> Self:
        told = copy(self)
        told.context = context
        return told


class Marking(EncodingPayloadConverter, Told):
    """Text, with the context that it was written in."""

    @property
    def encoding(self) -> str:
        return "test/marked"

    def to_payload(self, value: Any) -> Payload | None:
        if not isinstance(value, str):
            return None
        return Payload(metadata={"encoding": b"test/marked", "for": repr(self.context).encode()}, data=value.encode())

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        assert payload.metadata["for"].decode() == repr(self.context)
        return payload.data.decode()


class Marked(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(Marking(), *DefaultPayloadConverter.default_encoding_payload_converters)


class Failing(DefaultFailureConverter, Told):
    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        super().to_failure(exception, payload_converter, failure)
        failure.source = repr(self.context)


class ToldBase64(Base64, Told):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        encoded = await super().encode(payloads)
        return [
            Payload(metadata={**each.metadata, "for": repr(self.context).encode()}, data=each.data) for each in encoded
        ]


@pytest.mark.parametrize("converter_class", [DefaultPayloadConverter, PydanticPayloadConverter])
def test_a_converter_whose_parts_do_not_ask_is_the_same_for_every_context(converter_class: Any) -> None:
    converter = DataConverter(payload_converter_class=converter_class, payload_codec=Base64())
    assert converter.with_context(WORKFLOW) is converter and not converter.wants_contexts
    assert converter_class().get_converters_with_context(WORKFLOW) is None


async def test_every_part_that_asks_is_told_and_the_others_and_the_original_stay() -> None:
    converter = DataConverter(Marked, ToldBase64(), Failing)
    for asks in (converter, DataConverter(Marked), DataConverter(failure_converter_class=Failing)):
        assert asks.wants_contexts
    told = converter.with_context(WORKFLOW)

    assert isinstance(told, DataConverter) and told is not converter
    (payload,) = await told.encode(["a"])
    assert payload.metadata["for"].decode() == repr(WORKFLOW)
    assert await told.decode([payload]) == ["a"]
    assert told.to_failure(ValueError("x")).source == repr(WORKFLOW)
    assert told.to_payloads([1]) == DataConverter.default.to_payloads([1])
    for again, context in ((told.with_context(ACTIVITY), ACTIVITY), (converter, None)):
        assert again.to_payloads(["a"])[0].metadata["for"].decode() == repr(context)


def test_who_says_that_it_asks_has_to_answer() -> None:
    class Forgetful(CompositePayloadConverter):
        with_context = WithSerializationContext.with_context

    assert DataConverter(payload_converter_class=Forgetful).wants_contexts
    with pytest.raises(NotImplementedError, match="Forgetful is a WithSerializationContext, and has no with_context"):
        DataConverter(payload_converter_class=Forgetful).with_context(WORKFLOW)


# External storage -----------------------------------------------------------------------------------------------------


class Shelf(StorageDriver):
    def __init__(self, name: str = "shelf") -> None:
        self._name = name
        self.kept: dict[str, Payload] = {}
        self.contexts: list[StorageDriverStoreContext] = []
        self.calls = 0

    def name(self) -> str:
        return self._name

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        self.contexts.append(context)
        self.calls += 1
        keys = [f"{self._name}-{len(self.kept) + number}" for number in range(len(payloads))]
        self.kept.update(zip(keys, payloads, strict=True))
        return [StorageDriverClaim({"key": key}) for key in keys]

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        return [self.kept[claim.claim_data["key"]] for claim in claims]


LARGE = "x" * 3_000_000


async def test_large_payloads_go_to_the_driver_after_the_codec_and_come_back() -> None:
    shelf = Shelf()
    converter = DataConverter(payload_codec=Base64(), external_storage=ExternalStorage([shelf]))
    assert not converter.is_plain

    payloads = await converter.encode(["small", LARGE, LARGE + "y"])

    assert sum(len(payload.data) for payload in payloads) < 1000 and shelf.calls == 1
    assert {payload.metadata["encoding"] for payload in shelf.kept.values()} == {b"test/b64"}
    assert await converter.decode(payloads, [str, str, str]) == ["small", LARGE, LARGE + "y"]
    failure = await converter.stored(converter.to_failure(ValueError("an error holds no large payloads")))
    assert await converter.read(failure) == failure and shelf.calls == 1


async def test_a_reference_is_stored_as_temporal_stores_it() -> None:
    ours = dataclasses.replace(DataConverter.default, external_storage=ExternalStorage([Shelf()], None, 0))

    class TheirShelf(theirs.StorageDriver):
        def name(self) -> str:
            return "shelf"

        async def store(self, context: Any, payloads: Any) -> list[theirs.StorageDriverClaim]:
            return [theirs.StorageDriverClaim({"key": "shelf-0"})]

        async def retrieve(self, context: Any, claims: Any) -> Any:
            raise AssertionError

    storage = theirs.ExternalStorage([TheirShelf()], payload_size_threshold=0)
    (expected,) = await dataclasses.replace(theirs.DataConverter.default, external_storage=storage).encode(["a" * 500])
    (payload,) = await ours.encode(["a" * 500])
    assert (payload.metadata, payload.data) == (dict(expected.metadata), expected.data)


async def test_the_selector_chooses_the_driver_and_may_leave_a_payload_where_it_is() -> None:
    drivers = [Shelf("one"), Shelf("two")]

    def select(context: StorageDriverSelectContext, payload: Payload) -> StorageDriver | None:
        assert context.target == StorageDriverWorkflowInfo(namespace="default", id="order-7")
        return {b'"a': drivers[0], b'"b': drivers[1]}.get(payload.data[:2])

    storage = ExternalStorage(drivers, select, payload_size_threshold=100)
    converter = DataConverter(external_storage=storage).with_context(WORKFLOW)
    values = ["a" * 200, "b" * 200, "c" * 200, "a" * 300, "short"]
    payloads = await converter.encode(values)
    assert [len(driver.kept) for driver in drivers] == [2, 1]
    assert await converter.decode(payloads) == values
    with pytest.raises(ValueError, match="storage driver 'two'; give it to the ExternalStorage"):
        await DataConverter(external_storage=ExternalStorage(drivers[:1])).decode(payloads)
    alien = ExternalStorage(drivers[:1], lambda context, payload: drivers[1], 0)
    with pytest.raises(ValueError, match="chose 'two', which is none of"):
        await DataConverter(external_storage=alien).encode(["a"])


@pytest.mark.parametrize(
    ("context", "target"),
    [
        (WORKFLOW, StorageDriverWorkflowInfo(namespace="default", id="order-7")),
        (ACTIVITY, StorageDriverWorkflowInfo(namespace="default", id="order-7", type="process")),
        (ALONE, StorageDriverActivityInfo(namespace="default", id="5", type="charge")),
        (SerializationContext(), None),
        (None, None),
    ],
)
async def test_a_driver_hears_for_whom_it_stores(context: SerializationContext | None, target: Any) -> None:
    shelf = Shelf()
    converter = DataConverter(external_storage=ExternalStorage([shelf], payload_size_threshold=0))
    await (converter if context is None else converter.with_context(context)).encode(["a" * 500])
    assert shelf.contexts == [StorageDriverStoreContext(target)]
    assert shelf.type() == "Shelf"


async def test_the_limit_is_for_what_is_stored() -> None:
    leave = ExternalStorage([Shelf()], lambda context, payload: None)
    with pytest.raises(PayloadTooLarge, match="argument 2: 3,000,002 bytes are more than the 2,097,152"):
        await DataConverter(external_storage=leave).encode(["a", LARGE])
    with pytest.raises(PayloadTooLarge, match="argument 2: 3,000,002 bytes"):
        DataConverter.default.to_payloads(["a", LARGE])


async def test_a_reference_without_a_storage_is_told_as_such() -> None:
    converter = DataConverter(external_storage=ExternalStorage([Shelf()], payload_size_threshold=0))
    payloads = await converter.encode(["a" * 500])
    with pytest.raises(ConversionError, match="argument 1: the value is in an external storage"):
        await DataConverter.default.decode(payloads, [str])


async def test_a_driver_that_answers_for_more_or_fewer_is_refused() -> None:
    class Short(Shelf):
        async def store(self, context: Any, payloads: Any) -> list[StorageDriverClaim]:
            return []

    converter = DataConverter(external_storage=ExternalStorage([Short()], payload_size_threshold=0))
    with pytest.raises(ValueError, match="the storage driver 'shelf' returned 0 claims for 1"):
        await converter.encode(["a"])


async def test_a_reference_larger_than_its_payload_warns() -> None:
    converter = DataConverter(external_storage=ExternalStorage([Shelf()], payload_size_threshold=0))
    with pytest.warns(StorageWarning, match="'shelf' made a reference that is larger"):
        await converter.encode(["a"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"drivers": []}, "needs a driver"),
        ({"drivers": [Shelf("a"), Shelf("b")]}, "needs a driver_selector"),
        (
            {"drivers": [Shelf(), Shelf()], "driver_selector": lambda c, p: None},
            "have different names; these are shelf, shelf",
        ),
        ({"drivers": [Shelf()], "payload_size_threshold": -1}, "0 or more, not -1"),
    ],
)
def test_a_storage_that_makes_no_sense_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ExternalStorage(**arguments)


# Transfer types -------------------------------------------------------------------------------------------------------

T = TypeVar("T")


class BoxConverter(TransferTypeConverter["Box[Any]", list[Any]]):
    transfer_type = list[int]

    def to_transfer_type(self, value: Box[Any]) -> list[Any]:
        return [value.content]

    def from_transfer_type(self, value: list[Any], type_hint: Any) -> Box[Any]:
        return Box(value[0], str(type_hint))


@transfer_type_convertible(BoxConverter)
class Box(Generic[T]):
    def __init__(self, content: T, read_as: str = "") -> None:
        self.content = content
        self.read_as = read_as


def test_a_class_with_a_transfer_type_is_converted_as_that_and_back() -> None:
    converter = DataConverter.default
    payloads = converter.to_payloads([Box(7), "a", RawValue(Payload(data=b"raw"))])
    assert [payload.data for payload in payloads] == [b"[7]", b'"a"', b"raw"]
    for hint in (Box, Box[int]):
        box, text, raw = converter.from_payloads(payloads, [hint, str, RawValue])
        assert (box.content, box.read_as, text, raw.payload.data) == (7, str(hint), "a", b"raw")
    with pytest.raises(ConversionError, match=r"box\[0\]: can't be read as list\[int\]"):
        converter.from_payloads(converter.to_payloads(["a", ["x"]]), [str, Box], ["text", "box"])
    assert converter.from_payloads(payloads[:1]) == [[7]]


# Protobuf -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [Timestamp(seconds=4, nanos=5), TheirExecution(workflow_id="é", run_id="r")])
def test_a_protobuf_message_is_stored_as_temporal_stores_it(message: Any) -> None:
    (payload,) = DataConverter.default.to_payloads([message])
    assert PydanticPayloadConverter().to_payloads([message]) == [payload]
    (expected,) = theirs.DataConverter.default.payload_converter.to_payloads([message])
    assert (payload.metadata, payload.data) == (dict(expected.metadata), expected.data)
    assert DataConverter.default.from_payloads([payload], [type(message)]) == [message]

    binary = BinaryProtoPayloadConverter()
    payload = binary.to_payload(message) or Payload()
    assert payload.metadata["encoding"] == b"binary/protobuf" and binary.to_payload("text") is None
    assert DataConverter.default.from_payloads([payload]) == [message]


@pytest.mark.parametrize(
    ("encoding", "kind", "data", "said"),
    [
        (b"json/protobuf", b"google.protobuf.Timestamp", b"{", "can't be read as google.protobuf.Timestamp"),
        (b"binary/protobuf", b"google.protobuf.Timestamp", b"\xff", "can't be read as google.protobuf.Timestamp"),
        (b"json/protobuf", b"some.Unheard", b"{}", "some.Unheard; import the module that defines it"),
        (b"json/protobuf", b"temporal.api.common.v1.WorkflowExecution", b'{"later": 1}', "later"),
    ],
)
def test_a_message_that_can_not_be_read_is_refused_by_name(
    encoding: bytes, kind: bytes, data: bytes, said: str
) -> None:
    payload = Payload(metadata={"encoding": encoding, "messageType": kind}, data=data)
    with pytest.raises(ConversionError, match=said):
        DataConverter.default.from_payloads([payload])


def test_fields_of_a_later_version_are_ignored_where_asked_for() -> None:
    metadata = {"encoding": b"json/protobuf", "messageType": b"temporal.api.common.v1.WorkflowExecution"}
    payload = Payload(metadata=metadata, data=b'{"later": 1, "workflowId": "a"}')
    assert JSONProtoPayloadConverter(ignore_unknown_fields=True).from_payload(payload).workflow_id == "a"


# Search attributes and the error of validation ------------------------------------------------------------------------


def test_search_attributes_go_into_a_message_and_come_out() -> None:
    key = SearchAttributeKey.for_int("Euros")
    attributes = TypedSearchAttributes([SearchAttributePair(key, 5)])
    message = SearchAttributes()
    encode_search_attributes(attributes, message)
    assert message.indexed_fields["Euros"].metadata["type"] == b"Int"
    assert decode_typed_search_attributes(message) == attributes
    assert decode_search_attributes(message) == {"Euros": [5]}
    assert encode_search_attribute_values(["a"]).data == b'["a"]'


def test_the_error_of_validation_is_temporals() -> None:
    for details in ({"field": "price"}, None):
        ours, expected = create_payload_validation_error(details), theirs.create_payload_validation_error(details)
        assert (str(ours), ours.type, ours.non_retryable, list(ours.details)) == (
            str(expected),
            expected.type,
            expected.non_retryable,
            list(expected.details),
        )


async def test_lists_of_one_struct_are_encoded_side_by_side() -> None:
    both = asyncio.Barrier(2)

    class Waiting(PayloadCodec):
        async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
            await both.wait()
            return list(payloads)

        async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
            return list(payloads)

    failure = DataConverter.default.to_failure(create_payload_validation_error(1))
    failure.cause = DataConverter.default.to_failure(create_payload_validation_error(2))
    assert await DataConverter(payload_codec=Waiting()).stored(failure) == failure


class Half(PayloadCodec):
    """Fails on some, once it has begun with the others, which it is never done with."""

    def __init__(self) -> None:
        self.at_work = 0
        self._begun = asyncio.Event()

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        if any(b"bad" in payload.data for payload in payloads):
            await self._begun.wait()
            raise OSError("away")
        self.at_work += 1
        self._begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.at_work -= 1
        return list(payloads)

    decode = encode


class HalfFor(Half, WithSerializationContext):
    def with_context(self, context: SerializationContext) -> Self:
        return self


class HalfDriver(Shelf):
    def __init__(self, name: str, half: Half) -> None:
        super().__init__(name)
        self._half = half

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        await self._half.encode(payloads)
        return []


async def test_of_lists_of_one_struct_none_is_left_at_work_when_one_fails() -> None:
    half = Half()
    started = WorkflowExecutionStarted(
        id=1,
        time_us=0,
        workflow_type="any",
        workflow_id="a",
        task_queue="q",
        original_execution_run_id="r",
        first_execution_run_id="r",
        input=DataConverter.default.to_payloads(["good"]),
        memo={"note": DataConverter.default.to_payloads(["bad"])[0]},
    )
    with pytest.raises(OSError, match="away"):
        await DataConverter(payload_codec=half).stored(started)
    assert half.at_work == 0


async def test_of_several_drivers_none_is_left_at_work_when_one_fails() -> None:
    half = Half()
    drivers = {word: HalfDriver(word, half) for word in ("good", "bad")}
    storage = ExternalStorage(
        list(drivers.values()), lambda context, payload: drivers[payload.data.decode().strip('"')], 0
    )
    with pytest.raises(OSError, match="away"):
        await storage.stored(DataConverter.default.to_payloads(["good", "bad"]), None)
    assert half.at_work == 0


async def test_of_values_of_several_contexts_none_is_left_at_work_when_one_fails() -> None:
    half = HalfFor()
    values = [
        (WorkflowSerializationContext("default", word), DataConverter.default.to_payloads([word]))
        for word in ("good", "bad")
    ]
    encoding = Encoding(DataConverter(payload_codec=half), HeaderCodecBehavior.NO_CODEC)
    with pytest.raises(CodecError, match="away"):
        await encoding.convert(Conversion(values, reads=False))
    assert half.at_work == 0


async def test_what_a_storage_driver_raises_is_not_told_as_the_codecs() -> None:
    class Away(Shelf):
        async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> Any:
            raise OSError("the bucket is away")

    converter = DataConverter(payload_codec=Base64(), external_storage=ExternalStorage([Away()]))
    with pytest.raises(CodecError, match=r"^the external storage can't store: OSError: the bucket is away$"):
        await through_codec(converter, converter.to_payloads([LARGE]), reads=False, headers=False)
