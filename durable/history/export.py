"""A run's history in the JSON form that Temporal's tools write (protobuf JSON of ``History``), and back.

One table of forms serves both directions: a field's type, or its name where Temporal wraps the value
(``workflow_type``, ``task_queue``, ``…_us``, ``…_event_id``), says how it looks in JSON. As in protobuf, a value that
equals its type's zero is not written, and a missing one is read as it; messages and durations are always written, and
read as our default when missing.

What the form has no place for is left out: the request ids of a start and of a cancel request, those that the run
before has consumed, and which local activities a workflow task has asked for.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar, get_args

import msgspec

from durable.history.errors import CorruptHistory
from durable.history.events import (
    Event,
    HistoryEvent,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionStarted,
    WorkflowTaskCompleted,
)
from durable.history.values import (
    CancelExternalFailedCause,
    ContinueAsNewInitiator,
    Failure,
    FailureInfo,
    IdReusePolicy,
    ParentClosePolicy,
    Payload,
    Priority,
    RetryPolicy,
    RetryState,
    SignalExternalFailedCause,
    StartChildFailedCause,
    TaskFailedCause,
    TimeoutType,
    UpdateInput,
    UpdateMeta,
    UpdateOutcome,
    UpdateRequest,
    UserMetadata,
    WorkerVersion,
    WorkflowExecution,
)

S = TypeVar("S", bound=msgspec.Struct)

FOUND_MAX = 80
"""Characters of what was found instead, in an error."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ENUM_PREFIXES: dict[type[IntEnum], str] = {
    RetryState: "RETRY_STATE_",
    ContinueAsNewInitiator: "CONTINUE_AS_NEW_INITIATOR_",
    TimeoutType: "TIMEOUT_TYPE_",
    TaskFailedCause: "WORKFLOW_TASK_FAILED_CAUSE_",
    ParentClosePolicy: "PARENT_CLOSE_POLICY_",
    IdReusePolicy: "WORKFLOW_ID_REUSE_POLICY_",
    StartChildFailedCause: "START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_",
    SignalExternalFailedCause: "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_",
    CancelExternalFailedCause: "CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_",
}
_BENIGN = "APPLICATION_ERROR_CATEGORY_BENIGN"
_NO_PLACE: dict[type[msgspec.Struct], tuple[str, ...]] = {
    WorkflowExecutionStarted: ("request_id", "consumed_request_ids"),
    WorkflowExecutionCancelRequested: ("request_id",),
    WorkflowTaskCompleted: ("local_activities",),
}
_NOT_KNOWN: dict[type[msgspec.Struct], dict[str, Any]] = {WorkflowTaskCompleted: {"local_activities": None}}
"""What is read where there is no place for it, and our default would say something."""


def to_json_dict(events: Iterable[HistoryEvent]) -> dict[str, Any]:
    """The history as ``{"events": [...]}``, ready for any JSON writer."""
    return {"events": [_write_event(event) for event in events]}


def to_json(events: Iterable[HistoryEvent]) -> str:
    """The history as indented JSON text: what `from_json` and Temporal's ``WorkflowHistory.from_json`` read."""
    return msgspec.json.format(msgspec.json.encode(to_json_dict(events)), indent=2).decode()


def from_json(history: str | bytes | Mapping[str, Any]) -> list[HistoryEvent]:
    """Read a history that `to_json`, Temporal's command, its pages or one of its SDKs has written.

    Both spellings of names are read (``EVENT_TYPE_TIMER_FIRED`` and the older ``TimerFired``). Fields that durable does
    not have are ignored; so are causes and states that it does not have, which become UNSPECIFIED. Times are cut to
    microseconds. Raises `CorruptHistory` for an event type that durable does not have, and for what is no history.
    """
    parsed: Any = history
    if isinstance(history, str | bytes):
        try:
            parsed = msgspec.json.decode(history)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise CorruptHistory(f"this is no history: it can't be read as JSON ({error})") from error
    try:
        events = _list(_object(parsed).get("events"))
    except ValueError as error:
        raise CorruptHistory(f'this is no history: it must be a JSON object with a list "events" ({error})') from error
    return [_read_event(place, event) for place, event in enumerate(events, 1)]


