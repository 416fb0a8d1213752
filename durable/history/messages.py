"""What reaches a run from outside its own code: the messages that wait in its inbox."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

from durable.history.values import (
    Failure,
    Payload,
    RetryState,
    StartChildFailedCause,
    UpdateOutcome,
    UpdateRequest,
    WorkflowExecution,
)


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
    CHILD = 8
    ANSWER = 9
    ERRANDS = 10
    RUN_TIMEOUT = 11


HOLDS_OPEN = (MessageKind.SIGNAL, MessageKind.CANCEL, MessageKind.UPDATE)
"""A run cannot close by its own code while a message of these kinds is unread."""

WAITS = (MessageKind.TASK_DUE, MessageKind.TIMER, MessageKind.ERRANDS, MessageKind.RUN_TIMEOUT)
"""What is read only when its time has come. All else may be read as soon as it is there: its due time tells since when
it waits, by the clock of whoever sent it, which may have been set since."""

KEYED = (MessageKind.TIMER, MessageKind.ERRANDS)
"""What its run can take back, by its key: the id of the event that it is about."""

OUTLIVES = (MessageKind.QUERY, MessageKind.ERRANDS)
"""What stays in the inbox when a run closes, because a closed run answers it too, or has yet to do it."""

ANYBODY = ""
"""The task queue of what needs no code (`RunTimeout`): every worker of the namespace takes it, before its own."""


class WorkflowTaskDue(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    """Run the workflow code. Serves start, start delay and the retry of a parked run (``attempt`` > 0).

    ``held`` are outcomes of local activities that the code could not be told of before the retry.
    """

    attempt: int = 0
    held: list[ActivityOutcome] = []


class RunTimeout(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    """The run has had its time: it is closed, without its code, by whichever worker comes first."""


class TimerDue(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    started_event_id: int


class Signal(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    name: str
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    identity: str = ""
    request_id: str = ""
    sender: WorkflowExecution | None = None
    """The workflow that sent it; None: a client did."""


class CancelRequest(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    reason: str = ""
    identity: str = ""
    request_id: str = ""
    sender: WorkflowExecution | None = None
    sender_event_id: int = 0


class Query(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    """A question; the answer goes to the replies under ``id``."""

    id: str
    name: str
    args: list[Payload] = []
    header: dict[str, Payload] = {}


class Update(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    """A call of a handler of the run, which answers. Its id is its own within the run, however often it is sent.

    The first answer goes to the replies under the ``request_id`` of the request; the outcome of an update that was
    accepted and takes longer, under `outcome_reply`.
    """

    request: UpdateRequest


class Completed(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    result: list[Payload] = []


class Failed(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    failure: Failure
    retry_state: RetryState


class TimedOut(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    failure: Failure
    retry_state: RetryState


class Canceled(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    details: list[Payload] = []


class Terminated(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    pass


class ChildStarted(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    initiated_event_id: int
    run_id: str


class ChildStartFailed(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    initiated_event_id: int
    cause: StartChildFailedCause


class ChildClosed(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    """How a child ended: its last run, ``run_id``, of those that began with ``first_run_id``."""

    initiated_event_id: int
    run_id: str
    first_run_id: str
    outcome: Completed | Failed | TimedOut | Canceled | Terminated


class RequestAnswered(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    """What became of a signal or cancel request that this run sent to another: ``found`` somebody, or nobody."""

    initiated_event_id: int
    found: bool


class ErrandsDue(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    """Do what is still to be done at other runs: see `errands`. ``key`` is that of this message."""

    key: int
    attempt: int = 0


class ActivityOutcome(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    """How an activity ended, all attempts over. ``started_us`` 0: no attempt ever began."""

    scheduled_event_id: int
    outcome: Completed | Failed | TimedOut | Canceled
    started_us: int = 0
    attempt: int = 0
    identity: str = ""
    last_failure: Failure | None = None


Message = (
    WorkflowTaskDue
    | RunTimeout
    | TimerDue
    | Signal
    | CancelRequest
    | Query
    | Update
    | ActivityOutcome
    | ChildStarted
    | ChildStartFailed
    | ChildClosed
    | RequestAnswered
    | ErrandsDue
)

KIND_OF: dict[type[Message], MessageKind] = {
    WorkflowTaskDue: MessageKind.TASK_DUE,
    RunTimeout: MessageKind.RUN_TIMEOUT,
    TimerDue: MessageKind.TIMER,
    ActivityOutcome: MessageKind.ACTIVITY,
    Signal: MessageKind.SIGNAL,
    CancelRequest: MessageKind.CANCEL,
    Query: MessageKind.QUERY,
    Update: MessageKind.UPDATE,
    ChildStarted: MessageKind.CHILD,
    ChildStartFailed: MessageKind.CHILD,
    ChildClosed: MessageKind.CHILD,
    RequestAnswered: MessageKind.ANSWER,
    ErrandsDue: MessageKind.ERRANDS,
}


class QueryAnswer(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The reply to a Query: a result, or why there is none.

    ``continued``: another run has followed the one that answers, and got what this one has not read.
    """

    result: list[Payload] = []
    failure: Failure | None = None
    continued: bool = False


class UpdateStage(IntEnum):
    """How far an update has come. UNREAD: the run was closed without having read it."""

    REJECTED = 0
    UNREAD = 1
    ACCEPTED = 2
    COMPLETED = 3


class UpdateAnswer(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The reply to an Update. Rejected or completed: with its outcome, or None when the history has it.

    Accepted: the outcome comes later. ``run_id`` is the run that answers: the one that it was sent to, or one that has
    continued it since.
    """

    stage: UpdateStage
    outcome: UpdateOutcome | None = None
    run_id: str = ""


def outcome_reply(run_id: str, update_id: str) -> str:
    """The id of the reply that tells the outcome of an update that was accepted."""
    return f"{run_id}/{update_id}"
