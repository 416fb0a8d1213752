"""What happened to a run: past tense, frozen, in Temporal's names and order."""

from __future__ import annotations

from msgspec import Struct

from durable.history.values import (
    CancelExternalFailedCause,
    ContinueAsNewInitiator,
    Failure,
    IdReusePolicy,
    LocalActivityAsked,
    ParentClosePolicy,
    Payload,
    Priority,
    RetryPolicy,
    RetryState,
    SignalExternalFailedCause,
    StartChildFailedCause,
    TaskFailedCause,
    TimeoutType,
    UpdateMeta,
    UpdateOutcome,
    UpdateRequest,
    UserMetadata,
    WorkerVersion,
    WorkflowExecution,
)


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag=True, gc=False):
    """One line of a run's history: ``id`` counts 1, 2, 3 … within the run; ``time_us`` is the store's time.

    Events and what they hold make no cycles, so the garbage collector need not know them: a long history is read twice
    as fast.
    """

    id: int
    time_us: int
    user_metadata: UserMetadata | None = None


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
    workflow_execution_timeout_us: int = 0
    workflow_run_timeout_us: int = 0
    workflow_execution_expiration_time_us: int = 0
    """When all runs of the chain have to be over; 0: there is no such moment."""
    retry_policy: RetryPolicy | None = None
    cron_schedule: str = ""
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    priority: Priority | None = None
    parent_workflow_namespace: str = ""
    parent_workflow_execution: WorkflowExecution | None = None
    parent_initiated_event_id: int = 0
    root_workflow_execution: WorkflowExecution | None = None
    continued_failure: Failure | None = None
    last_completion_result: list[Payload] = []


class WorkflowExecutionCompleted(Event, frozen=True, kw_only=True, omit_defaults=True):
    workflow_task_completed_event_id: int
    result: list[Payload] = []
    new_execution_run_id: str = ""


class WorkflowExecutionFailed(Event, frozen=True, kw_only=True, omit_defaults=True):
    workflow_task_completed_event_id: int
    failure: Failure
    retry_state: RetryState = RetryState.RETRY_POLICY_NOT_SET
    new_execution_run_id: str = ""


class WorkflowExecutionTimedOut(Event, frozen=True, kw_only=True, omit_defaults=True):
    retry_state: RetryState = RetryState.UNSPECIFIED
    new_execution_run_id: str = ""


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
    workflow_run_timeout_us: int = 0
    failure: Failure | None = None
    last_completion_result: list[Payload] = []
    header: dict[str, Payload] = {}
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}


class WorkflowExecutionSignaled(Event, frozen=True, kw_only=True, omit_defaults=True):
    signal_name: str
    input: list[Payload] = []
    identity: str = ""
    header: dict[str, Payload] = {}
    request_id: str = ""
    external_workflow_execution: WorkflowExecution | None = None
    """The workflow that sent it; None: a client did."""


class WorkflowExecutionCancelRequested(Event, frozen=True, kw_only=True, omit_defaults=True):
    cause: str = ""
    identity: str = ""
    request_id: str = ""
    external_initiated_event_id: int = 0
    external_workflow_execution: WorkflowExecution | None = None


class WorkflowTaskScheduled(Event, frozen=True, kw_only=True, omit_defaults=True):
    task_queue: str
    start_to_close_timeout_us: int = 10_000_000
    attempt: int = 1


class WorkflowTaskStarted(Event, frozen=True, kw_only=True, omit_defaults=True):
    scheduled_event_id: int
    identity: str = ""
    request_id: str = ""
    history_size_bytes: int = 0
    """What the store held of the run's history before this task."""
    suggest_continue_as_new: bool = False


class WorkflowTaskCompleted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """``local_activities`` are those that it asked for: no event tells of them until the code knows how they ended.

    None: that is not known, of a history that was read from JSON.
    """

    scheduled_event_id: int
    started_event_id: int
    identity: str = ""
    worker_version: WorkerVersion | None = None
    """None: that of a worker without a build id."""
    local_activities: list[LocalActivityAsked] | None = []


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
    failure: Failure | None = None


class StartChildWorkflowExecutionInitiated(Event, frozen=True, kw_only=True, omit_defaults=True):
    namespace: str
    workflow_id: str
    workflow_type: str
    task_queue: str
    workflow_task_completed_event_id: int
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    workflow_execution_timeout_us: int = 0
    workflow_run_timeout_us: int = 0
    workflow_task_timeout_us: int = 10_000_000
    parent_close_policy: ParentClosePolicy = ParentClosePolicy.TERMINATE
    workflow_id_reuse_policy: IdReusePolicy = IdReusePolicy.ALLOW_DUPLICATE
    retry_policy: RetryPolicy | None = None
    cron_schedule: str = ""
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    priority: Priority | None = None


class StartChildWorkflowExecutionFailed(Event, frozen=True, kw_only=True, omit_defaults=True):
    namespace: str
    workflow_id: str
    workflow_type: str
    cause: StartChildFailedCause
    initiated_event_id: int
    workflow_task_completed_event_id: int