def _squashed(name: str) -> str:
    """A name without regard to spelling: SCREAMING_SNAKE and PascalCase become the same."""
    return name.replace("_", "").lower()


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name[0].lower() + name[1:])


_EVENT_TYPES: dict[str, type[HistoryEvent]] = {_squashed(kind.__name__): kind for kind in get_args(HistoryEvent)}
_INFO_TYPES: dict[str, type[msgspec.Struct]] = {_camel(kind.__name__): kind for kind in get_args(FailureInfo)}


def _write_event(event: HistoryEvent) -> dict[str, Any]:
    name = type(event).__name__
    return {
        "eventId": str(event.id),
        "eventTime": _write_time(event.time_us),
        "eventType": "EVENT_TYPE_" + _snake(name),
        _camel(name) + "EventAttributes": _write(event),
        **({} if event.user_metadata is None else {"userMetadata": _write(event.user_metadata)}),
    }


def _read_event(place: int, event: Any) -> HistoryEvent:
    try:
        name = _text(_object(event).get("eventType", ""))
        kind = _EVENT_TYPES.get(_squashed(name.removeprefix("EVENT_TYPE_")))
        if kind is None:
            raise CorruptHistory(
                f"event {event.get('eventId', place)} of this history has the type {name!r}, which this version of "
                "durable does not have; a newer version may, else the history can't be read"
            )
        key = _camel(kind.__name__) + "EventAttributes"
        if event.get(key) is None:
            raise ValueError(f"{key!r} is missing")
        metadata = event.get("userMetadata")
        return _read(
            kind,
            event[key],
            id=int(event["eventId"]),
            time_us=_read_time(event["eventTime"]),
            user_metadata=None if metadata is None else _read(UserMetadata, metadata),
            **_NOT_KNOWN.get(kind, {}),
        )
    except (TypeError, ValueError, ArithmeticError) as error:
        raise CorruptHistory(f"event {place} of this history can't be read: {error}") from error
    except KeyError as error:
        raise CorruptHistory(f"event {place} of this history can't be read: {error} is missing") from error


def _write(value: msgspec.Struct) -> dict[str, Any]:
    parts = ((field, getattr(value, field.name)) for field in _fields(type(value)))
    return {field.key: field.form.write(part) for field, part in parts if part != field.form.zero}


def _read(kind: type[S], json: Any, **given: Any) -> S:
    source = _object(json)
    for field in _fields(kind):
        part = source.get(field.key)
        if part is not None:
            try:
                given[field.name] = field.form.read(part)
            except (TypeError, ValueError, ArithmeticError) as error:
                raise ValueError(f"{field.key}: {error}") from error
        elif field.form.zero is not msgspec.UNSET:
            given[field.name] = field.form.zero
    return kind(**given)


