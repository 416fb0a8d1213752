"""Pure: where a debugged run stands in its history, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from traceback import TracebackException
from types import FrameType

from durable.cli import show, visible
from durable.history.events import (
    HistoryEvent,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionTerminated,
    WorkflowTaskFailed,
)
from durable.worker.debugger import Session, TaskView
from durable.worker.lines import is_user_code
from durable.worker.match import command_text
from durable.worker.stacks import Place

NAMED_MAX = 3
"""Events that a headline names; `event` names all."""

_CLOSED: dict[type[HistoryEvent], str] = {
    WorkflowExecutionCompleted: "completed",
    WorkflowExecutionFailed: "failed",
    WorkflowExecutionCanceled: "ended as cancelled",
    WorkflowExecutionTerminated: "was terminated",
}


def headline(session: Session) -> list[str]:
    """Where the run stands: which workflow task, what it read, how the run ended or what its code now does."""
    completed, position = len(session.tasks), session.position
    read = _named(session.read_at(position))
    if position == 0:
        told = [f"before the first of {completed} workflow tasks: `step` goes to the first line of the code"]
    elif position <= completed:
        told = [f"workflow task {position} of {completed}: it read {read}"]
    else:
        told = [f"after workflow task {completed}, the last completed one: the code has read {read}"]
        told += [
            line for event in session.events[-1:] if isinstance(event, WorkflowTaskFailed) for line in _lines([event])
        ]
    closing = session.events[-1]
    if position >= completed and (how := _CLOSED.get(type(closing))):
        told.append(f"the run {how}: {_event(closing)}")
    if session.error is not None:
        told += _traceback(session.error)
    elif position > completed:
        told += [f"the code now {command_text(command)}" for command in session.commands]
    if session.waits_for:
        told.append(f"the workflow waits for {session.waits_for}")
    return [line for part in told for line in visible.lines(part)]


def task(session: Session, position: int) -> list[str]:
    """All that a workflow task read, and what answered its commands."""
    recorded = session.task_at(position)
    read = session.read_at(position)
    if recorded is None:
        return ["read, by no completed workflow task:", *_lines(read)] if read else ["nothing is read yet"]
    answered = ["it asked for:", *_lines(recorded.answers)] if recorded.answers else ["it asked for nothing"]
    return [f"workflow task {position} read:", *_lines(read), *answered]


def history(session: Session, position: int) -> list[str]:
    """All events; an arrow at those that this workflow task read."""
    read = {event.id for event in session.read_at(position)}
    width = len(str(len(session.events)))
    return [
        visible.text(f"{'->' if event.id in read else '  '} {event.id:>{width}}  {_what(event)}")
        for event in session.events
    ]


def tasks(views: Sequence[TaskView], looked_at: FrameType | None) -> list[str]:
    """The run's asyncio tasks, numbered; an arrow at the one that is looked at."""
    told: list[str] = []
    for number, view in enumerate(views, 1):
        mark = "->" if any(frame is looked_at for frame, _ in view.places) else "  "
        waits = f"waits for {view.waits_for}" if view.waits_for else "runs"
        told.append(visible.text(f"{mark} {number}  {view.name}  {_where(view.places)}  {waits}"))
    return told or ["no task is left: the code has ended"]


def _named(events: Sequence[HistoryEvent]) -> str:
    names = [f"event {event.id} {type(event).__name__}" for event in events[:NAMED_MAX]]
    more = [f"{len(events) - NAMED_MAX} more"] if len(events) > NAMED_MAX else []
    return ", ".join(names + more) or "nothing new"


def _lines(events: Sequence[HistoryEvent]) -> list[str]:
    return [visible.text(f"  {_event(event)}") for event in events]


def _event(event: HistoryEvent) -> str:
    return f"event {event.id} {_what(event)}"


def _what(event: HistoryEvent) -> str:
    return f"{type(event).__name__} {show.details(event)}".rstrip()


def _where(places: Sequence[Place]) -> str:
    if not places:
        return "ended"
    frame, line = places[-1]
    return f"{frame.f_code.co_filename}({line}){frame.f_code.co_name}"


def _traceback(error: BaseException) -> Iterator[str]:
    """As Python prints it, without the engine's lines."""
    told = TracebackException.from_exception(error)
    _without_ours(told)
    return (part.rstrip("\n") for part in told.format())


def _without_ours(told: TracebackException) -> None:
    told.stack[:] = [frame for frame in told.stack if is_user_code(frame.filename)] or told.stack
    for link in (told.__cause__, told.__context__, *(told.exceptions or ())):
        if link is not None:
            _without_ours(link)
