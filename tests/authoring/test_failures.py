"""Exceptions become failures, and come back with what they held."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from durable import exceptions
from durable.converter import ConversionError, DataConverter
from durable.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    FailureError,
    RetryState,
    ServerError,
    TerminatedError,
    TimeoutType,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)
from durable.history.values import ApplicationFailureInfo, CanceledFailureInfo, Failure, Payload

CONVERTER = DataConverter.default


def stored(exception: BaseException) -> Failure:
    """The failure, once through the bytes that a history is."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(CONVERTER.to_failure(exception)), type=Failure)


def through(exception: BaseException) -> BaseException:
    return CONVERTER.from_failure(stored(exception))


def raised(exception: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise exception from cause
    except BaseException as error:
        return error


def test_a_plain_exception_becomes_an_application_error_with_its_class_as_type() -> None:
    error = through(raised(ValueError("no such order")))
    assert isinstance(error, ApplicationError)
    assert (error.type, error.message, str(error)) == ("ValueError", "no such order", "ValueError: no such order")
    assert not error.non_retryable


def test_an_application_error_keeps_everything_it_holds() -> None:
    error = through(
        ApplicationError(
            "sold out",
            {"sku": "a"},
            b"\xff",
            None,
            type="Stock",
            non_retryable=True,
            next_retry_delay=timedelta(seconds=1.5),
            category=ApplicationErrorCategory.BENIGN,
        )
    )
    assert isinstance(error, ApplicationError)
    assert list(error.details) == [{"sku": "a"}, b"\xff", None]
    assert (error.type, error.non_retryable, str(error)) == ("Stock", True, "Stock: sold out")
    assert error.next_retry_delay == timedelta(seconds=1.5)
    assert error.category is ApplicationErrorCategory.BENIGN
    assert str(through(ApplicationError("only text"))) == "only text"


def test_an_activity_error_keeps_its_attributes_and_its_cause() -> None:
    error = through(
        raised(
            ActivityError(
                "Activity task failed",
                scheduled_event_id=5,
                started_event_id=6,
                identity="1@host",
                activity_type="charge",
                activity_id="1",
                retry_state=RetryState.TIMEOUT,
            ),
            ApplicationError("declined", type="Card"),
        )
    )
    assert isinstance(error, ActivityError)
    assert (error.scheduled_event_id, error.started_event_id, error.identity) == (5, 6, "1@host")
    assert (error.activity_type, error.activity_id, error.retry_state) == ("charge", "1", RetryState.TIMEOUT)
    assert isinstance(error.cause, ApplicationError)
    assert error.cause.type == "Card"


def test_the_other_errors_come_back_as_themselves() -> None:
    timeout = through(exceptions.TimeoutError("late", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[7, "a"]))
    assert isinstance(timeout, exceptions.TimeoutError)
    assert (timeout.type, list(timeout.last_heartbeat_details)) == (TimeoutType.HEARTBEAT, [7, "a"])
    cancelled = through(CancelledError("stop", 1))
    assert isinstance(cancelled, CancelledError)
    assert (cancelled.message, list(cancelled.details)) == ("stop", [1])
    server = through(ServerError("down", non_retryable=True))
    assert isinstance(server, ServerError)
    assert server.non_retryable
    assert isinstance(through(TerminatedError("ended")), TerminatedError)


def test_asyncio_cancellation_is_recorded_as_cancelled() -> None:
    failure = stored(asyncio.CancelledError())
    assert isinstance(failure.info, CanceledFailureInfo)
    assert failure.message == "Cancelled"
    assert isinstance(CONVERTER.from_failure(failure), CancelledError)


def test_the_recorded_failure_stays_with_the_error_and_is_recorded_again_as_it_was() -> None:
    failure = stored(raised(ValueError("a"), KeyError("b")))
    error = CONVERTER.from_failure(failure)
    assert isinstance(error, FailureError)
    assert error.failure == failure
    assert stored(raised(error)) == failure


def test_the_cause_is_carried_else_the_context_unless_suppressed() -> None:
    def handled(suppress: bool) -> BaseException:
        try:
            try:
                raise KeyError("inner")
            except KeyError:
                if suppress:
                    raise ValueError("outer") from None
                raise ValueError("outer")  # noqa: B904 the context is what is tested
        except ValueError as error:
            return error

    assert str(through(raised(ValueError("a"), KeyError("b"))).__cause__) == "KeyError: 'b'"
    assert str(through(handled(suppress=False)).__cause__) == "KeyError: 'inner'"
    assert through(handled(suppress=True)).__cause__ is None


def test_a_group_carries_its_first_member_as_cause() -> None:
    error = through(ExceptionGroup("several", [ValueError("first"), KeyError("second")]))
    assert str(error) == "ExceptionGroup: several (2 sub-exceptions)"
    assert str(error.__cause__) == "ValueError: first"


def test_causes_that_go_in_a_circle_end() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    failure = stored(first)
    assert failure.cause is not None
    assert failure.cause.message == "second"
    assert failure.cause.cause is None


def chain(error: Failure | None) -> int:
    count = 0
    while error is not None:
        count, error = count + 1, error.cause
    return count


def test_a_long_chain_of_causes_is_cut_also_when_it_was_recorded_before() -> None:
    error: BaseException = ValueError("0")
    for number in range(5000):
        error = raised(ValueError(str(number)), error)
    failure = stored(error)
    assert chain(failure) == 32
    assert chain(stored(raised(KeyError("again"), CONVERTER.from_failure(failure)))) == 32


def test_the_stack_is_the_formatted_traceback() -> None:
    stack = stored(raised(ValueError("a"))).stack_trace
    assert "in raised" in stack
    assert "raise exception from cause" in stack


def test_a_deep_stack_keeps_its_first_and_last_frames() -> None:
    def fall(depth: int) -> None:
        if depth == 0:
            raise ValueError("bottom")
        fall(depth - 1)

    try:
        fall(300)
    except ValueError as error:
        stack = stored(error).stack_trace
    assert "in test_a_deep_stack" in stack
    assert "frames left out" in stack
    assert 'raise ValueError("bottom")' in stack
    assert stack.count("in fall") < 80


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b", "x" * 1_000_000])
def test_any_error_text_can_be_stored(text: str) -> None:
    failure = stored(raised(ApplicationError(text, type=text), ValueError(text)))
    assert failure.cause is not None
    assert isinstance(failure.info, ApplicationFailureInfo)
    for kept in (failure.message, failure.cause.message, failure.info.type):
        assert "\0" not in kept
        kept.encode()
        assert len(kept) < 40_000
    assert stored(ValueError("a\0\ud800")).message == "a\\u0000\\ud800"


def test_an_exception_whose_text_raises_is_recorded_all_the_same() -> None:
    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert stored(Rude()).message == "<str() of this Rude raised RuntimeError>"


def test_details_that_cannot_be_converted_do_not_hide_the_error() -> None:
    error = through(ApplicationError("lost", object(), 3, b"x" * 3_000_000))
    assert isinstance(error, ApplicationError)
    assert error.message == "lost"
    assert error.details[0].startswith("<a detail of type object was left out: object of type object can't")
    assert error.details[1] == 3
    assert "3000000 bytes are more" in error.details[2]


def test_details_that_cannot_be_read_stay_payloads() -> None:
    unreadable = Payload(metadata={"encoding": b"alien"}, data=b"?")
    error: Any = CONVERTER.from_failure(
        Failure(message="a", info=ApplicationFailureInfo(type="A", details=[unreadable], category=99))
    )
    assert list(error.details) == [unreadable]
    assert error.category is ApplicationErrorCategory.UNSPECIFIED


def test_what_cannot_be_converted_is_not_tried_again() -> None:
    error = through(raised(ConversionError("too large", index=0)))
    assert isinstance(error, ApplicationError)
    assert (error.type, error.non_retryable) == ("ConversionError", True)


def test_a_failure_without_a_kind_is_a_failure_error() -> None:
    error = CONVERTER.from_failure(Failure(message="plain"))
    assert type(error) is FailureError
    assert str(error) == "plain"


def test_an_activity_error_is_a_cancellation_when_its_cause_is_one() -> None:
    def activity_error(cause: BaseException) -> BaseException:
        return raised(
            ActivityError(
                "a",
                scheduled_event_id=1,
                started_event_id=2,
                identity="",
                activity_type="",
                activity_id="",
                retry_state=None,
            ),
            cause,
        )

    assert is_cancelled_exception(asyncio.CancelledError())
    assert is_cancelled_exception(CancelledError())
    assert is_cancelled_exception(activity_error(CancelledError()))
    assert not is_cancelled_exception(activity_error(ValueError()))
    assert not is_cancelled_exception(raised(ValueError(), CancelledError()))


def test_an_already_started_error_says_which() -> None:
    error = WorkflowAlreadyStartedError("order-7", "process", run_id="r")
    assert isinstance(error, FailureError)
    assert (error.workflow_id, error.workflow_type, error.run_id) == ("order-7", "process", "r")
