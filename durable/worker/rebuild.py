"""Pure: a run from its history, on today's code."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from durable.converter.failure import message_of
from durable.history.events import (
    CommandEvent,
    HistoryEvent,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionUpdateAccepted,
    WorkflowExecutionUpdateAdmitted,
    WorkflowTaskCompleted,
    WorkflowTaskStarted,
)
from durable.history.local_activities import asked_for
from durable.history.state import State, fold
from durable.history.values import LocalActivityAsked, UpdateRequest
from durable.worker.local_activities import outcomes_in
from durable.worker.match import match
from durable.worker.patches import patches_asked, patches_in, without_unasked
from durable.worker.replay import JOBS, Environment, Moment, Run
from durable.worker.watchdog import DeadlockError
from durable.workflow.definition import WorkflowDefinition
from durable.workflow.errors import NondeterminismError


class Rebuilt(Struct, frozen=True):
    """A run as its history left it; ``undelivered`` are the events that no completed workflow task has read yet."""

    run: Run
    state: State
    undelivered: list[HistoryEvent]
    history_bytes: int = 0
    """The size of its history, as stored."""


def rebuild(
    definition: WorkflowDefinition,
    run_id: str,
    events: Sequence[HistoryEvent],
    environment: Environment,
    *,
    exact: bool = False,
    state: State | None = None,
) -> Rebuilt:
    """Replay a history, as its code reads it. Raises `NondeterminismError` when the code no longer does what it did.

    ``exact`` is that of `match`. ``state`` is that of the history as it is stored, if it is stored in another way.
    """
    try:
        return _replay(definition, run_id, events, environment, state, exact=exact, trace=False)
    except NondeterminismError as error:
        # Once more, now noting source lines, which costs too much to do always.
        _replay(definition, run_id, events, environment, state, exact=exact, trace=True).run.evict()
        raise error from None  # the same code has done something else each time


class RecordedTask(Struct, frozen=True):
    """One completed workflow task of a history: the events that it read, and those that answered its commands."""

    read: list[HistoryEvent]
    started: WorkflowTaskStarted
    completed: WorkflowTaskCompleted
    answers: list[CommandEvent]

    @property
    def completed_id(self) -> int:
        return self.completed.id

    @property
    def updates(self) -> list[UpdateRequest]:
        """The updates that it accepted, but for those that are events themselves."""
        return [
            answer.accepted_request
            for answer in self.answers
            if isinstance(answer, WorkflowExecutionUpdateAccepted) and answer.accepted_request is not None
        ]

    @property
    def last_event_id(self) -> int:
        """The last event that belongs to it."""
        return self.answers[-1].id if self.answers else self.completed_id


def recorded_tasks(events: Sequence[HistoryEvent]) -> tuple[list[RecordedTask], list[HistoryEvent]]:
    """The completed workflow tasks of a history; and the events for the code that none of them has read."""
    tasks: list[RecordedTask] = []
    unread: list[HistoryEvent] = []
    at = 0
    while at < len(events):
        event = events[at]
        at += 1
        if type(event) in JOBS or isinstance(event, WorkflowExecutionSignaled | WorkflowExecutionUpdateAdmitted):
            unread.append(event)
        elif isinstance(event, WorkflowTaskStarted):
            completed = events[at] if at < len(events) else None
            if isinstance(completed, WorkflowTaskCompleted):
                answers = _answers(events, at + 1)
                tasks.append(RecordedTask(unread, event, completed, answers))
                unread = []
                at += 1 + len(answers)
    return tasks, unread


def repeat(run: Run, task: RecordedTask, *, exact: bool = False) -> None:
    """One workflow task again, compared with its record. Raises `NondeterminismError`, and then the run is spoilt.

    `DeadlockError`, when the watchdog interrupted it: that is no difference, and nothing to try once more.
    """
    version = task.completed.worker_version
    moment = Moment.of(task.started, version.build_id if version is not None else "")
    patches = patches_in(task.answers)
    activation = run.activate(
        task.read,
        moment,
        replaying=True,
        updates=task.updates,
        patches=patches,
        recorded_local=outcomes_in(task.answers),
    )
    if isinstance(activation.error, DeadlockError):
        raise activation.error
    if activation.error is not None:
        error = activation.error
        raise NondeterminismError(
            f"the code no longer fits the history: event {task.completed_id} completed a workflow task in which the "
            f"code now raises {type(error).__name__}: {message_of(error)}"
        ) from error
    asked = run.asked()
    answers = task.answers
    if patches:
        answers = without_unasked(answers, patches_asked([each.command for each in asked]))
    mismatch = match(asked, answers, task.completed_id, run.waits_at, exact=exact)
    if mismatch is not None:
        raise NondeterminismError(str(mismatch))
    _match_local(asked_for(activation.local), task)
    run.bind(answers)


def _match_local(asked: list[LocalActivityAsked], task: RecordedTask) -> None:
    """Nobody would ever run a local activity that the workflow task did not ask for when it was first done."""
    recorded = task.completed.local_activities
    if recorded is not None and asked != recorded:
        raise NondeterminismError(
            f"the code no longer fits the history: event {task.completed_id} completed a workflow task that asked for "
            f"{_local_text(recorded)}, but the code now asks for {_local_text(asked)}"
        )


def _local_text(asked: list[LocalActivityAsked]) -> str:
    return ", ".join(f"local activity {each.activity_type!r} (number {each.seq})" for each in asked) or (
        "no local activity"
    )


def _replay(
    definition: WorkflowDefinition,
    run_id: str,
    events: Sequence[HistoryEvent],
    environment: Environment,
    state: State | None,
    *,
    exact: bool,
    trace: bool,
) -> Rebuilt:
    started = events[0]
    assert isinstance(started, WorkflowExecutionStarted)
    run = Run(definition, started, run_id, environment, trace=trace)
    tasks, unread = recorded_tasks(events)
    try:
        for task in tasks:
            repeat(run, task, exact=exact)
    except (NondeterminismError, DeadlockError):
        run.evict()
        raise
    run.replaying = False
    return Rebuilt(run, fold(State(), events) if state is None else state, unread)


def _answers(events: Sequence[HistoryEvent], at: int) -> list[CommandEvent]:
    """The events from ``at`` on that answer the commands of the task completed just before."""
    answers: list[CommandEvent] = []
    while at < len(events) and isinstance(event := events[at], CommandEvent):
        answers.append(event)
        at += 1
    return answers
