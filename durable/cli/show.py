"""Runs, descriptions and histories on a terminal, as tables; and as JSON for machines."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from durable.cli import visible
from durable.client import (
    PendingActivityInfo,
    PendingMessageInfo,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowHistory,
)
from durable.client.description import moment
from durable.history.events import HistoryEvent
from durable.history.values import Failure, Payload

PIPE_WIDTH = 100_000
"""Characters a line when nobody's terminal limits it: nothing is cut or folded."""

DETAIL_MAX = 120
NOTE_MAX = 100

_TOLD = frozenset(
    "workflow_type activity_type activity_id signal_name timer_id attempt cause reason input result details failure "
    "last_failure start_to_fire_timeout_us".split()
)
"""The attributes of events that a person looks for; the rest is in the JSON."""


def runs(found: Sequence[WorkflowExecution]) -> None:
    """The list of runs."""
    rows = [
        (run.id, run.workflow_type, _status(run), _time(run.start_time), _time(run.close_time), run.run_id, _note(run))
        for run in found
    ]
    _table(("ID", "TYPE", "STATUS", "STARTED", "CLOSED", "RUN ID", "NOTE"), rows)


def description(run: WorkflowExecutionDescription) -> None:
    """One run: its row, then its activities that are not over, then its unread messages."""
    facts = {
        "id": run.id,
        "run id": run.run_id,
        "type": run.workflow_type,
        "status": _status(run),
        "parked": run.parked,
        "task queue": run.task_queue,
        "namespace": run.namespace,
        "started": _time(run.start_time),
        "closed": _time(run.close_time),
        "history": f"{run.history_length} events, {run.history_bytes} bytes",
        "worker": run.worker,
    }
    _table(None, [(name, value) for name, value in facts.items() if value])
    if run.pending_activities:
        print("\npending activities")
        _table(
            ("ID", "TYPE", "ATTEMPT", "STATE", "WORKER", "LAST FAILURE"),
            [_activity(activity) for activity in run.pending_activities],
        )
    if run.pending_messages:
        print("\nunread messages")
        _table(("KIND", "NAME", "DUE"), [_message(message) for message in run.pending_messages])


def history_json(found: WorkflowHistory) -> None:
    """The history in the JSON of Temporal's tools."""
    print(visible.json_text(found.to_json()))


def history(found: WorkflowHistory) -> None:
    """The events, one a line."""
    rows = [
        (str(event.id), _time(moment(event.time_us), "milliseconds"), type(event).__name__, details(event))
        for event in found.events
    ]
    _table(("EVENT", "TIME", "TYPE", "DETAILS"), rows)


def as_json(value: object) -> None:
    """A value, a description or a list of them as JSON: names in camelCase, times in ISO 8601, bytes in base64.

    What a ``repr`` leaves out is not there.
    """
    print(visible.as_json(_plain(value)))


def line(told: str) -> None:
    """One line of text."""
    print(visible.text(told))


def lines(told: str) -> None:
    """One line or more; those after the first are set back, so that each first one begins something."""
    first, *more = visible.lines(told)
    for each in (first, *(f"    {one}" for one in more)):
        print(each, flush=True)


def value(result: Any) -> None:
    """A result as JSON; as Python shows it when it has no JSON form."""
    try:
        print(visible.as_json(result))
    except (TypeError, ValueError):
        print(visible.text(repr(result)))


def _table(head: Sequence[str] | None, rows: Iterable[Sequence[str | None]]) -> None:
    table = Table(*(head or ("", "")), box=None, show_header=head is not None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(Text(visible.text(cell or "")) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    console.print(table)


def _status(run: WorkflowExecution) -> str:
    return f"{run.status.name} (parked)" if run.parked else run.status.name


def _note(run: WorkflowExecution) -> str:
    return _cut((run.parked or "").split("\n", 1)[0], NOTE_MAX)


def _activity(activity: PendingActivityInfo) -> tuple[str | None, ...]:
    state = f"running since {_time(activity.started)}" if activity.started else f"due {_time(activity.due)}"
    if activity.started and activity.worker is None:
        state += ", outcome from outside"
    if activity.ambiguous:
        state += ", ambiguous"
    if activity.paused:
        state += ", paused"
    if activity.cancel_requested:
        state += ", asked to end"
    return (
        activity.activity_id,
        activity.activity_type,
        str(activity.attempt),
        state,
        activity.worker,
        _cut(activity.last_failure or "", NOTE_MAX),
    )


def _message(message: PendingMessageInfo) -> tuple[str, str, str]:
    return message.kind.name, message.name, _time(message.due)


def _time(at: datetime | None, precision: str = "seconds") -> str:
    return "" if at is None else at.astimezone(UTC).replace(tzinfo=None).isoformat(" ", precision) + "Z"


def details(event: HistoryEvent) -> str:
    """What a person looks for in an event, on one line; from a database, so it goes to a terminal by `visible.text`."""
    told: list[str] = []
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if name in _TOLD and (name, value) != ("attempt", 1) and (found := _detail(value)):
            told.append(f"{name.removesuffix('_us')}={_seconds(found) if name.endswith('_us') else found}")
    return " ".join(told)


def _detail(found: Any) -> str:
    match found:
        case Failure():
            chain = [found]
            while chain[-1].cause is not None:
                chain.append(chain[-1].cause)
            return _cut(" ← ".join(link.message for link in chain), DETAIL_MAX)
        case list() if found:
            return _cut(f"({', '.join(map(_payload, found))})", DETAIL_MAX)  # pyright: ignore[reportUnknownArgumentType]
        case Enum():
            return found.name
        case str() | int() if found:
            return _cut(str(found), DETAIL_MAX)
        case _:
            return ""


def _payload(payload: Payload) -> str:
    encoding = payload.metadata.get("encoding", b"").decode(errors="replace")
    if encoding == "binary/null":
        return "null"
    if encoding.startswith("json/"):
        return payload.data.decode(errors="replace")
    return f"<{encoding or 'payload'}, {len(payload.data)} bytes>"


def _seconds(us: str) -> str:
    return f"{timedelta(microseconds=int(us)).total_seconds():g}s"


def _cut(told: str, most: int) -> str:
    return told if len(told) <= most else told[: most - 1] + "…"


def _plain(found: Any) -> Any:
    if is_dataclass(found) and not isinstance(found, type):
        return {_camel(each.name): _plain(getattr(found, each.name)) for each in fields(found) if each.repr}
    match found:
        case Enum():
            return found.name
        case datetime():
            return found.isoformat()
        case bytes():
            return base64.b64encode(found).decode()
        case Mapping():
            return {key: _plain(value) for key, value in found.items()}  # pyright: ignore[reportUnknownVariableType]
        case list() | tuple():
            return [_plain(each) for each in found]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return found


def _camel(name: str) -> str:
    first, *more = name.split("_")
    return first + "".join(map(str.title, more))
