"""What happened to a run: past tense, frozen, in Temporal's names and order."""

from __future__ import annotations

from msgspec import Struct

from durable.history.values import (
    ContinueAsNewInitiator,
    Failure,
    Payload,
    Priority,
    RetryPolicy,
    RetryState,
    TaskFailedCause,
    TimeoutType,
    UpdateMeta,
    UpdateOutcome,
    UpdateRequest,
)


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag=True, gc=False):
    """One line of a run's history: ``id`` counts 1, 2, 3 … within the run; ``time_us`` is the store's time.

    Events and what they hold make no cycles, so the garbage collector need not know them: a long history is read twice
    as fast.
    """

    id: int
    time_us: int


class WorkflowExecutionStarted(Event, frozen=True, kw_only=True, omit_defaults=True):
    workflow_type: str
    workflow_id: str
    task_queue: str
    original_execution_run_id: str
    first_execution_run_id: str
    input: list[Payload] = []
    identity: str = ""
    attempt: int = 1
    workflow_task_timeout_us: int = 10_000_000
    first_workflow_task_backoff_us: int = 0
    header: dict[str, Payload] = {}
    request_id: str = ""
    continued_execution_run_id: str = ""
    initiator: ContinueAsNewInitiator = ContinueAsNewInitiator.UNSPECIFIED
    consumed_request_ids: list[str] = []
    """What the run before has read, and this one is not to read again."""
    priority: Priority | None = None


class WorkflowExecutionCompleted(Event, frozen=True, kw_only=True, omit_defaults=True):
    workflow_task_completed_event_id: int
    result: list[Payload] = []


class WorkflowExecutionFailed(Event, frozen=True, kw_only=True, omit_defaults=True):
    workflow_task_completed_event_id: int
    failure: Failure
    retry_state: RetryState = RetryState.RETRY_POLICY_NOT_SET


class WorkflowExecutionCanceled(Event, frozen=True, kw_only=True, omit_defaults=True):
    workflow_task_completed_event_id: int
    details: list[Payload] = []


class WorkflowExecutionTerminated(Event, frozen=True, kw_only=True, omit_defaults=True):
    reason: str = ""
    details: list[Payload] = []
    identity: str = ""


class WorkflowExecutionContinuedAsNew(Event, frozen=True, kw_only=True, omit_defaults=True):
    new_execution_run_id: str
    workflow_type: str
    task_queue: str
    workflow_task_completed_event_id: int
    input: list[Payload] = []
    workflow_task_timeout_us: int = 10_000_000
    backoff_start_interval_us: int = 0
    initiator: ContinueAsNewInitiator = ContinueAsNewInitiator.WORKFLOW


class WorkflowExecutionSignaled(Event, frozen=True, kw_only=True, omit_defaults=True):
    signal_name: str
    input: list[Payload] = []
    identity: str = ""
    header: dict[str, Payload] = {}
    request_id: str = ""


class WorkflowExecutionCancelRequested(Event, frozen=True, kw_only=True, omit_defaults=True):
    cause: str = ""
    identity: str = ""
    request_id: str = ""


class WorkflowTaskScheduled(Event, frozen=True, kw_only=True, omit_defaults=True):
    task_queue: str
    start_to_close_timeout_us: int = 10_000_000
    attempt: int = 1


class WorkflowTaskStarted(Event, frozen=True, kw_only=True, omit_defaults=True):
    scheduled_event_id: int
    identity: str = ""
    request_id: str = ""


class WorkflowTaskCompleted(Event, frozen=True, kw_only=True, omit_defaults=True):
    scheduled_event_id: int
    started_event_id: int
    identity: str = ""


class WorkflowTaskFailed(Event, frozen=True, kw_only=True, omit_defaults=True):
    scheduled_event_id: int
    started_event_id: int
    cause: TaskFailedCause
    failure: Failure
    identity: str = ""


