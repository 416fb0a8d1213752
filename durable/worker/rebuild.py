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
    WorkflowTaskCompleted,
    WorkflowTaskStarted,
)
from durable.history.state import State, fold
from durable.worker.match import match
from durable.worker.replay import JOBS, Environment, Moment, Run
from durable.workflow.definition import WorkflowDefinition
from durable.workflow.errors import NondeterminismError


class Rebuilt(Struct, frozen=True):
    """A run as its history left it; ``undelivered`` are the events that no completed workflow task has read yet."""

    run: Run
    state: State
    undelivered: list[HistoryEvent]


def rebuild(
    definition: WorkflowDefinition, run_id: str, events: Sequence[HistoryEvent], environment: Environment
) -> Rebuilt:
    """Replay a history. Raises `NondeterminismError` when the code no longer does what it did."""
    try:
        return _replay(definition, run_id, events, environment, trace=False)
    except NondeterminismError:
        # Once more, now noting source lines, which costs too much to do always.
        return _replay(definition, run_id, events, environment, trace=True)


def _replay(
    definition: WorkflowDefinition,
    run_id: str,
    events: Sequence[HistoryEvent],
    environment: Environment,
    *,
    trace: bool,
) -> Rebuilt:
    started = events[0]
    assert isinstance(started, WorkflowExecutionStarted)
    run = Run(definition, started, run_id, environment, trace=trace)
    undelivered: list[HistoryEvent] = []
    at = 0
    try:
        while at < len(events):
            event = events[at]
            at += 1
            if type(event) in JOBS or isinstance(event, WorkflowExecutionSignaled):
                undelivered.append(event)
            elif isinstance(event, WorkflowTaskStarted):
                completed = events[at] if at < len(events) else None
                if isinstance(completed, WorkflowTaskCompleted):
                    recorded = _answers(events, at + 1)
                    _repeat(run, undelivered, Moment(event.time_us, event.id), completed.id, recorded)
                    undelivered = []
                    at += 1 + len(recorded)
    except NondeterminismError:
        run.evict()
        raise
    run.replaying = False
    return Rebuilt(run, fold(State(), events), undelivered)


def _repeat(
    run: Run, events: Sequence[HistoryEvent], moment: Moment, completed_id: int, recorded: Sequence[CommandEvent]
) -> None:
    """One workflow task again, compared with its record."""
    activation = run.activate(events, moment, replaying=True)
    if activation.error is not None:
        error = activation.error
        raise NondeterminismError(
            f"the code no longer fits the history: event {completed_id} completed a workflow task in which the code "
            f"now raises {type(error).__name__}: {message_of(error)}"
        ) from error
    mismatch = match(run.asked(), recorded, completed_id, run.waits_at)
    if mismatch is not None:
        raise NondeterminismError(str(mismatch))
    run.bind(recorded)


def _answers(events: Sequence[HistoryEvent], at: int) -> list[CommandEvent]:
    """The events from ``at`` on that answer the commands of the task completed just before."""
    answers: list[CommandEvent] = []
    while at < len(events) and isinstance(event := events[at], CommandEvent):
        answers.append(event)
        at += 1
    return answers
