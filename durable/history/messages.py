"""What reaches a run from outside its own code: the messages that wait in its inbox."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

from durable.history.values import Failure, Payload, RetryState, UpdateOutcome, UpdateRequest


class MessageKind(IntEnum):
    """A message's kind, as its row tells it without decoding the body."""

    UNKNOWN = 0
    """Of a later version."""
    TASK_DUE = 1
    TIMER = 2
    ACTIVITY = 3
    SIGNAL = 4
    CANCEL = 5
    QUERY = 6
    UPDATE = 7
    RUN_TIMEOUT = 11


HOLDS_OPEN = (MessageKind.SIGNAL, MessageKind.CANCEL, MessageKind.UPDATE)
"""A run cannot close by its own code while a message of these kinds is unread."""

WAITS = (MessageKind.TASK_DUE, MessageKind.TIMER, MessageKind.RUN_TIMEOUT)
"""What is read only when its time has come. All else may be read as soon as it is there: its due time tells since when
it waits, by the clock of whoever sent it, which may have been set since."""

OUTLIVES = (MessageKind.QUERY,)
"""What stays in the inbox when a run closes, because a closed run answers it too."""

ANYBODY = ""
"""The task queue of what needs no code (`RunTimeout`): every worker of the namespace takes it, before its own."""


class WorkflowTaskDue(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Run the workflow code. Serves start, start delay and the retry of a parked run (``attempt`` > 0)."""

    attempt: int = 0


class RunTimeout(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The run has had its time: it is closed, without its code, by whichever worker comes first."""


class TimerDue(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    started_event_id: int


class Signal(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    name: str
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    identity: str = ""
    request_id: str = ""


class CancelRequest(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    reason: str = ""
    identity: str = ""
    request_id: str = ""


class Query(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A question; the answer goes to the replies under ``id``."""

    id: str
    name: str
    args: list[Payload] = []
    header: dict[str, Payload] = {}


class Update(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A call of a handler of the run, which answers. Its id is its own within the run, however often it is sent.

    The first answer goes to the replies under the ``request_id`` of the request; the outcome of an update that was
    accepted and takes longer, under `outcome_reply`.
    """

    request: UpdateRequest


class Completed(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    result: list[Payload] = []


class Failed(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    failure: Failure
    retry_state: RetryState


class TimedOut(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    failure: Failure
    retry_state: RetryState


class Canceled(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    details: list[Payload] = []


class ActivityOutcome(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """How an activity ended, all attempts over. ``started_us`` 0: no attempt ever began."""

    scheduled_event_id: int
    outcome: Completed | Failed | TimedOut | Canceled
    started_us: int = 0
    attempt: int = 0
    identity: str = ""
    last_failure: Failure | None = None


Message = WorkflowTaskDue | RunTimeout | TimerDue | Signal | CancelRequest | Query | Update | ActivityOutcome

KIND_OF: dict[type[Message], MessageKind] = {
    WorkflowTaskDue: MessageKind.TASK_DUE,
    RunTimeout: MessageKind.RUN_TIMEOUT,
    TimerDue: MessageKind.TIMER,
    ActivityOutcome: MessageKind.ACTIVITY,
    Signal: MessageKind.SIGNAL,
    CancelRequest: MessageKind.CANCEL,
    Query: MessageKind.QUERY,
    Update: MessageKind.UPDATE,
}


class QueryAnswer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The reply to a Query: a result, or why there is none."""

    result: list[Payload] = []
    failure: Failure | None = None


class UpdateStage(IntEnum):
    """How far an update has come. UNREAD: the run was closed without having read it."""

    REJECTED = 0
    UNREAD = 1
    ACCEPTED = 2
    COMPLETED = 3


class UpdateAnswer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The reply to an Update. Rejected or completed: with its outcome, or None when the history has it.

    Accepted: the outcome comes later.
    """

    stage: UpdateStage
    outcome: UpdateOutcome | None = None


def outcome_reply(run_id: str, update_id: str) -> str:
    """The id of the reply that tells the outcome of an update that was accepted."""
    return f"{run_id}/{update_id}"
