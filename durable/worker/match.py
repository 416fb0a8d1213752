"""Pure: what the code asks for now against what the history says it asked for then; the difference, for a person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from msgspec import Struct

from durable.history import events
from durable.history.commands import (
    AcceptUpdate,
    CancelTimer,
    CancelWorkflowExecution,
    Command,
    CompleteUpdate,
    CompleteWorkflowExecution,
    ContinueAsNewWorkflowExecution,
    FailWorkflowExecution,
    ModifyWorkflowProperties,
    RecordMarker,
    RejectUpdate,
    RequestCancelActivityTask,
    RequestCancelExternalWorkflowExecution,
    ScheduleActivityTask,
    SignalExternalWorkflowExecution,
    StartChildWorkflowExecution,
    StartTimer,
    UpsertWorkflowSearchAttributes,
)
from durable.history.events import (
    ActivityTaskCancelRequested,
    ActivityTaskScheduled,
    CommandEvent,
    HistoryEvent,
    MarkerRecorded,
    RequestCancelExternalWorkflowExecutionInitiated,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionInitiated,
    TimerCanceled,
    TimerStarted,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionUpdateAccepted,
    WorkflowExecutionUpdateCompleted,
    WorkflowExecutionUpdateRejected,
    WorkflowPropertiesModified,
)
from durable.worker.exactly import differing
from durable.worker.local_activities import data_of
from durable.worker.patches import patch_of


class Asked(Struct, frozen=True, gc=False):
    """A command, and the source line that asked for it ("" when lines are not traced)."""

    command: Command
    where: str = ""


class Mismatch(Struct, frozen=True, kw_only=True):
    """Where code and history part."""

    event_id: int
    recorded: str
    asked: str
    where: str

    def __str__(self) -> str:
        where = f" at {self.where}" if self.where else ""
        return (
            f"the code no longer fits the history: event {self.event_id} recorded {self.recorded}, "
            f"but the code now {self.asked}{where}"
        )


def match(
    asked: Sequence[Asked],
    recorded: Sequence[CommandEvent],
    completed_id: int,
    waits_at: Callable[[], str],
    *,
    exact: bool = False,
) -> Mismatch | None:
    """The first difference, or None. ``waits_at`` says where the code waits, if it asks for too little.

    What is compared is what a run can't go on without: kinds and ids. ``exact`` compares arguments, durations and
    results as well, which new code may change for old runs, and the same code may not.
    """
    for ask, event in zip(asked, recorded, strict=False):
        told = (differing(ask.command, event) if exact else None) if _same(ask.command, event) else ("", "")
        if told is not None:
            return Mismatch(
                event_id=event.id,
                recorded=_event_text(event) + told[0],
                asked=command_text(ask.command) + told[1],
                where=ask.where,
            )
    if len(recorded) > len(asked):
        event = recorded[len(asked)]
        return Mismatch(
            event_id=event.id, recorded=_event_text(event), asked="asks for nothing there and waits", where=waits_at()
        )
    if len(asked) > len(recorded):
        ask = asked[len(recorded)]
        event_id = recorded[-1].id if recorded else completed_id
        return Mismatch(
            event_id=event_id + 1,
            recorded="nothing more of this task",
            asked=command_text(ask.command),
            where=ask.where,
        )
    return None


Same = Callable[[Any, Any], bool]


def _by(*names: str) -> Same:
    """The same, when these fields are, which command and event call alike."""
    get = attrgetter(*names)
    return lambda command, event: get(command) == get(event)


def _always(command: Command, event: CommandEvent) -> bool:
    return True


_SAME: dict[type[Command], tuple[type[CommandEvent], Same]] = {
    ScheduleActivityTask: (ActivityTaskScheduled, _by("activity_type", "activity_id")),
    RequestCancelActivityTask: (ActivityTaskCancelRequested, _by("scheduled_event_id")),
    StartTimer: (TimerStarted, _by("timer_id")),
    CancelTimer: (TimerCanceled, _by("timer_id")),
    RecordMarker: (MarkerRecorded, lambda command, event: _note(command) == _note(event)),
    StartChildWorkflowExecution: (StartChildWorkflowExecutionInitiated, _by("workflow_type", "workflow_id")),
    SignalExternalWorkflowExecution: (
        SignalExternalWorkflowExecutionInitiated,
        _by("signal_name", "workflow_execution.workflow_id"),
    ),
    RequestCancelExternalWorkflowExecution: (
        RequestCancelExternalWorkflowExecutionInitiated,
        _by("workflow_execution.workflow_id"),
    ),
    UpsertWorkflowSearchAttributes: (
        events.UpsertWorkflowSearchAttributes,
        lambda command, event: command.search_attributes.keys() == event.search_attributes.keys(),
    ),
    ModifyWorkflowProperties: (
        WorkflowPropertiesModified,
        lambda command, event: command.upserted_memo.keys() == event.upserted_memo.keys(),
    ),
    AcceptUpdate: (
        WorkflowExecutionUpdateAccepted,
        lambda command, event: command.update_id == event.protocol_instance_id,
    ),
    RejectUpdate: (
        WorkflowExecutionUpdateRejected,
        lambda command, event: command.update_id == event.protocol_instance_id,
    ),
    CompleteUpdate: (
        WorkflowExecutionUpdateCompleted,
        lambda command, event: command.update_id == event.meta.update_id,
    ),
    CompleteWorkflowExecution: (WorkflowExecutionCompleted, _always),
    FailWorkflowExecution: (WorkflowExecutionFailed, _always),
    CancelWorkflowExecution: (WorkflowExecutionCanceled, _always),
    ContinueAsNewWorkflowExecution: (WorkflowExecutionContinuedAsNew, _always),
}
"""Which event answers a command, and what of the two has to agree."""


def _same(command: Command, event: CommandEvent) -> bool:
    kind, same = _SAME[type(command)]
    return isinstance(event, kind) and same(command, event)


def _note(mark: RecordMarker | MarkerRecorded) -> str:
    """What a marker is about."""
    patch = patch_of(mark)
    if patch is not None:
        return f"patch {patch.id!r}"
    local = data_of(mark)
    if local is not None:
        return f"the outcome of local activity {local.activity_type!r} (activity id {local.activity_id})"
    return mark.marker_name


def _event_text(event: HistoryEvent) -> str:
    match event:
        case ActivityTaskScheduled():
            return f"ActivityTaskScheduled of {event.activity_type!r} (activity id {event.activity_id})"
        case ActivityTaskCancelRequested():
            return f"ActivityTaskCancelRequested for event {event.scheduled_event_id}"
        case TimerStarted():
            return f"TimerStarted (timer id {event.timer_id}, {event.start_to_fire_timeout_us / 1e6:g} s)"
        case TimerCanceled():
            return f"TimerCanceled (timer id {event.timer_id})"
        case MarkerRecorded():
            return f"MarkerRecorded ({_note(event)})"
        case StartChildWorkflowExecutionInitiated():
            return f"{type(event).__name__} of {event.workflow_type!r} (workflow id {event.workflow_id!r})"
        case SignalExternalWorkflowExecutionInitiated():
            return f"{type(event).__name__} of {event.signal_name!r} (to {event.workflow_execution.workflow_id!r})"
        case RequestCancelExternalWorkflowExecutionInitiated():
            return f"{type(event).__name__} (of {event.workflow_execution.workflow_id!r})"
        case events.UpsertWorkflowSearchAttributes():
            return f"{type(event).__name__} ({', '.join(event.search_attributes)})"
        case WorkflowPropertiesModified():
            return f"{type(event).__name__} (memo {', '.join(event.upserted_memo)})"
        case WorkflowExecutionUpdateAccepted() | WorkflowExecutionUpdateRejected():
            return f"{type(event).__name__} (update id {event.protocol_instance_id})"
        case WorkflowExecutionUpdateCompleted():
            return f"WorkflowExecutionUpdateCompleted (update id {event.meta.update_id})"
        case _:
            return type(event).__name__


def command_text(command: Command) -> str:
    """What the code does by this command, after "the code": "schedules activity …"."""
    match command:
        case ScheduleActivityTask():
            return f"schedules activity {command.activity_type!r} (activity id {command.activity_id})"
        case RequestCancelActivityTask():
            return f"cancels the activity of event {command.scheduled_event_id}"
        case StartTimer():
            return f"starts a timer (timer id {command.timer_id}, {command.start_to_fire_timeout_us / 1e6:g} s)"
        case CancelTimer():
            return f"cancels a timer (timer id {command.timer_id})"
        case RecordMarker():
            return f"records a marker ({_note(command)})"
        case StartChildWorkflowExecution():
            return f"starts child workflow {command.workflow_type!r} (workflow id {command.workflow_id!r})"
        case SignalExternalWorkflowExecution():
            return f"signals {command.signal_name!r} (to {command.workflow_execution.workflow_id!r})"
        case RequestCancelExternalWorkflowExecution():
            return f"cancels workflow {command.workflow_execution.workflow_id!r}"
        case UpsertWorkflowSearchAttributes():
            return f"sets search attributes ({', '.join(command.search_attributes)})"
        case ModifyWorkflowProperties():
            return f"changes its memo ({', '.join(command.upserted_memo)})"
        case AcceptUpdate():
            return f"accepts an update (update id {command.update_id})"
        case RejectUpdate():
            return f"rejects an update (update id {command.update_id})"
        case CompleteUpdate():
            return f"completes an update (update id {command.update_id})"
        case CompleteWorkflowExecution():
            return "completes the workflow"
        case FailWorkflowExecution():
            return f"fails the workflow ({command.failure.message!r})"
        case CancelWorkflowExecution():
            return "ends the workflow as cancelled"
        case ContinueAsNewWorkflowExecution():
            return "continues the workflow as new"
