"""Exceptions to recorded failures and back, causes included."""

from __future__ import annotations

import asyncio
import traceback
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, ClassVar, cast

import msgspec

from durable.converter.errors import ConversionError
from durable.converter.payload import PayloadConverter
from durable.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    ServerError,
    TerminatedError,
    TimeoutError,
)
from durable.history.values import (
    ActivityFailureInfo,
    ApplicationFailureInfo,
    CanceledFailureInfo,
    ChildWorkflowExecutionFailureInfo,
    Failure,
    FailureInfo,
    Payload,
    RetryState,
    ServerFailureInfo,
    TerminatedFailureInfo,
    TimeoutFailureInfo,
    TimeoutType,
    WorkflowExecution,
)

SOURCE = "durable"
CAUSES_MAX = 32
TEXT_CHARACTERS_MAX = 32_768
DETAIL_BYTES_MAX = 2 * 1024 * 1024
FRAMES_FIRST, FRAMES_LAST = 20, 40
HIDDEN = "Encoded failure"
_HIDDEN = ("message", "stack_trace")

_MICROSECOND = timedelta(microseconds=1)


class FailureConverter(ABC):
    """Exceptions to failures and back. Subclass it, without arguments to ``__init__``, for a DataConverter of yours."""

    default: ClassVar[FailureConverter]

    @abstractmethod
    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """Fill ``failure``, which is new and empty, with the exception as a history carries it."""

    @abstractmethod
    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        """The exception that a failure is raised as; its ``__cause__`` is the failure's cause. The failure stays as it
        is: histories hold it."""


class DefaultFailureConverter(FailureConverter):
    """Temporal's rules: our own errors as what they are, others as ApplicationErrors with their class as ``type``.

    ``encode_common_attributes``: message and stack trace are moved into ``encoded_attributes``, a payload, so that a
    codec hides them with the rest; what everybody may read is "Encoded failure" and the type.

    Each exception of a chain of causes goes through ``to_failure``, each failure of one through ``from_failure``: what
    a subclass changes there is changed in all of them. An exception from a history is recorded as it was there.
    """

    def __init__(self, *, encode_common_attributes: bool = False) -> None:
        self._encode_common_attributes = encode_common_attributes

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """Never raises, whatever the exception holds: text that can't be stored is escaped, details that can't be
        converted become a sentence that says so, and long texts, stacks and chains of causes are cut."""
        above = failure.above if isinstance(failure, _Cause) else ()
        recorded = exception.failure if isinstance(exception, FailureError) else None
        if recorded is not None:
            self._fill_with_recorded(failure, recorded, payload_converter, CAUSES_MAX - len(above))
            return
        _fill(failure, exception, payload_converter)
        if self._encode_common_attributes:
            _hide(failure, payload_converter)
        cause = _cause(exception)
        above = (*above, id(exception))
        if cause is not None and id(cause) not in above and len(above) < CAUSES_MAX:
            below = _Cause(above=above)
            self.to_failure(cause, payload_converter, below)
            failure.cause = Failure(**{name: getattr(below, name) for name in Failure.__struct_fields__})

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        clear = _unhidden(failure, payload_converter)
        error = _error(clear, payload_converter)
        if failure.cause is not None:
            error.__cause__ = self.from_failure(failure.cause, payload_converter)
        return error

    def _fill_with_recorded(self, failure: Failure, recorded: Failure, converter: PayloadConverter, most: int) -> None:
        failure.CopyFrom(msgspec.structs.replace(recorded, cause=None))
        if recorded.encoded_attributes is not None:
            failure.message, failure.stack_trace = HIDDEN, ""
        elif self._encode_common_attributes:
            _hide(failure, converter)
        if recorded.cause is not None and most > 1:
            failure.cause = Failure()
            self._fill_with_recorded(failure.cause, recorded.cause, converter, most - 1)


class DefaultFailureConverterWithEncodedAttributes(DefaultFailureConverter):
    """`DefaultFailureConverter` with ``encode_common_attributes``: errors' texts and stacks go through the codec."""

    def __init__(self) -> None:
        super().__init__(encode_common_attributes=True)


FailureConverter.default = DefaultFailureConverter()


class _Cause(Failure, kw_only=True):
    """A failure to be filled with a cause: it knows the exceptions above, so that circles and long chains end."""

    above: tuple[int, ...] = ()


