"""Pure: what a step of a run is, half done and done, and what it takes from the inbox and gives to those who ask."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from durable.history import codec
from durable.history.errands import Errand
from durable.history.events import (
    HistoryEvent,
)
from durable.history.messages import (
    ActivityOutcome,
    ErrandsDue,
    Message,
    Query,
    QueryAnswer,
    UpdateAnswer,
)
from durable.history.state import State
from durable.history.transition import (
    ActivityTask,
    AttemptToken,
    Reply,
    Transition,
)
from durable.history.values import (
    UpdateRequest,
)

REPLY_KEPT_US = 60_000_000


class Incoming(Struct, frozen=True, gc=False):
    """A message to consume: from the inbox (``id``), or an outcome that never was there (the attempt's ``token``, and
    its ``task``, to report on it if it can't be consumed)."""

    message: Message
    due_us: int
    id: int | None = None
    token: AttemptToken | None = None
    task: ActivityTask | None = None


class Received(Struct, frozen=True, kw_only=True, gc=False):
    """A step half done: the messages are events, the code has not run.

    ``state`` is the run before the step, ``after`` the one that has read the messages. ``events`` are what the
    messages became; ``task`` tells whether the workflow code has to run on them, and ``task_events`` are then the
    scheduled and started events of that task.
    """

    state: State
    after: State
    run_id: str
    owner: str
    now_us: int
    incoming: Sequence[Incoming]
    events: list[HistoryEvent]
    task: bool
    task_events: list[HistoryEvent]
    queries: list[Query]
    updates: list[UpdateRequest]
    """The new ones, each id once; events when the code accepts them, and no trace of them when it rejects them all."""
    local: Sequence[ActivityOutcome] = ()
    """How local activities ended; events when the code has recorded them, and no trace of what it did not wait for."""
    speculative: bool = False
    """Nothing but updates and local activities makes it a task: if the code takes note of none, it has never been one.
    """
    asking: dict[str, list[str]]
    """By update id, the requests that want the first answer to it."""
    answered: list[tuple[str, UpdateAnswer]]
    """What can be said at once, of updates that the run knows already."""
    retries: int
    """Which retry of a parked run this is, counted by its own message; 0 when something else woke the run."""
    reminders: Sequence[ErrandsDue] = ()
    history_bytes: int = 0
    """The size of the history before the step, as stored."""


class Step(Struct, frozen=True, kw_only=True, gc=False):
    """A step to commit, and the run after it. ``command_events`` answer the commands, one each, in order.

    ``errands`` are to be run once it is committed.
    """

    transition: Transition
    state: State
    events: list[HistoryEvent]
    command_events: list[HistoryEvent]
    errands: Sequence[Errand] = ()


def consumed(received: Received) -> tuple[int, ...]:
    """The messages of the inbox that the step takes away."""
    return tuple([each.id for each in received.incoming if each.id is not None])


def finished(received: Received) -> tuple[AttemptToken, ...]:
    """The attempts that it ends."""
    return tuple([each.token for each in received.incoming if each.token is not None])


def replies(answers: Sequence[tuple[str, QueryAnswer | UpdateAnswer]], now_us: int) -> tuple[Reply, ...]:
    """One reply per question: one that was sent again, because its acknowledgement was lost, may be there twice."""
    if not answers:
        return ()
    expires_us = now_us + REPLY_KEPT_US
    return tuple(Reply(id=id, body=codec.encode(answer), expires_us=expires_us) for id, answer in dict(answers).items())