class _Form(NamedTuple):
    """How one kind of value looks in JSON. ``zero`` is not written; UNSET: all are, a missing one is our default."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]
    zero: Any = msgspec.UNSET


class _Field(NamedTuple):
    name: str
    key: str
    form: _Form


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[_Field, ...]:
    """What of a struct is in its JSON object. An event's id and time stand outside; a failure's info is a oneof."""
    apart = _NO_PLACE.get(kind, ())
    if issubclass(kind, Event):
        apart += ("id", "time_us", "user_metadata")
    if kind is Failure:
        apart += ("info",)
    return tuple(
        _Field(field.name, _camel(field.name.removesuffix("_us")), _form(field.name, field.type))
        for field in msgspec.structs.fields(kind)
        if field.name not in apart
    )


def _form(name: str, kind: Any) -> _Form:
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name.endswith("_event_id"):
        return _Form(str, int, 0)
    if name.endswith("_us"):
        return _Form(_write_duration, _read_duration, msgspec.UNSET if kind is int else None)
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        return _enum_form(kind)
    return _BY_TYPE[kind]


def _enum_form(kind: type[IntEnum]) -> _Form:
    prefix, members = _ENUM_PREFIXES[kind], {_squashed(member.name): member for member in kind}
    least = min(kind)  # UNSPECIFIED, where there is such a member

    def write(value: IntEnum) -> str:
        return prefix + value.name

    def read(json: Any) -> IntEnum:
        if isinstance(json, int):
            return kind(json) if json in set(kind) else least
        return members.get(_squashed(_text(json).removeprefix(prefix)), least)

    return _Form(write, read, msgspec.UNSET if least else least)


def _write_failure(failure: Failure) -> dict[str, Any]:
    info = failure.info
    return _write(failure) | ({} if info is None else {_camel(type(info).__name__): _write(info)})


def _read_failure(json: Any) -> Failure:
    source = _object(json)
    infos = (_read(kind, source[key]) for key, kind in _INFO_TYPES.items() if source.get(key) is not None)
    return _read(Failure, source, info=next(infos, None))


def _write_payloads(payloads: list[Payload]) -> dict[str, Any]:
    return {"payloads": [_write(payload) for payload in payloads]} if payloads else {}


def _read_payloads(json: Any) -> list[Payload]:
    return [_read(Payload, payload) for payload in _list(_object(json).get("payloads") or [])]


def _read_priority(json: Any) -> Priority | None:
    """None for one that says nothing, as Temporal's server writes it of all that have none."""
    read = _read(Priority, json)
    return None if read == Priority() else read


def _write_header(header: dict[str, Payload]) -> dict[str, Any]:
    return {"fields": {key: _write(payload) for key, payload in header.items()}}


def _read_header(json: Any) -> dict[str, Payload]:
    fields = _object(_object(json).get("fields") or {})
    return {key: _read(Payload, payload) for key, payload in fields.items()}


def _write_indexed(attributes: dict[str, Payload]) -> dict[str, Any]:
    return {"indexedFields": {key: _write(payload) for key, payload in attributes.items()}}


def _read_indexed(json: Any) -> dict[str, Payload]:
    fields = _object(_object(json).get("indexedFields") or {})
    return {key: _read(Payload, payload) for key, payload in fields.items()}


def _write_details(details: dict[str, list[Payload]]) -> dict[str, Any]:
    return {key: _write_payloads(payloads) for key, payloads in details.items()}


def _read_details(json: Any) -> dict[str, list[Payload]]:
    return {key: _read_payloads(payloads) for key, payloads in _object(json).items()}


def _write_name(name: str) -> dict[str, Any]:
    return {"name": name} if name else {}


def _read_name(json: Any) -> str:
    return _text(_object(json).get("name") or "")


def _write_task_queue(name: str) -> dict[str, Any]:
    return _write_name(name) | {"kind": "TASK_QUEUE_KIND_NORMAL"}


def _write_category(category: int) -> int | str:
    return _BENIGN if category == 1 else category


def _read_category(json: Any) -> int:
    if isinstance(json, int):
        return json
    return 1 if _text(json) in (_BENIGN, "Benign") else 0


