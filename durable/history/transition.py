"""What a store is asked to write, and what became of it: plain values, no SQL.

Three kinds of write go through one commit: a `Transition` (one step of a run's life), a `Send` (a message for a run),
and an `ActivityReport` (an attempt's end, or its heartbeat). Each is decided and answered alone.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from durable.history.messages import MessageKind
from durable.history.values import (
    ActivityFields,
    Failure,
    IdConflictPolicy,
    IdReusePolicy,
    Payload,
    RunStatus,
    WorkflowExecution,
)

MESSAGES_PER_RUN = 1000
"""So many messages of a run a claim reads at once."""


class EventBatch(Struct, frozen=True, kw_only=True, gc=False):
    """The events of one transition, encoded: one row of history. ``first_id`` … ``first_id + count - 1``."""

    first_id: int
    count: int
    data: bytes


class NewMessage(Struct, frozen=True, kw_only=True, gc=False):
    """A message to put into an inbox. ``key`` is a timer's started event id, so that it can be cancelled; else 0."""

    kind: MessageKind
    body: bytes
    due_us: int
    key: int = 0


class StoredMessage(Struct, frozen=True, kw_only=True, gc=False):
    """A message as the inbox holds it; inbox order is the order of ``id``."""

    id: int
    kind: MessageKind
    body: bytes
    due_us: int
    key: int = 0


class ActivitySpec(ActivityFields, frozen=True, kw_only=True, omit_defaults=True):
    """What an attempt of an activity needs to know; written once, read by whoever runs it."""

    workflow_id: str
    workflow_type: str
    scheduled_us: int


