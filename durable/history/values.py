"""What events are made of: payloads, failures, policies and states.

Instants are integers in microseconds since the epoch, durations integers in microseconds; their names end in ``_us``.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, ClassVar, Generic, Self, TypeVar, cast, overload

from msgspec import Struct, defstruct

from durable.history import wire
from durable.history.protobuf import Message

InfoT = TypeVar("InfoT", bound="FailureInfo")

NAME_BYTES_MAX = 2000
NAMESPACE_BYTES_MAX = 500
"""In UTF-8. PostgreSQL's indexes take 2,704 bytes an entry, and one entry holds a namespace, a name, and some more."""


def unstorable(what: str, name: str, bytes_max: int = NAME_BYTES_MAX) -> str | None:
    """What to say of a name that some database or its indexes would refuse; None of one that all take."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = 0
    if "\0" in name or (name and not size):
        return f"{what} has neither NUL nor lone surrogates; this one is {name!a}"
    return f"{what} has at most {bytes_max} bytes in UTF-8; this one has {size}" if size > bytes_max else None


class Payload(Message, kw_only=True, gc=False):
    """One converted value: how it is encoded (``metadata``), and its bytes (``data``).

    It can be used as Temporal's message of the same name, and is written in the same bytes.
    """

    metadata: dict[str, bytes] = {}  # noqa: RUF012 msgspec gives each payload its own
    data: bytes = b""

    def SerializeToString(self, *, deterministic: bool | None = None) -> bytes:
        """In protobuf's wire format; equal payloads have equal bytes, whether asked for or not."""
        return wire.write_payload(self.metadata, self.data)

    def ByteSize(self) -> int:
        """How many bytes `SerializeToString` makes."""
        return len(self.SerializeToString())

    def ParseFromString(self, serialized: bytes) -> int:
        """Become what was serialized, and say how many bytes that was. ValueError for what can't be read."""
        self.metadata, self.data = wire.read_payload(bytes(serialized))
        return len(serialized)

    @classmethod
    def FromString(cls, s: bytes) -> Self:
        """A new payload from what `SerializeToString` made. ValueError for what can't be read."""
        payload = cls()
        payload.ParseFromString(s)
        return payload


class Payloads(Message, kw_only=True):
    """Several payloads as one value, as Temporal's message of the same name."""

    payloads: list[Payload] = []  # noqa: RUF012 msgspec gives each its own

    def SerializeToString(self, *, deterministic: bool | None = None) -> bytes:
        """In protobuf's wire format."""
        return wire.write_messages([payload.SerializeToString() for payload in self.payloads])

    def ByteSize(self) -> int:
        """How many bytes `SerializeToString` makes."""
        return len(self.SerializeToString())

    def ParseFromString(self, serialized: bytes) -> int:
        """Become what was serialized, and say how many bytes that was. ValueError for what can't be read."""
        self.payloads = [Payload.FromString(message) for message in wire.read_messages(bytes(serialized))]
        return len(serialized)

    @classmethod
    def FromString(cls, s: bytes) -> Self:
        """New ones from what `SerializeToString` made. ValueError for what can't be read."""
        payloads = cls()
        payloads.ParseFromString(s)
        return payloads


class RetryState(IntEnum):
    """Why an activity (or a workflow) is not tried again. Values are Temporal's."""

    UNSPECIFIED = 0
    IN_PROGRESS = 1
    NON_RETRYABLE_FAILURE = 2
    TIMEOUT = 3
    MAXIMUM_ATTEMPTS_REACHED = 4
    RETRY_POLICY_NOT_SET = 5
    INTERNAL_SERVER_ERROR = 6
    CANCEL_REQUESTED = 7


class TimeoutType(IntEnum):
    """Which of an activity's (or a workflow's) timeouts ran out. Values are Temporal's."""

    UNSPECIFIED = 0
    START_TO_CLOSE = 1
    SCHEDULE_TO_START = 2
    SCHEDULE_TO_CLOSE = 3
    HEARTBEAT = 4


