"""Pure: how a run ends without its code: terminated, out of time, or with a history that is too long."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from durable.history import codec, errands, rules, succession
from durable.history.beginning import successor
from durable.history.events import (
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
)
from durable.history.messages import (
    CancelRequest,
    RunTimeout,
    Signal,
    Update,
)
from durable.history.state import State, fold
from durable.history.steps import Incoming, Received, Step, consumed, finished, replies
from durable.history.telling import tell_cut_short, unread
from durable.history.transition import (
    Transition,
)
from durable.history.values import (
    Payload,
    RetryState,
    RunStatus,
)

HISTORY_EVENTS_WARNED = 10_240
"""From so many events on, a run had better continue as new. This and the next: Temporal's limits."""
HISTORY_EVENTS_MAX = 51_200
"""A run with so many is terminated when it has something to do: each replay of it would take longer than the last."""


def terminate(
    state: State,
    run_id: str,
    incoming: Sequence[Incoming],
    now_us: int,
    *,
    reason: str = "",
    details: Sequence[Payload] = (),
    identity: str = "",
) -> Step:
    """End a run from outside. Its unread signals and cancel requests become events before the closing event.

    Whoever waits for an update is told.
    """
    waiting = [each for each in incoming if isinstance(each.message, Signal | CancelRequest | Update)]
    received = rules.receive(state, run_id, "", waiting, now_us)
    terminated = WorkflowExecutionTerminated(
        id=received.after.last_event_id + 1,
        time_us=received.now_us,
        reason=reason,
        details=list(details),
        identity=identity,
    )
    return _ended(received, terminated, RunStatus.TERMINATED)


def time_out(
    state: State, run_id: str, owner: str, incoming: Sequence[Incoming], now_us: int, successor_id: str, *, whole: bool
) -> Step:
    """End a run that has had its time; its code is not asked, but the retry policy and the schedule are.

    Its unread signals go over to the next run; if there is none they become events. ``whole``: ``incoming`` is all
    that is unread.
    """
    assert state.started is not None
    due = [each for each in incoming if isinstance(each.message, RunTimeout)]
    at_us = max(now_us, state.last_time_us, *(each.due_us for each in due))
    retry_state, following = succession.after_failure(state.started, succession.TIMED_OUT, at_us)
    if succession.is_over_at(state.started, at_us):
        retry_state = RetryState.TIMEOUT
    waiting = [each for each in incoming if isinstance(each.message, Signal | CancelRequest | Update)]
    received = rules.receive(state, run_id, owner, [*due, *(waiting if following is None else ())], at_us)
    timed_out = WorkflowExecutionTimedOut(
        id=received.after.last_event_id + 1,
        time_us=received.now_us,
        retry_state=retry_state,
        new_execution_run_id=successor_id if following is not None else "",
    )
    step = _ended(received, timed_out, RunStatus.TIMED_OUT)
    transition = structs.replace(
        step.transition,
        owner=owner,
        any_owner=False,
        refuse_unread=following is None and whole,
        successor=successor(run_id, step.state, following),
    )
    return structs.replace(step, transition=transition, errands=errands.of_step(received.state, step.state, run_id, ()))


def _ended(
    received: Received, closing: WorkflowExecutionTerminated | WorkflowExecutionTimedOut, status: RunStatus
) -> Step:
    """A run that is closed without its code, once it has read what it was sent."""
    events = [*received.events, closing]
    state, run_id = received.state, received.run_id
    after = fold(state, events)
    reminders, over = errands.reminders(state, after, (), received.now_us, first_us=0)
    transition = Transition(
        run_id=run_id,
        last_event_id=state.last_event_id,
        any_owner=True,
        events=codec.batch(events),
        consumed=consumed(received),
        messages=tuple(reminders),
        taken_back=tuple(over),
        replies=replies([*received.answered, *unread(received), *tell_cut_short(run_id, state)], received.now_us),
        status=status,
        closed_us=received.now_us,
    )
    return Step(transition=transition, state=after, events=events, command_events=[])


def is_too_long(received: Received) -> bool:
    """Has the run as many events as a run may have, and yet something to do?"""
    return received.task and received.state.last_event_id >= HISTORY_EVENTS_MAX


def terminate_too_long(received: Received, now_us: int) -> Step:
    """End a run whose history is as long as a history may be."""
    events = received.state.last_event_id
    reason = f"its history has {events:,} events, and may have {HISTORY_EVENTS_MAX:,}: continue as new before that"
    step = terminate(received.state, received.run_id, received.incoming, now_us, reason=reason)
    return structs.replace(step, transition=structs.replace(step.transition, finished=finished(received)))