def _write_bytes(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _read_bytes(json: Any) -> bytes:
    """Base64 in either alphabet, padded or not: protobuf's readers take them all."""
    text = _text(json).rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _write_metadata(metadata: dict[str, bytes]) -> dict[str, str]:
    return {key: _write_bytes(data) for key, data in metadata.items()}


def _read_metadata(json: Any) -> dict[str, bytes]:
    return {key: _read_bytes(data) for key, data in _object(json).items()}


def _read_texts(json: Any) -> list[str]:
    return [_text(part) for part in _list(json)]


def _fraction(micros: int) -> str:
    """Microseconds below a second, as protobuf writes them: nothing, three digits, or six."""
    if micros % 1000:
        return f".{micros:06d}"
    return f".{micros // 1000:03d}" if micros else ""


def _write_time(time_us: int) -> str:
    moment = _EPOCH + timedelta(microseconds=time_us)
    return f"{moment.replace(microsecond=0, tzinfo=None).isoformat()}{_fraction(moment.microsecond)}Z"


def _read_time(json: Any) -> int:
    moment = datetime.fromisoformat(_text(json))
    if moment.tzinfo is None:
        raise ValueError(f"the time {json!r} does not say its time zone")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _write_duration(micros: int) -> str:
    seconds, rest = divmod(abs(micros), 1_000_000)
    return f"{'-' if micros < 0 else ''}{seconds}{_fraction(rest)}s"


def _read_duration(json: Any) -> int:
    text = _text(json)
    if not text.endswith("s"):
        raise ValueError(f"the duration {text!r} does not end in 's'")
    return int(Decimal(text[:-1]) * 1_000_000)


def _write_float(value: float) -> float | str:
    return "Infinity" if value == math.inf else value


def _brief(json: Any) -> str:
    text = repr(json)
    return text if len(text) <= FOUND_MAX else text[:FOUND_MAX] + "…"


def _text(json: Any) -> str:
    if not isinstance(json, str):
        raise ValueError(f"expected a string, found {_brief(json)}")
    return json


def _list(json: Any) -> list[Any]:
    if not isinstance(json, list):
        raise ValueError(f"expected a list, found {_brief(json)}")
    return json  # pyright: ignore[reportUnknownVariableType]


def _object(json: Any) -> Mapping[str, Any]:
    if not isinstance(json, Mapping):
        raise ValueError(f"expected an object, found {_brief(json)}")
    return json  # pyright: ignore[reportUnknownVariableType]


def _same(value: Any) -> Any:
    return value


_BY_NAME: dict[str, _Form] = {
    "workflow_type": _Form(_write_name, _read_name),
    "activity_type": _Form(_write_name, _read_name),
    "task_queue": _Form(_write_task_queue, _read_name),
    "category": _Form(_write_category, _read_category, 0),
    "fairness_weight": _Form(_write_float, float, 0.0),
    "search_attributes": _Form(_write_indexed, _read_indexed, {}),
    "workflow_execution_expiration_time_us": _Form(_write_time, _read_time, 0),
    "history_size_bytes": _Form(str, int, 0),
}
_BY_TYPE: dict[Any, _Form] = {
    str: _Form(_same, _text, ""),
    int: _Form(_same, int, 0),
    bool: _Form(_same, bool, False),
    float: _Form(_write_float, float),
    bytes: _Form(_write_bytes, _read_bytes, b""),
    list[str]: _Form(list[str], _read_texts, []),
    dict[str, bytes]: _Form(_write_metadata, _read_metadata, {}),
    list[Payload]: _Form(_write_payloads, _read_payloads, []),
    list[Payload] | None: _Form(_write_payloads, _read_payloads, None),
    dict[str, list[Payload]]: _Form(_write_details, _read_details, {}),
    dict[str, Payload]: _Form(_write_header, _read_header, {}),
    Payload | None: _Form(_write, partial(_read, Payload), None),
    Failure: _Form(_write_failure, _read_failure),
    Failure | None: _Form(_write_failure, _read_failure, None),
    RetryPolicy: _Form(_write, partial(_read, RetryPolicy)),
    RetryPolicy | None: _Form(_write, partial(_read, RetryPolicy), None),
    WorkflowExecution: _Form(_write, partial(_read, WorkflowExecution)),
    WorkflowExecution | None: _Form(_write, partial(_read, WorkflowExecution), None),
    Priority | None: _Form(_write, _read_priority, None),
    UpdateMeta: _Form(_write, partial(_read, UpdateMeta)),
    UpdateInput: _Form(_write, partial(_read, UpdateInput)),
    UpdateOutcome: _Form(_write, partial(_read, UpdateOutcome)),
    UpdateRequest: _Form(_write, partial(_read, UpdateRequest)),
    UpdateRequest | None: _Form(_write, partial(_read, UpdateRequest), None),
    WorkerVersion | None: _Form(_write, partial(_read, WorkerVersion), None),
}