class ActivityProgress(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What one attempt leaves to the next, and to whoever asks: heartbeat details and the last failure.

    ``losses`` counts the latest attempts in a row that ended with the death of their worker. ``ambiguous``: of an
    attempt whose code had begun nobody knows how that ended, and nobody has said since what came of it.
    """

    heartbeat_details: list[Payload] = []
    last_failure: Failure | None = None
    losses: int = 0
    ambiguous: bool = False


OUTSIDE = "outside"
"""The owner of an attempt whose outcome comes from outside: no worker's id, so that none's death or stop touches it."""


class ActivityPause(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Since when no attempt of an activity may begin, who asked for that, and why."""

    time_us: int
    identity: str = ""
    reason: str = ""


class ActivityControl(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What was asked of an activity from outside.

    ``reset``: when the attempt under way does not succeed, the next one is the first again; it finds no heartbeat
    details if ``reset_heartbeat``.
    """

    pause: ActivityPause | None = None
    reset: bool = False
    reset_heartbeat: bool = False


class ActivityTask(Struct, frozen=True, kw_only=True, gc=False):
    """An activity that is not over: its row in ``activity_tasks``.

    (``run_id``, ``scheduled_event_id``) is its key; with ``owner`` and ``attempt`` it is the attempt's token.
    Unclaimed: ``owner`` None, ``attempt`` the number of attempts begun so far, ``due_us`` when the next may begin.
    Claimed: ``attempt`` is the one under way, ``started_us`` when it began; of one whose outcome comes from outside the
    owner is `OUTSIDE`. ``deadline_us`` is the earliest moment at
    which a timeout ends the wait or the attempt; None when there is no timeout.
    """

    run_id: str
    scheduled_event_id: int
    task_queue: str
    workflow_task_queue: str
    due_us: int
    spec: ActivitySpec
    deadline_us: int | None = None
    owner: str | None = None
    attempt: int = 0
    started_us: int = 0
    progress: ActivityProgress = ActivityProgress()
    cancel_requested: bool = False
    lost: bool = False
    """Its owner was declared dead: the attempt under way is over, and ``deadline_us`` has passed."""
    control: ActivityControl = ActivityControl()
    unreadable: str = ""
    """Why its row can't be read; ``spec`` and ``progress`` then tell nothing, and every attempt fails with this."""


class AttemptToken(Struct, frozen=True, kw_only=True, gc=False):
    """One attempt of one activity by one owner: what a report must show to be believed.

    ``owner`` None stands for an unclaimed task, ``due_us`` for when that may begin: the report holds only if nobody
    claimed it meanwhile, be it that he has handed it back, which makes it due anew.
    """

    run_id: str
    scheduled_event_id: int
    owner: str | None
    attempt: int
    due_us: int = 0


class ActivityCancel(Struct, frozen=True, kw_only=True, gc=False):
    """Ask a task of this run to end: marked if somebody works on it, else removed and ``outcome`` put in the inbox."""

    scheduled_event_id: int
    outcome: NewMessage


class Reply(Struct, frozen=True, kw_only=True, gc=False):
    """An answer for somebody who waits; kept until ``expires_us``."""

    id: str
    body: bytes
    expires_us: int


class RunInfo(Struct, frozen=True, kw_only=True, gc=False):
    """A run's row. ``generation`` counts the runs of its workflow id; ``parked`` is why its code can't go on.

    ``deaths`` counts the owners in a row that were declared dead while it had a message to read, since its last step.
    """

    run_id: str
    namespace: str
    workflow_id: str
    generation: int
    workflow_type: str
    task_queue: str
    status: RunStatus
    owner: str | None
    last_event_id: int
    history_bytes: int
    started_us: int
    closed_us: int | None
    first_execution_run_id: str
    request_id: str
    parked: str | None
    deaths: int = 0
    execution_us: int = 0
    """When its code may begin, or could."""
    parent: WorkflowExecution | None = None
    root: WorkflowExecution | None = None
    memo: bytes | None = None
    search_attributes: bytes | None = None
    """Both as `codec.decode_values` reads them; None: there are none."""
    sort_keys: tuple[str | int | float | None, ...] = ()
    """Of one in a list that is sorted in an order of its own: by what."""


class Shown(Struct, frozen=True, kw_only=True, gc=False):
    """What the run's row shows of what its starter and its code have noted about it."""

    memo: dict[str, Payload]
    search_attributes: dict[str, Payload]


class NewRun(Struct, frozen=True, kw_only=True, gc=False):
    """The start of a run: decided by the store, against the latest run of its workflow id, in the commit itself.

    A run of the id that was started by the same ``request_id`` is the answer, whatever the policies.
    """

    namespace: str
    workflow_id: str
    workflow_type: str
    task_queue: str
    started_us: int
    first_execution_run_id: str
    request_id: str
    reuse_policy: IdReusePolicy = IdReusePolicy.ALLOW_DUPLICATE
    conflict_policy: IdConflictPolicy = IdConflictPolicy.FAIL
    replaces: Transition | None = None
    """With TERMINATE_EXISTING: the transition that ends the open run, committed with this one or not at all."""
    execution_us: int = 0
    parent: WorkflowExecution | None = None
    root: WorkflowExecution | None = None


class Transition(Struct, frozen=True, kw_only=True, gc=False):
    """One step of one run's life, committed whole or refused whole.

    It holds when the run is open (or ``events`` is None: a query on a closed run), is owned by ``owner``, has
    ``last_event_id`` events, every message in ``consumed`` is in its inbox, and every attempt in ``finished`` is as
    its token says. A transition of its caller (start, terminate) has ``any_owner`` set instead of an owner.
    ``status`` other than RUNNING closes the run (RUNNING leaves it as it is): then its remaining tasks and messages are
    removed, except those that outlive it (`messages.OUTLIVES`); if ``refuse_unread``, the transition is refused when a
    message of a kind in `messages.HOLDS_OPEN` is in the inbox and not in ``consumed``.
    """

    run_id: str
    last_event_id: int
    owner: str | None = None
    any_owner: bool = False
    start: NewRun | None = None
    events: EventBatch | None = None
    consumed: tuple[int, ...] = ()
    finished: tuple[AttemptToken, ...] = ()
    messages: tuple[NewMessage, ...] = ()
    taken_back: tuple[int, ...] = ()
    tasks: tuple[ActivityTask, ...] = ()
    cancelled_activities: tuple[ActivityCancel, ...] = ()
    replies: tuple[Reply, ...] = ()
    new_owner: str | None = None
    status: RunStatus = RunStatus.RUNNING
    closed_us: int | None = None
    parked: str | None = None
    deaths: int = 0
    """What the run's row says of them afterwards: a step whose code has run forgets them."""
    refuse_unread: bool = True
    shown: Shown | None = None
    """None: as it was."""
    successor: Transition | None = None
    """The start of the next run, with the end of this one: what holds this one open in its inbox goes over to it."""


class Send(Struct, frozen=True, kw_only=True, gc=False):
    """A message for a run from outside: to ``run_id``, or to the latest run of ``workflow_id`` when None.

    A closed run takes only messages that outlive it (queries); for others the answer is CLOSED. With
    ``first_execution_run_id`` the run must belong to that chain of runs.
    """

    namespace: str
    workflow_id: str
    message: NewMessage
    run_id: str | None = None
    first_execution_run_id: str | None = None


class Retry(Struct, frozen=True, kw_only=True, gc=False):
    """Put the task back: next attempt not before ``due_us``; its wait is over at ``deadline_us``."""

    due_us: int
    deadline_us: int | None
    progress: ActivityProgress
    attempt: int
    """The number of attempts that count as begun: a hand-back takes its own one off again."""


class Beat(Struct, frozen=True, kw_only=True, gc=False):
    """The attempt lives: new deadline, new details."""

    deadline_us: int | None
    progress: ActivityProgress


class Detach(Struct, frozen=True, kw_only=True, gc=False):
    """The attempt's code has ended, and its outcome comes from outside: the attempt goes on as nobody's."""

    deadline_us: int | None
    progress: ActivityProgress


class Steer(Struct, frozen=True, kw_only=True, gc=False):
    """Somebody outside pauses, unpauses or resets the activity. Once its cancellation is asked for, that does nothing.

    ``priority`` is its row's from now on (`attempts.priority`); ``again``, if it waits, is for what.
    """

    control: ActivityControl
    priority: int
    again: Retry | None = None


class ActivityReport(Struct, frozen=True, kw_only=True, gc=False):
    """What happened to an attempt: over for good (a message, an ActivityOutcome), to be tried again, alive, let go of.

    Or what is asked of the activity. ``if_reset`` is what happens instead of its end, if it was reset meanwhile.
    """

    token: AttemptToken
    what: NewMessage | Retry | Beat | Detach | Steer
    if_reset: Retry | None = None


Write = Transition | Send | ActivityReport


class Refusal(Enum):
    """Why a write was refused. Nothing of it was written."""

    FENCED = "the run has moved on, or belongs to another owner"
    UNREAD = "a message came in that the closing run has not read"
    MISSING = "a message or an attempt it consumes is not there"
    CLOSED = "the run is closed"
    NOT_FOUND = "there is no such run"
    IN_USE = "the workflow id is in use, and the policies refuse the start"
    INVALID = "the database refuses the data"


class Committed(Struct, frozen=True, kw_only=True, gc=False):
    """It is written. For a start and a send ``run_id`` names the run; for reports the flags are the task's.

    ``existing`` on a start: nothing was written because the run was there (same request id, or USE_EXISTING).
    """

    run_id: str
    cancel_requested: bool = False
    existing: bool = False
    paused: bool = False
    reset: bool = False


class Refused(Struct, frozen=True, kw_only=True, gc=False):
    """It is not written. ``run`` is the run in the way, where there is one."""

    reason: Refusal
    run: RunInfo | None = None
    detail: str = ""


Outcome = Committed | Refused


MESSAGES_PER_RUN_MAX = 1000


class Claim(Struct, frozen=True, kw_only=True, gc=False):
    """What a worker asks for: work of these queues, at most so much.

    ``cached`` maps the runs that it holds in memory to their last event id: no history is read for them when it
    still fits. ``busy`` are the runs it is working on just now: left alone. Of what nobody has and what has fallen due
    since ``shares_since_us`` it takes a part only, and leaves theirs to the other living workers.
    """

    worker_id: str
    namespace: str
    workflow_queues: tuple[str, ...]
    activity_queues: tuple[str, ...]
    max_runs: int
    max_activities: int
    cached: dict[str, int]
    busy: set[str]
    max_messages_per_run: int = MESSAGES_PER_RUN_MAX
    shares_since_us: int = 1 << 62


class ClaimedRun(Struct, frozen=True, kw_only=True, gc=False):
    """A run to step: its row, its due messages in order, and, unless cached, its history (one bytes per row)."""

    run: RunInfo
    messages: list[StoredMessage]
    history: list[bytes] | None


class Claimed(Struct, frozen=True, kw_only=True, gc=False):
    """What a claim found.

    ``overdue`` are tasks of the workflow queues whose deadline has passed (whoever owns them; the reader applies
    the rules and reports with the token). ``cancelled`` are the worker's own tasks whose cancellation is asked for.
    ``waiting`` are runs to ask for again after their step: left alone as busy, with messages due, or taken with as many
    messages as a claim takes. ``next_due_us`` is the earliest moment at which something of these queues falls due that
    is not due now.
    ``more``: a limit cut the answer short; ask again at once. ``left``: something was left to the other workers; ask
    for it a little later, in case that they don't come for it.
    """

    runs: list[ClaimedRun]
    activities: list[ActivityTask]
    overdue: list[ActivityTask]
    cancelled: list[AttemptToken]
    waiting: list[str]
    next_due_us: int | None
    more: bool = False
    left: bool = False


class Renewal(Struct, frozen=True, kw_only=True, gc=False):
    """What a renewal found: is this worker still alive to the others, and which attempts are booked on it."""

    alive: bool
    attempts: list[AttemptToken]
    died: list[str]
    """Workers that this renewal declared dead."""


class WorkerInfo(Struct, frozen=True, kw_only=True, gc=False):
    """A worker's row: unique per start, renewed while it lives."""

    worker_id: str
    namespace: str
    identity: str
    host: str
    pid: int
    lease_us: int
    started_us: int = 0
    renewed_us: int = 0
