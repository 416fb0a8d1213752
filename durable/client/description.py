"""What a client can learn of a run without asking its code: its row, what it waits for, its history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from durable.history import attempts, export
from durable.history.events import HistoryEvent, WorkflowExecutionStarted
from durable.history.messages import MessageKind
from durable.history.transition import ActivityTask, RunInfo
from durable.history.values import RunStatus

if TYPE_CHECKING:
    from durable.client.raw_description import RawWorkflowDescription

WorkflowExecutionStatus = RunStatus

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(us: int) -> datetime:
    """Microseconds since the epoch as an aware datetime, UTC."""
    return _EPOCH + timedelta(microseconds=us)


@dataclass(frozen=True)
class PendingActivityInfo:
    """An activity that is not over. ``started`` None: waiting to be (re)tried, not before ``due``, nor while paused.

    ``worker`` None though it has started: its outcome will come from outside.
    """

    activity_id: str
    activity_type: str
    attempt: int
    due: datetime
    started: datetime | None
    worker: str | None
    last_failure: str | None
    cancel_requested: bool
    paused: bool

    @staticmethod
    def of(task: ActivityTask) -> PendingActivityInfo:
        failure = task.progress.last_failure
        return PendingActivityInfo(
            activity_id=task.spec.activity_id,
            activity_type=task.spec.activity_type,
            attempt=task.attempt,
            due=moment(task.due_us),
            started=moment(task.started_us) if task.owner is not None else None,
            worker=attempts.worker(task),
            last_failure=failure.message if failure is not None else None,
            cancel_requested=task.cancel_requested,
            paused=task.control.pause is not None,
        )


@dataclass(frozen=True)
class PendingMessageInfo:
    """An unread message in the run's inbox: a signal, a cancel request, a timer with its due time …"""

    kind: MessageKind
    name: str
    due: datetime


@dataclass(frozen=True)
class WorkflowExecution:
    """A run as a list shows it. Times are aware, UTC."""

    id: str
    run_id: str
    namespace: str
    workflow_type: str
    task_queue: str
    status: WorkflowExecutionStatus
    start_time: datetime
    close_time: datetime | None
    history_length: int
    parked: str | None
    """Why the run's code can't go on just now (unknown type, code that does not fit …); None when it can."""

    @staticmethod
    def fields(run: RunInfo) -> dict[str, Any]:
        return {
            "id": run.workflow_id,
            "run_id": run.run_id,
            "namespace": run.namespace,
            "workflow_type": run.workflow_type,
            "task_queue": run.task_queue,
            "status": run.status,
            "start_time": moment(run.started_us),
            "close_time": moment(run.closed_us) if run.closed_us is not None else None,
            "history_length": run.last_event_id,
            "parked": run.parked,
        }


@dataclass(frozen=True)
class WorkflowExecutionDescription(WorkflowExecution):
    """A run in detail: who works on it, what it waits for."""

    worker: str | None
    history_bytes: int
    pending_activities: Sequence[PendingActivityInfo]
    pending_messages: Sequence[PendingMessageInfo]
    raw_description: RawWorkflowDescription = field(repr=False)
    """The same in the names of Temporal's messages, as far as programs read it: its pending activities."""


@dataclass(frozen=True)
class WorkflowHistory:
    """A run's events, which go to and come from the JSON that Temporal's tools read and write."""

    workflow_id: str
    events: Sequence[HistoryEvent]

    @property
    def run_id(self) -> str:
        """The run that the events belong to. RuntimeError when the first one is no WorkflowExecutionStarted."""
        started = self.events[0] if self.events else None
        if not isinstance(started, WorkflowExecutionStarted):
            raise RuntimeError(f"this history of {self.workflow_id!r} does not begin with WorkflowExecutionStarted")
        return started.original_execution_run_id

    def to_json(self) -> str:
        return export.to_json(self.events)

    def to_json_dict(self) -> dict[str, Any]:
        return export.to_json_dict(self.events)

    @staticmethod
    def from_json(workflow_id: str, history: str | dict[str, Any]) -> WorkflowHistory:
        """A history from its JSON, as text or as a dict."""
        return WorkflowHistory(workflow_id, export.from_json(history))