class WorkflowTaskTimedOut(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Occurs in Temporal's histories only, where a server watches the workers. Nothing follows of it."""

    scheduled_event_id: int
    started_event_id: int = 0
    timeout_type: TimeoutType = TimeoutType.UNSPECIFIED


class ActivityTaskScheduled(Event, frozen=True, kw_only=True, omit_defaults=True):
    workflow_task_completed_event_id: int
    activity_id: str
    activity_type: str
    task_queue: str
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    schedule_to_close_timeout_us: int = 0
    schedule_to_start_timeout_us: int = 0
    start_to_close_timeout_us: int = 0
    heartbeat_timeout_us: int = 0
    retry_policy: RetryPolicy = RetryPolicy()
    priority: Priority | None = None


class ActivityTaskStarted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Written with the outcome; ``time_us`` is when the last attempt began, or the last event's if that is later."""

    scheduled_event_id: int
    identity: str = ""
    attempt: int = 1
    last_failure: Failure | None = None


class ActivityTaskCompleted(Event, frozen=True, kw_only=True, omit_defaults=True):
    scheduled_event_id: int
    started_event_id: int
    result: list[Payload] = []
    identity: str = ""


class ActivityTaskFailed(Event, frozen=True, kw_only=True, omit_defaults=True):
    scheduled_event_id: int
    started_event_id: int
    failure: Failure
    identity: str = ""
    retry_state: RetryState = RetryState.UNSPECIFIED


class ActivityTaskTimedOut(Event, frozen=True, kw_only=True, omit_defaults=True):
    scheduled_event_id: int
    started_event_id: int
    failure: Failure
    retry_state: RetryState = RetryState.UNSPECIFIED


class ActivityTaskCancelRequested(Event, frozen=True, kw_only=True, omit_defaults=True):
    scheduled_event_id: int
    workflow_task_completed_event_id: int


class ActivityTaskCanceled(Event, frozen=True, kw_only=True, omit_defaults=True):
    scheduled_event_id: int
    started_event_id: int
    latest_cancel_requested_event_id: int = 0
    details: list[Payload] = []
    identity: str = ""


class TimerStarted(Event, frozen=True, kw_only=True, omit_defaults=True):
    timer_id: str
    start_to_fire_timeout_us: int
    workflow_task_completed_event_id: int


class TimerFired(Event, frozen=True, kw_only=True, omit_defaults=True):
    timer_id: str
    started_event_id: int


class TimerCanceled(Event, frozen=True, kw_only=True, omit_defaults=True):
    timer_id: str
    started_event_id: int
    workflow_task_completed_event_id: int
    identity: str = ""


class MarkerRecorded(Event, frozen=True, kw_only=True, omit_defaults=True):
    marker_name: str
    workflow_task_completed_event_id: int
    details: dict[str, list[Payload]] = {}


class WorkflowExecutionUpdateAdmitted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An update whose handler could not be run, since the workflow task failed: it is kept for the task that can."""

    request: UpdateRequest


class WorkflowExecutionUpdateAccepted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """``accepted_request`` None: it is that of the WorkflowExecutionUpdateAdmitted with the same update id."""

    protocol_instance_id: str
    accepted_request: UpdateRequest | None = None


class WorkflowExecutionUpdateRejected(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Of an update that was admitted into the history; others leave no event when they are rejected."""

    protocol_instance_id: str
    failure: Failure


class WorkflowExecutionUpdateCompleted(Event, frozen=True, kw_only=True, omit_defaults=True):
    meta: UpdateMeta
    accepted_event_id: int
    outcome: UpdateOutcome


HistoryEvent = (
    WorkflowExecutionStarted
    | WorkflowExecutionCompleted
    | WorkflowExecutionFailed
    | WorkflowExecutionCanceled
    | WorkflowExecutionTerminated
    | WorkflowExecutionContinuedAsNew
    | WorkflowExecutionSignaled
    | WorkflowExecutionCancelRequested
    | WorkflowTaskScheduled
    | WorkflowTaskStarted
    | WorkflowTaskCompleted
    | WorkflowTaskFailed
    | WorkflowTaskTimedOut
    | ActivityTaskScheduled
    | ActivityTaskStarted
    | ActivityTaskCompleted
    | ActivityTaskFailed
    | ActivityTaskTimedOut
    | ActivityTaskCancelRequested
    | ActivityTaskCanceled
    | TimerStarted
    | TimerFired
    | TimerCanceled
    | MarkerRecorded
    | WorkflowExecutionUpdateAdmitted
    | WorkflowExecutionUpdateAccepted
    | WorkflowExecutionUpdateRejected
    | WorkflowExecutionUpdateCompleted
)

ClosingEvent = (
    WorkflowExecutionCompleted
    | WorkflowExecutionFailed
    | WorkflowExecutionCanceled
    | WorkflowExecutionTerminated
    | WorkflowExecutionContinuedAsNew
)

CommandEvent = (
    ActivityTaskScheduled
    | ActivityTaskCancelRequested
    | TimerStarted
    | TimerCanceled
    | MarkerRecorded
    | WorkflowExecutionUpdateAccepted
    | WorkflowExecutionUpdateRejected
    | WorkflowExecutionUpdateCompleted
    | WorkflowExecutionCompleted
    | WorkflowExecutionFailed
    | WorkflowExecutionCanceled
    | WorkflowExecutionContinuedAsNew
)
"""The events that answer a command: what replay compares with what the code asks for now."""