class ChildWorkflowExecutionStarted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Written when the parent learns of it: with its end, if that comes first."""

    namespace: str
    initiated_event_id: int
    workflow_execution: WorkflowExecution
    workflow_type: str
    header: dict[str, Payload] = {}


class ChildOutcomeEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """What all ends of a child say."""

    namespace: str
    workflow_execution: WorkflowExecution
    workflow_type: str
    initiated_event_id: int
    started_event_id: int


class ChildWorkflowExecutionCompleted(ChildOutcomeEvent, frozen=True, kw_only=True, omit_defaults=True):
    result: list[Payload] = []


class ChildWorkflowExecutionFailed(ChildOutcomeEvent, frozen=True, kw_only=True, omit_defaults=True):
    failure: Failure
    retry_state: RetryState = RetryState.UNSPECIFIED


class ChildWorkflowExecutionCanceled(ChildOutcomeEvent, frozen=True, kw_only=True, omit_defaults=True):
    details: list[Payload] = []


class ChildWorkflowExecutionTimedOut(ChildOutcomeEvent, frozen=True, kw_only=True, omit_defaults=True):
    retry_state: RetryState = RetryState.UNSPECIFIED


class ChildWorkflowExecutionTerminated(ChildOutcomeEvent, frozen=True, kw_only=True, omit_defaults=True):
    pass


class SignalExternalWorkflowExecutionInitiated(Event, frozen=True, kw_only=True, omit_defaults=True):
    """``child_workflow_only``: to a child of this run, whatever its run id."""

    workflow_task_completed_event_id: int
    namespace: str
    workflow_execution: WorkflowExecution
    signal_name: str
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    child_workflow_only: bool = False


class SignalExternalWorkflowExecutionFailed(Event, frozen=True, kw_only=True, omit_defaults=True):
    cause: SignalExternalFailedCause
    workflow_task_completed_event_id: int
    namespace: str
    workflow_execution: WorkflowExecution
    initiated_event_id: int


class ExternalWorkflowExecutionSignaled(Event, frozen=True, kw_only=True, omit_defaults=True):
    initiated_event_id: int
    namespace: str
    workflow_execution: WorkflowExecution


class RequestCancelExternalWorkflowExecutionInitiated(Event, frozen=True, kw_only=True, omit_defaults=True):
    workflow_task_completed_event_id: int
    namespace: str
    workflow_execution: WorkflowExecution
    child_workflow_only: bool = False
    reason: str = ""


class RequestCancelExternalWorkflowExecutionFailed(Event, frozen=True, kw_only=True, omit_defaults=True):
    cause: CancelExternalFailedCause
    workflow_task_completed_event_id: int
    namespace: str
    workflow_execution: WorkflowExecution
    initiated_event_id: int


class ExternalWorkflowExecutionCancelRequested(Event, frozen=True, kw_only=True, omit_defaults=True):
    initiated_event_id: int
    namespace: str
    workflow_execution: WorkflowExecution


class UpsertWorkflowSearchAttributes(Event, frozen=True, kw_only=True, omit_defaults=True):
    workflow_task_completed_event_id: int
    search_attributes: dict[str, Payload] = {}


class WorkflowPropertiesModified(Event, frozen=True, kw_only=True, omit_defaults=True):
    workflow_task_completed_event_id: int
    upserted_memo: dict[str, Payload] = {}


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
    | WorkflowExecutionTimedOut
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
    | StartChildWorkflowExecutionInitiated
    | StartChildWorkflowExecutionFailed
    | ChildWorkflowExecutionStarted
    | ChildWorkflowExecutionCompleted
    | ChildWorkflowExecutionFailed
    | ChildWorkflowExecutionCanceled
    | ChildWorkflowExecutionTimedOut
    | ChildWorkflowExecutionTerminated
    | SignalExternalWorkflowExecutionInitiated
    | SignalExternalWorkflowExecutionFailed
    | ExternalWorkflowExecutionSignaled
    | RequestCancelExternalWorkflowExecutionInitiated
    | RequestCancelExternalWorkflowExecutionFailed
    | ExternalWorkflowExecutionCancelRequested
    | UpsertWorkflowSearchAttributes
    | WorkflowPropertiesModified
    | WorkflowExecutionUpdateAdmitted
    | WorkflowExecutionUpdateAccepted
    | WorkflowExecutionUpdateRejected
    | WorkflowExecutionUpdateCompleted
)

ClosingEvent = (
    WorkflowExecutionCompleted
    | WorkflowExecutionFailed
    | WorkflowExecutionTimedOut
    | WorkflowExecutionCanceled
    | WorkflowExecutionTerminated
    | WorkflowExecutionContinuedAsNew
)


def successor_of(event: ClosingEvent) -> str:
    """The run that follows the one which this event closes: continued as new, by retry or by schedule; "": none."""
    if isinstance(event, WorkflowExecutionCanceled | WorkflowExecutionTerminated):
        return ""
    return event.new_execution_run_id


CommandEvent = (
    ActivityTaskScheduled
    | ActivityTaskCancelRequested
    | TimerStarted
    | TimerCanceled
    | MarkerRecorded
    | StartChildWorkflowExecutionInitiated
    | SignalExternalWorkflowExecutionInitiated
    | RequestCancelExternalWorkflowExecutionInitiated
    | UpsertWorkflowSearchAttributes
    | WorkflowPropertiesModified
    | WorkflowExecutionUpdateAccepted
    | WorkflowExecutionUpdateRejected
    | WorkflowExecutionUpdateCompleted
    | WorkflowExecutionCompleted
    | WorkflowExecutionFailed
    | WorkflowExecutionCanceled
    | WorkflowExecutionContinuedAsNew
)
"""The events that answer a command: what replay compares with what the code asks for now."""