class WorkflowExecution(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A run, or with ``run_id`` "" the latest one of the workflow id."""

    workflow_id: str = ""
    run_id: str = ""


class Priority(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Which of the tasks that wait comes first. 0 and "": not said."""

    priority_key: int = 0
    fairness_key: str = ""
    fairness_weight: float = 0.0


class UserMetadata(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a person may read about something: a line, and more."""

    summary: Payload | None = None
    details: Payload | None = None


class ApplicationFailureInfo(Message, kw_only=True, tag="application", tag_field="kind", omit_defaults=True):
    """An error of the program's own."""

    type: str = ""
    non_retryable: bool = False
    details: list[Payload] | None = None
    next_retry_delay_us: int | None = None
    category: int = 0


class TimeoutFailureInfo(Message, kw_only=True, tag="timeout", tag_field="kind", omit_defaults=True):
    """A timeout ran out."""

    timeout_type: TimeoutType = TimeoutType.UNSPECIFIED
    last_heartbeat_details: list[Payload] | None = None


class CanceledFailureInfo(Message, kw_only=True, tag="canceled", tag_field="kind", omit_defaults=True):
    """Cancelled."""

    details: list[Payload] | None = None
    identity: str = ""


class TerminatedFailureInfo(Message, kw_only=True, tag="terminated", tag_field="kind", omit_defaults=True):
    """Ended from outside, without its code."""

    identity: str = ""


class ServerFailureInfo(Message, kw_only=True, tag="server", tag_field="kind", omit_defaults=True):
    """The engine, rather than the program, failed."""

    non_retryable: bool = False


class ActivityFailureInfo(Message, kw_only=True, tag="activity", tag_field="kind", omit_defaults=True):
    """An activity failed for good; the failure's cause says how."""

    scheduled_event_id: int = 0
    started_event_id: int = 0
    identity: str = ""
    activity_type: str = ""
    activity_id: str = ""
    retry_state: RetryState = RetryState.UNSPECIFIED


class ChildWorkflowExecutionFailureInfo(
    Message, kw_only=True, tag="child_workflow", tag_field="kind", omit_defaults=True
):
    """A child workflow did not complete; the failure's cause says how it ended."""

    namespace: str = ""
    workflow_execution: WorkflowExecution | None = None
    workflow_type: str = ""
    initiated_event_id: int = 0
    started_event_id: int = 0
    retry_state: RetryState = RetryState.UNSPECIFIED


FailureInfo = (
    ApplicationFailureInfo
    | TimeoutFailureInfo
    | CanceledFailureInfo
    | TerminatedFailureInfo
    | ServerFailureInfo
    | ActivityFailureInfo
    | ChildWorkflowExecutionFailureInfo
)


class _Kind(Generic[InfoT]):
    """A failure's ``info`` by the name that it has in Temporal's message, where each kind has a field of its own."""

    def __init__(self, kind: type[InfoT]) -> None:
        self.kind = kind
        self._absent = cast("type[InfoT]", defstruct(kind.__name__, (), bases=(kind,), frozen=True))()

    @overload
    def __get__(self, failure: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, failure: Failure, owner: type[Any]) -> InfoT: ...
    def __get__(self, failure: Failure | None, owner: type[Any]) -> Self | InfoT:
        """The info; of a failure of another kind, one that has nothing to say, and can't be changed."""
        if failure is None:
            return self
        return failure.info if isinstance(failure.info, self.kind) else self._absent

    def __set__(self, failure: Failure, info: InfoT) -> None:
        failure.info = info


class Failure(Message, kw_only=True, omit_defaults=True):
    """An error as data: what Temporal calls a Failure. ``info`` says which kind; ``cause`` is the next in the chain.

    A failure that events or messages hold is never changed: copy it. To give a new one a kind, assign that kind's info
    (``failure.application_failure_info = ApplicationFailureInfo(type="Stock")``).
    """

    message: str = ""
    source: str = ""
    stack_trace: str = ""
    cause: Failure | None = None
    info: FailureInfo | None = None
    encoded_attributes: Payload | None = None

    application_failure_info = _Kind(ApplicationFailureInfo)
    timeout_failure_info = _Kind(TimeoutFailureInfo)
    canceled_failure_info = _Kind(CanceledFailureInfo)
    terminated_failure_info = _Kind(TerminatedFailureInfo)
    server_failure_info = _Kind(ServerFailureInfo)
    activity_failure_info = _Kind(ActivityFailureInfo)
    child_workflow_execution_failure_info = _Kind(ChildWorkflowExecutionFailureInfo)

    _presence: ClassVar[frozenset[str]] = frozenset({"cause", "encoded_attributes"})

    def HasField(self, name: str) -> bool:
        """Is there a cause, are there encoded attributes, is it of this kind (``application_failure_info``, …)?"""
        kind: object = vars(Failure).get(name)
        if isinstance(kind, _Kind):
            return isinstance(self.info, cast("_Kind[FailureInfo]", kind).kind)
        return super().HasField(name)

    def WhichOneof(self, oneof_group: str) -> str | None:
        """For ``failure_info``, the only group: the name of its kind's field, None if it has no kind."""
        if oneof_group != "failure_info":
            raise ValueError(f'Protocol message Failure has no oneof "{oneof_group}" field.')
        return next(
            (name for name, kind in vars(Failure).items() if isinstance(kind, _Kind) and self.HasField(name)), None
        )


class RetryPolicy(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """How often, and how far apart, an activity is tried. Temporal's defaults.

    ``maximum_interval_us`` 0 means 100 times the initial interval; ``maximum_attempts`` 0 means no limit.
    """

    initial_interval_us: int = 1_000_000
    backoff_coefficient: float = 2.0
    maximum_interval_us: int = 0
    maximum_attempts: int = 0
    non_retryable_error_types: list[str] = []

    def interval_us(self, attempt: int) -> int:
        """The wait after attempt number ``attempt`` (1-based) failed."""
        ceiling = self.maximum_interval_us or 100 * self.initial_interval_us
        try:
            return min(ceiling, round(self.initial_interval_us * self.backoff_coefficient ** (attempt - 1)))
        except OverflowError:
            return ceiling


class ActivityFields(Struct, frozen=True, kw_only=True, gc=False):
    """What is said of an activity wherever it is asked for: who, with what, and how long. 0 is no timeout."""

    activity_id: str
    activity_type: str
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    schedule_to_close_timeout_us: int = 0
    schedule_to_start_timeout_us: int = 0
    start_to_close_timeout_us: int = 0
    heartbeat_timeout_us: int = 0
    retry_policy: RetryPolicy = RetryPolicy()
    priority: Priority | None = None


class WorkerVersion(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Which build of a worker's code."""

    build_id: str = ""


class LocalActivityAsked(Struct, frozen=True, kw_only=True, gc=False):
    """A local activity that a workflow task asked for: its number among the activities of the run, and its type."""

    seq: int
    activity_type: str


class UpdateMeta(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Which update of a run, and whose."""

    update_id: str
    identity: str = ""


class UpdateInput(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    name: str
    header: dict[str, Payload] = {}
    args: list[Payload] = []


class UpdateRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An update as its caller sent it."""

    meta: UpdateMeta
    input: UpdateInput
    request_id: str = ""


class UpdateOutcome(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """How an update ended: one of the two is not None."""

    success: list[Payload] | None = None
    failure: Failure | None = None


class RunStatus(IntEnum):
    """Where a run's life stands. Values are Temporal's ``WorkflowExecutionStatus``."""

    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    CANCELED = 4
    TERMINATED = 5
    CONTINUED_AS_NEW = 6
    TIMED_OUT = 7


class ContinueAsNewInitiator(IntEnum):
    """Why a run is followed by another. Values are Temporal's."""

    UNSPECIFIED = 0
    WORKFLOW = 1
    RETRY = 2
    CRON_SCHEDULE = 3


class IdReusePolicy(IntEnum):
    """May a workflow id be used again when its latest run is closed? Values are Temporal's."""

    ALLOW_DUPLICATE = 1
    ALLOW_DUPLICATE_FAILED_ONLY = 2
    REJECT_DUPLICATE = 3
    TERMINATE_IF_RUNNING = 4


class IdConflictPolicy(IntEnum):
    """What a start does when a run of its workflow id is open. Values are Temporal's; UNSPECIFIED means FAIL."""

    UNSPECIFIED = 0
    FAIL = 1
    USE_EXISTING = 2
    TERMINATE_EXISTING = 3


class ParentClosePolicy(IntEnum):
    """What becomes of a child when its parent is closed. Values are Temporal's; UNSPECIFIED means TERMINATE."""

    UNSPECIFIED = 0
    TERMINATE = 1
    ABANDON = 2
    REQUEST_CANCEL = 3


class StartChildFailedCause(IntEnum):
    """Values are Temporal's."""

    UNSPECIFIED = 0
    WORKFLOW_ALREADY_EXISTS = 1


class SignalExternalFailedCause(IntEnum):
    """Values are Temporal's."""

    UNSPECIFIED = 0
    EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND = 1


class CancelExternalFailedCause(IntEnum):
    """Values are Temporal's."""

    UNSPECIFIED = 0
    EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND = 1


class TaskFailedCause(IntEnum):
    """Why a workflow task failed. Values are Temporal's ``WorkflowTaskFailedCause``."""

    UNSPECIFIED = 0
    NON_DETERMINISTIC_ERROR = 24
    WORKFLOW_WORKER_UNHANDLED_FAILURE = 14
