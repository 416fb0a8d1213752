"""What a codec is asked for, and what becomes of failures on their way through it."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import pytest

from durable.common import RawValue
from durable.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    FailureConverter,
    Payload,
    PayloadCodec,
    PayloadConverter,
    Payloads,
)
from durable.exceptions import ApplicationError, FailureError, TimeoutError, TimeoutType
from durable.history.values import ApplicationFailureInfo, Failure, TimeoutFailureInfo


class Base64(PayloadCodec):
    """Visible, reversible, and strict about what it reads."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload(metadata={"encoding": b"test/b64"}, data=base64.b64encode(payload.SerializeToString()))
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        assert all(payload.metadata["encoding"] == b"test/b64" for payload in payloads)
        return [Payload.FromString(base64.b64decode(payload.data)) for payload in payloads]


def raised(exception: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise exception from cause
    except BaseException as error:
        return error


def failed() -> BaseException:
    return raised(ApplicationError("outer secret", {"card": 4711}, type="Card"), raised(ValueError("inner secret")))


CODED = DataConverter(payload_codec=Base64())
HIDING = DataConverter(payload_codec=Base64(), failure_converter_class=DefaultFailureConverterWithEncodedAttributes)


async def test_values_go_through_the_codec_and_come_back() -> None:
    payloads = await CODED.encode(["a", 1, None])
    assert {payload.metadata["encoding"] for payload in payloads} == {b"test/b64"}
    assert await CODED.decode(payloads, [str, int]) == ["a", 1, None]
    (raw,) = await CODED.decode(payloads[:1], [RawValue])
    assert raw == RawValue(DataConverter.default.to_payloads(["a"])[0])


async def test_wrappers_hold_what_the_lists_would() -> None:
    wrapped = await CODED.encode_wrapper(["a", 1])
    assert wrapped == Payloads(payloads=await CODED.encode(["a", 1]))
    assert await CODED.decode_wrapper(wrapped) == ["a", 1]
    assert await CODED.decode_wrapper(None) == []

    plain = PayloadConverter.default.to_payloads_wrapper(["a", 1])
    assert PayloadConverter.default.from_payloads_wrapper(plain) == ["a", 1]
    assert PayloadConverter.default.from_payloads_wrapper(None) == []
    await Base64().encode_wrapper(plain)
    assert plain == wrapped
    await Base64().decode_wrapper(plain)
    assert PayloadConverter.default.from_payloads_wrapper(plain) == ["a", 1]


async def test_a_failure_is_encoded_in_place_causes_included_and_decoded_again() -> None:
    failure = Failure(
        message="late",
        info=TimeoutFailureInfo(last_heartbeat_details=DataConverter.default.to_payloads([7])),
        cause=DataConverter.default.to_failure(failed()),
    )
    before = Failure()
    before.CopyFrom(failure)

    await Base64().encode_failure(failure)

    assert isinstance(failure.info, TimeoutFailureInfo) and failure.info.last_heartbeat_details is not None
    assert failure.info.last_heartbeat_details[0].metadata["encoding"] == b"test/b64"
    assert failure.cause is not None and failure.cause.cause is not None
    assert (failure.cause.application_failure_info.details or [])[0].metadata["encoding"] == b"test/b64"
    await Base64().decode_failure(failure)
    assert failure == before


async def test_an_error_is_converted_and_encoded_in_one_go_and_comes_back() -> None:
    failure = Failure()

    await HIDING.encode_failure(failed(), failure)

    told = str(failure)
    assert "secret" not in told and "4711" not in told and "failed()" not in told
    assert failure.message == "Encoded failure" and failure.stack_trace == "" and failure.HasField("encoded_attributes")
    assert failure.application_failure_info.type == "Card"
    stored = Failure()
    stored.CopyFrom(failure)
    error = await HIDING.decode_failure(failure)
    assert isinstance(error, ApplicationError) and isinstance(error.__cause__, ApplicationError)
    assert (str(error), list(error.details), str(error.__cause__)) == (
        "Card: outer secret",
        [{"card": 4711}],
        "ValueError: inner secret",
    )
    assert error.failure is not None and "in raised" in error.failure.stack_trace
    assert failure == stored  # histories hold it: it stays as it is


async def test_an_error_that_comes_back_is_hidden_again_when_it_is_recorded_again() -> None:
    """Also by a converter that does not hide its own errors, and also one that was recorded in clear."""
    failure = Failure()
    await HIDING.encode_failure(failed(), failure)
    error = await HIDING.decode_failure(failure)
    for converter in (HIDING, CODED):
        again = converter.to_failure(error)
        assert (again.message, again.stack_trace) == ("Encoded failure", "")
        assert again.cause is not None and again.cause.message == "Encoded failure"
        assert str(HIDING.from_failure(again)) == "Card: outer secret"

    clear = CODED.from_failure(CODED.to_failure(failed()))
    hidden = HIDING.to_failure(raised(clear))
    assert hidden.message == "Encoded failure" and hidden.cause is not None
    assert hidden.cause.message == "Encoded failure"
    assert isinstance(clear, FailureError) and clear.failure is not None and clear.failure.message == "outer secret"


@pytest.mark.parametrize("attributes", [Payload(metadata={"encoding": b"alien"}), Payload(data=b"1"), None])
def test_attributes_that_can_not_be_read_leave_the_failure_as_it_is(attributes: Payload | None) -> None:
    if attributes is not None and attributes.data:
        attributes.metadata["encoding"] = b"json/plain"
    failure = Failure(message="Encoded failure", encoded_attributes=attributes)
    error = HIDING.from_failure(failure)
    assert isinstance(error, FailureError) and error.message == "Encoded failure"


def test_text_that_the_converter_can_not_hide_is_lost_and_not_told() -> None:
    class Refuses(type(DataConverter.default.payload_converter)):  # type: ignore[misc]
        def to_payloads(self, values: Sequence[object]) -> list[Payload]:
            raise TypeError("refused")

    failure = Failure()
    DefaultFailureConverterWithEncodedAttributes().to_failure(raised(ValueError("secret")), Refuses(), failure)
    assert failure.message == "Encoded failure" and failure.encoded_attributes is None and failure.stack_trace == ""


class Scrubbing(DefaultFailureConverter):
    """As programs for Temporal do it: let the default write, then change what it wrote."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        super().to_failure(exception, payload_converter, failure)
        failure.message = failure.message.replace("secret", "***")
        failure.stack_trace = ""
        if failure.HasField("application_failure_info"):
            failure.application_failure_info.non_retryable = True
            failure.application_failure_info.details = None

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        error = super().from_failure(failure, payload_converter)
        error.add_note("read")
        return error


def test_a_subclass_changes_what_the_default_wrote_in_every_cause() -> None:
    converter = DataConverter(failure_converter_class=Scrubbing)
    failure = converter.to_failure(failed())
    assert failure.cause is not None
    assert [(f.message, f.stack_trace, f.application_failure_info) for f in (failure, failure.cause)] == [
        ("outer ***", "", ApplicationFailureInfo(type="Card", non_retryable=True)),
        ("inner ***", "", ApplicationFailureInfo(type="ValueError", non_retryable=True)),
    ]
    error = converter.from_failure(failure)
    assert error.__notes__ == ["read"] and error.__cause__ is not None and error.__cause__.__notes__ == ["read"]


def test_a_subclass_changes_copies_of_what_a_history_holds() -> None:
    recorded = DataConverter.default.to_failure(failed())
    before = str(recorded)
    converter = DataConverter(failure_converter_class=Scrubbing)
    again = converter.to_failure(converter.from_failure(recorded))
    assert again.message == "outer ***" and again.application_failure_info.details is None
    assert str(recorded) == before


def test_a_converter_of_ones_own_fills_the_failure_it_is_given() -> None:
    class Bare(FailureConverter):
        def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
            failure.message = "an error"
            failure.application_failure_info = ApplicationFailureInfo(type="Bare")

        def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
            return LookupError(failure.application_failure_info.type)

    converter = DataConverter(failure_converter_class=Bare)
    failure = converter.to_failure(failed())
    assert (failure.message, failure.WhichOneof("failure_info")) == ("an error", "application_failure_info")
    assert repr(converter.from_failure(failure)) == "LookupError('Bare')"


def test_a_failure_says_of_what_kind_it_is_by_temporals_names() -> None:
    failure = DataConverter.default.to_failure(
        TimeoutError("late", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[])
    )
    assert failure.HasField("timeout_failure_info") and not failure.HasField("application_failure_info")
    assert not failure.HasField("cause") and failure.WhichOneof("failure_info") == "timeout_failure_info"
    assert failure.timeout_failure_info.timeout_type == TimeoutType.HEARTBEAT
    assert failure.application_failure_info.type == ""
    with pytest.raises(AttributeError, match="immutable"):  # it would be lost
        failure.application_failure_info.type = "X"
    assert Failure().WhichOneof("failure_info") is None
    with pytest.raises(ValueError, match='no oneof "other" field'):
        failure.WhichOneof("other")
    with pytest.raises(ValueError, match=r"Failure.message does not have presence"):
        failure.HasField("message")