def _hide(failure: Failure, converter: PayloadConverter) -> None:
    """Message and stack trace move into ``encoded_attributes``."""
    attributes = {"message": failure.message, "stack_trace": failure.stack_trace}
    with suppress(Exception):  # a converter may be anybody's code; what it can't convert is lost, and not told in clear
        failure.encoded_attributes = converter.to_payload(attributes)
    failure.message, failure.stack_trace = HIDDEN, ""


def _unhidden(failure: Failure, converter: PayloadConverter) -> Failure:
    """The failure with what `_hide` has moved where it was; the failure itself where nothing can be read."""
    if failure.encoded_attributes is None:
        return failure
    try:
        found: object = converter.from_payload(failure.encoded_attributes)
    except Exception:  # a converter may be anybody's code, and the error that this belongs to must arrive
        return failure
    if not isinstance(found, dict):
        return failure
    attributes = cast("dict[str, object]", found)
    texts = {name: text for name in _HIDDEN if isinstance(text := attributes.get(name), str)}
    return msgspec.structs.replace(failure, **texts)


def _cause(exception: BaseException) -> BaseException | None:
    if exception.__cause__ is not None:
        return exception.__cause__
    if exception.__context__ is not None and not exception.__suppress_context__:
        return exception.__context__
    if isinstance(exception, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", exception).exceptions[0]
    return None


def _fill(failure: Failure, exception: BaseException, converter: PayloadConverter) -> None:
    failure.message = message_of(exception)
    failure.source = SOURCE
    failure.stack_trace = stack_of(exception.__traceback__)
    failure.info = _info(exception, converter)


def _info(exception: BaseException, converter: PayloadConverter) -> FailureInfo:
    match exception:
        case ApplicationError():
            delay = exception.next_retry_delay
            return ApplicationFailureInfo(
                type=_storable(exception.type or ""),
                non_retryable=exception.non_retryable,
                details=_payloads(exception.details, converter),
                next_retry_delay_us=None if delay is None else delay // _MICROSECOND,
                category=int(exception.category),
            )
        case CancelledError():
            return CanceledFailureInfo(details=_payloads(exception.details, converter))
        case asyncio.CancelledError():
            return CanceledFailureInfo()
        case TimeoutError():
            return TimeoutFailureInfo(
                timeout_type=exception.type or TimeoutType.UNSPECIFIED,
                last_heartbeat_details=_payloads(exception.last_heartbeat_details, converter),
            )
        case TerminatedError():
            return TerminatedFailureInfo()
        case ServerError():
            return ServerFailureInfo(non_retryable=exception.non_retryable)
        case ActivityError():
            return ActivityFailureInfo(
                scheduled_event_id=exception.scheduled_event_id,
                started_event_id=exception.started_event_id,
                identity=_storable(exception.identity),
                activity_type=_storable(exception.activity_type),
                activity_id=_storable(exception.activity_id),
                retry_state=exception.retry_state or RetryState.UNSPECIFIED,
            )
        case ChildWorkflowError():
            return ChildWorkflowExecutionFailureInfo(
                namespace=_storable(exception.namespace),
                workflow_execution=WorkflowExecution(
                    workflow_id=_storable(exception.workflow_id), run_id=_storable(exception.run_id)
                ),
                workflow_type=_storable(exception.workflow_type),
                initiated_event_id=exception.initiated_event_id,
                started_event_id=exception.started_event_id,
                retry_state=exception.retry_state or RetryState.UNSPECIFIED,
            )
        case _:
            # What can't be converted now can't be converted by the next attempt: trying again would never end.
            return ApplicationFailureInfo(
                type=_storable(type(exception).__name__), non_retryable=isinstance(exception, ConversionError)
            )


def _error(failure: Failure, converter: PayloadConverter) -> FailureError:
    """The error of one link of the chain."""
    error = _bare_error(failure, converter)
    error._failure = failure  # pyright: ignore[reportPrivateUsage]
    return error


def _bare_error(failure: Failure, converter: PayloadConverter) -> FailureError:
    message = failure.message
    match failure.info:
        case ApplicationFailureInfo() as info:
            delay_us = info.next_retry_delay_us
            return ApplicationError(
                message,
                *_values(info.details, converter),
                type=info.type or None,
                non_retryable=info.non_retryable,
                next_retry_delay=None if delay_us is None else timedelta(microseconds=delay_us),
                category=_category(info.category),
            )
        case CanceledFailureInfo() as info:
            return CancelledError(message, *_values(info.details, converter))
        case TimeoutFailureInfo() as info:
            return TimeoutError(
                message,
                type=info.timeout_type or None,
                last_heartbeat_details=_values(info.last_heartbeat_details, converter),
            )
        case TerminatedFailureInfo():
            return TerminatedError(message)
        case ServerFailureInfo() as info:
            return ServerError(message, non_retryable=info.non_retryable)
        case ActivityFailureInfo() as info:
            return ActivityError(
                message,
                scheduled_event_id=info.scheduled_event_id,
                started_event_id=info.started_event_id,
                identity=info.identity,
                activity_type=info.activity_type,
                activity_id=info.activity_id,
                retry_state=info.retry_state or None,
            )
        case ChildWorkflowExecutionFailureInfo() as info:
            child = info.workflow_execution or WorkflowExecution()
            return ChildWorkflowError(
                message,
                namespace=info.namespace,
                workflow_id=child.workflow_id,
                run_id=child.run_id,
                workflow_type=info.workflow_type,
                initiated_event_id=info.initiated_event_id,
                started_event_id=info.started_event_id,
                retry_state=info.retry_state or None,
            )
        case None:
            return FailureError(message)


def _category(number: int) -> ApplicationErrorCategory:
    try:
        return ApplicationErrorCategory(number)
    except ValueError:  # written by a version that knows more of them
        return ApplicationErrorCategory.UNSPECIFIED


def _payloads(details: Sequence[Any], converter: PayloadConverter) -> list[Payload] | None:
    return [_detail(value, converter) for value in details] or None


def _detail(value: Any, converter: PayloadConverter) -> Payload:
    try:
        payload = converter.to_payload(value)
        if len(payload.data) <= DETAIL_BYTES_MAX:
            return payload
        reason = f"{len(payload.data)} bytes are more than the {DETAIL_BYTES_MAX} that a payload may have"
    except Exception as error:  # a converter may be anybody's code, and this error must not hide the one it tells of
        reason = error.reason if isinstance(error, ConversionError) else message_of(error)
    return converter.to_payload(_storable(f"<a detail of type {type(value).__qualname__} was left out: {reason}>"))


def _values(details: Sequence[Payload] | None, converter: PayloadConverter) -> tuple[Any, ...]:
    """The details; one that this process can't read stays the payload that it is."""
    return tuple(_value(payload, converter) for payload in details or ())


def _value(payload: Payload, converter: PayloadConverter) -> Any:
    try:
        return converter.from_payload(payload)
    except Exception:  # a converter may be anybody's code, and the error that this belongs to must arrive
        return payload


def message_of(exception: BaseException) -> str:
    """The exception's own text, as every store takes it; never raises, whatever its ``__str__`` does."""
    try:
        text = exception.message if isinstance(exception, FailureError) else str(exception)
        if not text and isinstance(exception, asyncio.CancelledError):
            text = "Cancelled"
        return _storable(text)
    except Exception as error:  # __str__ is anybody's code
        return f"<str() of this {type(exception).__name__} raised {type(error).__name__}>"


def stack_of(tb: TracebackType | None) -> str:
    """``traceback.format_tb``, joined; of a very deep stack its first and last frames."""
    depth = sum(1 for _ in traceback.walk_tb(tb))
    if depth <= FRAMES_FIRST + FRAMES_LAST:
        return _storable("".join(traceback.format_tb(tb)))
    first, last = traceback.format_tb(tb, FRAMES_FIRST), traceback.format_tb(tb, -FRAMES_LAST)
    left_out = f"  … {depth - FRAMES_FIRST - FRAMES_LAST} frames left out …\n"
    return _storable("".join([*first, left_out, *last]))


def _storable(text: object) -> str:
    """Text that every store takes: no NUL, no lone surrogates (both escaped), and of bounded length."""
    plain = str(text)
    if len(plain) > TEXT_CHARACTERS_MAX:
        plain = f"{plain[:TEXT_CHARACTERS_MAX]}… ({len(plain) - TEXT_CHARACTERS_MAX} more characters)"
    return plain.replace("\0", "\\u0000").encode("utf-8", "backslashreplace").decode()
