"""Events and messages to stored bytes and back (msgpack, one map per event, its type in ``type``).

Fields may be added with a default; a name, once stored, keeps its meaning. So every later version reads what this one
wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from durable.history.errors import CorruptHistory
from durable.history.events import HistoryEvent
from durable.history.messages import KIND_OF, Message, QueryAnswer, UpdateAnswer
from durable.history.transition import ActivityControl, ActivityProgress, ActivitySpec, EventBatch, NewMessage
from durable.history.values import Payload

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode

_events = msgspec.msgpack.Decoder(list[HistoryEvent])
_message: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_spec = msgspec.msgpack.Decoder(ActivitySpec)
_progress = msgspec.msgpack.Decoder(ActivityProgress)
_control = msgspec.msgpack.Decoder(ActivityControl)
_answer = msgspec.msgpack.Decoder(QueryAnswer)
_update_answer = msgspec.msgpack.Decoder(UpdateAnswer)
_values = msgspec.msgpack.Decoder(dict[str, Payload])


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes, what: str) -> T:
    try:
        return decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise CorruptHistory(f"stored {what} can't be read: {error}") from error


def batch(events: Sequence[HistoryEvent]) -> EventBatch:
    """The events of one transition as one row of history."""
    return EventBatch(first_id=events[0].id, count=len(events), data=encode(events))


def decode_events(data: bytes) -> list[HistoryEvent]:
    """One row of history."""
    return _decode(_events, data, "events")


def decode_history(rows: Iterable[bytes]) -> list[HistoryEvent]:
    """All rows of a run's history, in order."""
    return [event for row in rows for event in decode_events(row)]


def pack(message: Message, due_us: int, key: int = 0) -> NewMessage:
    """A message, ready for an inbox."""
    return NewMessage(kind=KIND_OF[type(message)], body=encode(message), due_us=due_us, key=key)


def decode_message(data: bytes) -> Message:
    return _decode(_message, data, "message")


def decode_spec(data: bytes) -> ActivitySpec:
    return _decode(_spec, data, "activity")


def decode_progress(data: bytes) -> ActivityProgress:
    return _decode(_progress, data, "activity progress")


def encode_control(control: ActivityControl) -> bytes | None:
    """None where nothing is asked, as of nearly all activities."""
    return None if control == ActivityControl() else encode(control)


def decode_control(data: bytes | None) -> ActivityControl:
    return ActivityControl() if data is None else _decode(_control, data, "activity control")


def decode_answer(data: bytes) -> QueryAnswer:
    return _decode(_answer, data, "answer")


def decode_update_answer(data: bytes) -> UpdateAnswer:
    return _decode(_update_answer, data, "answer to an update")


def decode_values(data: bytes | None) -> dict[str, Payload]:
    """A memo, or search attributes; None: there are none."""
    return {} if data is None else _decode(_values, data, "memo or search attributes")
