"""Pure: whether a command says the very same as its event: arguments, durations and results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from durable.history.commands import (
    Command,
    CompleteUpdate,
    CompleteWorkflowExecution,
    ContinueAsNewWorkflowExecution,
    ScheduleActivityTask,
    StartTimer,
)
from durable.history.events import (
    ActivityTaskScheduled,
    CommandEvent,
    TimerStarted,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionUpdateCompleted,
)
from durable.history.values import Payload

TEXT_MAX = 200


def differing(command: Command, event: CommandEvent) -> tuple[str, str] | None:
    """What the event says and what the command says, in words to put behind their names; None when it is the same.

    Lists count as equal in any order: a set is converted to one, in an order of its own in each process. Of an encoding
    that is not known here nothing is said: encrypted, the same value may be other bytes each time.
    """
    match command, event:
        case ScheduleActivityTask(), ActivityTaskScheduled():
            return _payloads(event.input, command.input)
        case CompleteWorkflowExecution(), WorkflowExecutionCompleted():
            return _payloads(event.result, command.result)
        case ContinueAsNewWorkflowExecution(), WorkflowExecutionContinuedAsNew():
            return _payloads(event.input, command.input)
        case CompleteUpdate(), WorkflowExecutionUpdateCompleted():
            return _payloads(event.outcome.success or [], command.outcome.success or [])
        case StartTimer(), TimerStarted():
            same = event.start_to_fire_timeout_us == command.start_to_fire_timeout_us
            return None if same else ("", "")  # its name tells how long it is
        case _:
            return None


def _payloads(recorded: Sequence[Payload], now: Sequence[Payload]) -> tuple[str, str] | None:
    if [_meaning(each) for each in recorded] == [_meaning(each) for each in now]:
        return None
    return f" with {_text(recorded)}", f" with {_text(now)}"


def _meaning(payload: Payload) -> object:
    encoding = payload.metadata.get("encoding")
    if encoding == b"binary/plain":
        return payload.data
    if encoding == b"json/plain":
        try:
            return _in_order(json.loads(payload.data))
        except ValueError:
            pass  # it is called JSON, and is something of its converter's own
    return encoding


def _in_order(value: Any) -> str:
    """JSON in which the order of lists and keys says nothing."""
    if isinstance(value, list):
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        return f"[{', '.join(sorted(map(_in_order, items)))}]"
    if isinstance(value, dict):
        fields: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        return f"{{{', '.join(f'{key!r}: {_in_order(fields[key])}' for key in sorted(fields))}}}"
    return repr(value)


def _text(payloads: Sequence[Payload]) -> str:
    return _cut(f"({', '.join(payload.data.decode(errors='replace') for payload in payloads)})")


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"
