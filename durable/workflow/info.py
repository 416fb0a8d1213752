"""What a run may know of itself: `Info`, and the small questions around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from durable.common import Priority, RetryPolicy, WorkerDeploymentVersion
from durable.context import maybe_workflow, this_workflow
from durable.history.values import Payload
from durable.search_attributes import SearchAttributes, TypedSearchAttributes


@dataclass(frozen=True)
class ParentInfo:
    """The run that started this one as its child."""

    namespace: str
    run_id: str
    workflow_id: str


@dataclass(frozen=True)
class RootInfo:
    """The run at the head of a line of parents and children."""

    run_id: str
    workflow_id: str


@dataclass(frozen=True)
class Info:
    """The run that is running, as of its current workflow task. Temporal's `workflow.Info`."""

    namespace: str
    workflow_id: str
    run_id: str
    first_execution_run_id: str
    workflow_type: str
    task_queue: str
    attempt: int
    start_time: datetime
    workflow_start_time: datetime
    task_timeout: timedelta
    headers: Mapping[str, Payload]
    current_history_length: Callable[[], int] = field(repr=False, compare=False)
    current_history_size: Callable[[], int] = field(repr=False, compare=False)
    continue_as_new_suggested: Callable[[], bool] = field(repr=False, compare=False)
    raw_memo: Mapping[str, Payload]
    search_attributes: SearchAttributes
    """The untyped form, which is deprecated."""
    typed_search_attributes: TypedSearchAttributes
    continued_run_id: str | None = None
    """The run that this one continues."""
    cron_schedule: str | None = None
    execution_timeout: timedelta | None = None
    run_timeout: timedelta | None = None
    retry_policy: RetryPolicy | None = None
    priority: Priority = Priority.default
    parent: ParentInfo | None = None
    """The workflow that started this one as its child."""
    root: RootInfo | None = None
    """The first of its line of parents; None when it has none."""
    original_execution_run_id: str = ""
    """The run id that the history begins with."""

    current_build_id: Callable[[], str] = field(default=lambda: "", repr=False, compare=False)

    def get_current_build_id(self) -> str:
        """The build id of the worker that did, or does, the current workflow task; "" for one without."""
        return self.current_build_id()

    def get_current_deployment_version(self) -> WorkerDeploymentVersion | None:
        """None: nothing is routed by the deployments of workers, so none is recorded."""
        return None

    def is_target_worker_deployment_version_changed(self) -> bool:
        """False, for the same reason."""
        return False

    def get_current_history_length(self) -> int:
        """The number of events up to the start of the current workflow task."""
        return self.current_history_length()

    def is_continue_as_new_suggested(self) -> bool:
        """Has the history grown so long that the run had better continue as new?"""
        return self.continue_as_new_suggested()

    def get_current_history_size(self) -> int:
        """The bytes of the history up to the start of the current workflow task, as stored."""
        return self.current_history_size()

    def be_told(self, search_attributes: SearchAttributes, typed: TypedSearchAttributes) -> None:
        """They were upserted: what holds this info sees them. For the worker."""
        object.__setattr__(self, "search_attributes", search_attributes)
        object.__setattr__(self, "typed_search_attributes", typed)

    def _logger_details(self) -> dict[str, Any]:
        return {
            "attempt": self.attempt,
            "namespace": self.namespace,
            "run_id": self.run_id,
            "task_queue": self.task_queue,
            "workflow_id": self.workflow_id,
            "workflow_type": self.workflow_type,
        }


@dataclass(frozen=True)
class UpdateInfo:
    """The update that is being handled. Temporal's `workflow.UpdateInfo`."""

    id: str
    name: str

    def _logger_details(self) -> dict[str, Any]:
        return {"update_id": self.id, "update_name": self.name}


current_update: ContextVar[UpdateInfo | None] = ContextVar("durable_current_update", default=None)


def current_update_info() -> UpdateInfo | None:
    """The update that this code handles, in whatever task of it; None elsewhere."""
    this_workflow()
    return current_update.get()


def all_handlers_finished() -> bool:
    """Is no signal and no update being handled?

    To be awaited before the run ends: ``await workflow.wait_condition(workflow.all_handlers_finished)``.
    """
    return this_workflow().all_handlers_finished()


def info() -> Info:
    """The current run's `Info`. Only in workflow code."""
    run = this_workflow()
    return run.info() if run.outbound is None else run.outbound.info()


def instance() -> Any:
    """The current run's object (class workflows), or None (function workflows). Only in workflow code."""
    return this_workflow().instance()


def in_workflow() -> bool:
    """Is this workflow code?"""
    return maybe_workflow() is not None


def cancellation_reason() -> str | None:
    """Why the run was asked to cancel; None when it was not, "" when no reason was given."""
    return this_workflow().cancellation_reason()


def is_failure_exception(err: BaseException) -> bool:
    """Would ``err``, escaping from the workflow, fail the workflow? Other exceptions fail the workflow task."""
    return this_workflow().is_failure(err)
