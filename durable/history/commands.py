"""What workflow code asks for: imperative, frozen. Each becomes exactly one event of the run's history."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from durable.history.events import WorkflowExecutionSignaled
from durable.history.values import (
    ActivityFields,
    Failure,
    IdReusePolicy,
    ParentClosePolicy,
    Payload,
    Priority,
    RetryPolicy,
    UpdateOutcome,
    UpdateRequest,
    UserMetadata,
    WorkflowExecution,
)


class ScheduleActivityTask(ActivityFields, frozen=True, kw_only=True):
    task_queue: str
    user_metadata: UserMetadata | None = None


class RequestCancelActivityTask(Struct, frozen=True, kw_only=True, gc=False):
    scheduled_event_id: int


class StartTimer(Struct, frozen=True, kw_only=True, gc=False):
    timer_id: str
    start_to_fire_timeout_us: int
    user_metadata: UserMetadata | None = None


class CancelTimer(Struct, frozen=True, kw_only=True, gc=False):
    timer_id: str
    started_event_id: int


class RecordMarker(Struct, frozen=True, kw_only=True, gc=False):
    """A note of the code's in its history."""

    marker_name: str
    details: dict[str, list[Payload]] = {}
    failure: Failure | None = None


class StartChildWorkflowExecution(Struct, frozen=True, kw_only=True, gc=False):
    namespace: str
    workflow_id: str
    workflow_type: str
    task_queue: str
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
    user_metadata: UserMetadata | None = None


class SignalExternalWorkflowExecution(Struct, frozen=True, kw_only=True, gc=False):
    """``child_workflow_only``: to a child of this run, whatever its run id."""

    namespace: str
    workflow_execution: WorkflowExecution
    signal_name: str
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    child_workflow_only: bool = False


class RequestCancelExternalWorkflowExecution(Struct, frozen=True, kw_only=True, gc=False):
    namespace: str
    workflow_execution: WorkflowExecution
    child_workflow_only: bool = False
    reason: str = ""


class UpsertWorkflowSearchAttributes(Struct, frozen=True, kw_only=True, gc=False):
    search_attributes: dict[str, Payload]


class ModifyWorkflowProperties(Struct, frozen=True, kw_only=True, gc=False):
    upserted_memo: dict[str, Payload]


class AcceptUpdate(Struct, frozen=True, kw_only=True, gc=False):
    """``request`` None: the history has it, in a WorkflowExecutionUpdateAdmitted."""

    update_id: str
    request: UpdateRequest | None


class RejectUpdate(Struct, frozen=True, kw_only=True, gc=False):
    """Only of an update that is in the history already; of others a rejection leaves no trace."""

    update_id: str
    failure: Failure


class CompleteUpdate(Struct, frozen=True, kw_only=True, gc=False):
    update_id: str
    outcome: UpdateOutcome


class CompleteWorkflowExecution(Struct, frozen=True, kw_only=True, gc=False):
    result: list[Payload] = []


class FailWorkflowExecution(Struct, frozen=True, kw_only=True, gc=False):
    failure: Failure


class CancelWorkflowExecution(Struct, frozen=True, kw_only=True, gc=False):
    details: list[Payload] = []


class ContinueAsNewWorkflowExecution(Struct, frozen=True, kw_only=True, gc=False):
    """End this run, and begin the next one of its workflow id. "" and None: as this run has it.

    ``signals`` are those that this run's code was told and has not taken: the next run is told of them first.
    """

    workflow_type: str = ""
    task_queue: str = ""
    input: list[Payload] = []
    header: dict[str, Payload] = {}
    workflow_task_timeout_us: int | None = None
    workflow_run_timeout_us: int | None = None
    backoff_start_interval_us: int = 0
    signals: Sequence[WorkflowExecutionSignaled] = ()
    retry_policy: RetryPolicy | None = None
    memo: dict[str, Payload] | None = None
    search_attributes: dict[str, Payload] | None = None


Command = (
    ScheduleActivityTask
    | RequestCancelActivityTask
    | StartTimer
    | CancelTimer
    | RecordMarker
    | StartChildWorkflowExecution
    | SignalExternalWorkflowExecution
    | RequestCancelExternalWorkflowExecution
    | UpsertWorkflowSearchAttributes
    | ModifyWorkflowProperties
    | AcceptUpdate
    | RejectUpdate
    | CompleteUpdate
    | CompleteWorkflowExecution
    | FailWorkflowExecution
    | CancelWorkflowExecution
    | ContinueAsNewWorkflowExecution
)

ClosingCommand = (
    CompleteWorkflowExecution | FailWorkflowExecution | CancelWorkflowExecution | ContinueAsNewWorkflowExecution
)
