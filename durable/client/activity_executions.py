"""What a client can learn of the activities that were started by themselves: one in detail, lists, counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import msgspec

from durable.client import counting
from durable.client.converting import for_activity, for_workflow, read
from durable.client.description import moment
from durable.client.filter import Filter
from durable.client.listing import Pager
from durable.client.raw_description import PendingActivityState
from durable.common import Priority, RetryPolicy, WorkerDeploymentVersion
from durable.converter import DataConverter
from durable.converter.search_attributes import decode_typed_search_attributes
from durable.exceptions import CancelledError, TerminatedError
from durable.history import attempts, codec
from durable.history.events import (
    ActivityTaskStarted,
    ClosingEvent,
    HistoryEvent,
    WorkflowExecutionCanceled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
)
from durable.history.standalone import own_failure, shown
from durable.history.transition import ActivityTask, RunInfo
from durable.history.values import Failure, Payload, RunStatus
from durable.history.visibility.attributes import RunKind
from durable.search_attributes import TypedSearchAttributes
from durable.service import RPCError, RPCStatusCode
from durable.workflow import standalone
from durable.workflow.standalone import StandaloneActivity

if TYPE_CHECKING:
    from durable.client.client import Client


class ActivityExecutionStatus(IntEnum):
    """How an activity that was started by itself stands. Values are Temporal's."""

    UNSPECIFIED = 0
    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    CANCELED = 4
    TERMINATED = 5
    TIMED_OUT = 6
    PAUSED = 7
    """Taken for compatibility: one that is paused is RUNNING, and its ``run_state`` is PAUSED."""


@dataclass(frozen=True)
class ActivityExecution:
    """An activity as a list shows it. Times are aware, UTC."""

    activity_id: str
    activity_run_id: str | None
    activity_type: str
    namespace: str
    task_queue: str
    status: ActivityExecutionStatus
    schedule_time: datetime
    execution_time: datetime
    """When it may begin: later than ``schedule_time`` after a start delay."""
    close_time: datetime | None
    typed_search_attributes: TypedSearchAttributes

    @property
    def scheduled_time(self) -> datetime:
        """``schedule_time`` by its older name."""
        return self.schedule_time

    @property
    def execution_duration(self) -> timedelta | None:
        """From its start to its end; None when it is not over."""
        return None if self.close_time is None else self.close_time - self.schedule_time

    @staticmethod
    def fields(run: RunInfo) -> dict[str, Any]:
        """What is the same for a listed activity and a described one."""
        return {
            "activity_id": shown(run.workflow_id),
            "activity_run_id": run.run_id,
            "activity_type": shown(run.workflow_type),
            "namespace": run.namespace,
            "task_queue": shown(run.task_queue),
            "status": ActivityExecutionStatus[run.status.name],
            "schedule_time": moment(run.started_us),
            "execution_time": moment(run.execution_us),
            "close_time": None if run.closed_us is None else moment(run.closed_us),
            "typed_search_attributes": decode_typed_search_attributes(codec.decode_values(run.search_attributes)),
        }


@dataclass(frozen=True)
class ActivityExecutionDescription(ActivityExecution):
    """An activity in detail. ``run_state`` and what comes next are None of one that is over.

    What is ``raw`` is not converted; a codec has read it already.
    """

    attempt: int
    """The one under way, or the last; 1 of one that has not begun."""
    run_state: PendingActivityState | None
    canceled_reason: str | None
    last_started_time: datetime | None
    last_worker_identity: str | None
    next_attempt_schedule_time: datetime | None
    current_retry_interval: timedelta | None
    expiration_time: datetime | None
    """When its schedule-to-close timeout ends it."""
    raw_heartbeat_details: Sequence[Payload]
    raw_input: Sequence[Payload]
    raw_last_failure: Failure | None
    raw_outcome: ClosingEvent | None
    """What has ended it; None when it is not over."""
    retry_policy: RetryPolicy
    priority: Priority
    summary: str | None
    start_delay: timedelta | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    ambiguous: bool
    """Not Temporal's: the code of an attempt before had begun, and it is not known yet how it ended."""
    data_converter: DataConverter = field(repr=False, compare=False)

    @property
    def last_deployment_version(self) -> WorkerDeploymentVersion | None:
        """None: nothing is routed by the deployments of workers, so none is recorded."""
        return None

    def has_input(self) -> bool:
        """Whether it was given arguments."""
        return bool(self.raw_input)

    async def input(self, type_hints: list[type] | None = None) -> list[Any] | None:
        """Its arguments, as ``type_hints`` if those are given; None when it has none."""
        return self._decoded(self.raw_input, type_hints)

    def has_heartbeat_details(self) -> bool:
        """Whether its last heartbeat told anything."""
        return bool(self.raw_heartbeat_details)

    async def heartbeat_details(self, type_hints: list[type] | None = None) -> list[Any] | None:
        """Those of its last heartbeat; None when there was none, or it is over."""
        return self._decoded(self.raw_heartbeat_details, type_hints)

    def has_last_failure(self) -> bool:
        """Whether an attempt has failed."""
        return self.raw_last_failure is not None

    async def last_failure(self) -> BaseException | None:
        """Why the last attempt that failed did so; None when none has."""
        return None if self.raw_last_failure is None else self.data_converter.from_failure(self.raw_last_failure)

    def has_result(self) -> bool:
        """Has it completed?"""
        return isinstance(self.raw_outcome, WorkflowExecutionCompleted)

    async def result(self, type_hint: type | None = None) -> Any | None:
        """What it returned, as ``type_hint`` if that is given; None when it has not completed."""
        if not isinstance(self.raw_outcome, WorkflowExecutionCompleted):
            return None
        decoded = self._decoded(self.raw_outcome.result, None if type_hint is None else [type_hint])
        return decoded[0] if decoded else None

    def has_outcome_failure(self) -> bool:
        """Is it over without having completed?"""
        return self.raw_outcome is not None and not self.has_result()

    async def outcome_failure(self) -> BaseException | None:
        """What `ActivityHandle.result` raises as the cause; None when it is not over, or has completed."""
        match self.raw_outcome:
            case WorkflowExecutionFailed(failure=failure):
                return self.data_converter.from_failure(own_failure(failure))
            case WorkflowExecutionCanceled(details=details):
                return CancelledError("Activity cancelled", *self.data_converter.from_payloads(details))
            case WorkflowExecutionTerminated(reason=reason, details=details):
                return TerminatedError(reason or "Activity terminated", *self.data_converter.from_payloads(details))
            case _:
                return None

    def _decoded(self, payloads: Sequence[Payload], hints: list[type] | None) -> list[Any] | None:
        return list(self.data_converter.from_payloads(payloads, hints)) if payloads else None


@dataclass(frozen=True)
class ActivityExecutionCountAggregationGroup:
    """So many activities share these values."""

    count: int
    group_values: Sequence[Any]


@dataclass(frozen=True)
class ActivityExecutionCount:
    """How many activities there are; ``groups``, if the query asks for them, say how many of each kind."""

    count: int
    groups: Sequence[ActivityExecutionCountAggregationGroup]


class ActivityExecutionAsyncIterator(Pager[ActivityExecution]):
    """Activities: ``async for each in client.list_activities(…)``."""

    def __init__(self, client: Client, query: str, **options: Any) -> None:
        def shown(run: RunInfo) -> ActivityExecution:
            return ActivityExecution(**ActivityExecution.fields(run))

        super().__init__(client, Filter(query, client.namespace, RunKind.ACTIVITY), shown, **options)

    def __aiter__(self) -> ActivityExecutionAsyncIterator:
        return self


async def count(client: Client, query: str) -> ActivityExecutionCount:
    """See `Client.count_activities`."""
    counted = await counting.count(client, query, RunKind.ACTIVITY)
    return ActivityExecutionCount(
        counted.count, [ActivityExecutionCountAggregationGroup(*group) for group in counted.groups]
    )


async def describe(client: Client, run: RunInfo) -> ActivityExecutionDescription:
    """One activity, from its run, its task and its history."""
    store = client.database.store
    what, of_run = f"activity {shown(run.workflow_id)!r}", for_workflow(client, run.workflow_id)
    stored = codec.decode_history(await store.history(run.run_id))
    events = [await read(of_run, event, what) if _is_of_run(event) else event for event in stored]
    task = next(iter(await store.tasks(run.run_id)), None) if run.status is RunStatus.RUNNING else None
    started = events[0]
    assert isinstance(started, WorkflowExecutionStarted)
    asked = _asked(client, started)
    converter = for_activity(client, asked.activity_id, asked.activity_type, asked.task_queue)
    progress = None if task is None else await read(converter, task.progress, what)
    begins = [event for event in events if isinstance(event, ActivityTaskStarted)]
    last = await read(converter, begins[-1], what) if begins else None
    if progress is not None:
        failure = progress.last_failure
    else:
        failure = _failure(events) or (None if last is None else last.last_failure)
    begun = task.started_us if task is not None and task.attempt else (0 if last is None else last.time_us)
    summary = None if started.user_metadata is None else started.user_metadata.summary
    pause = _pause(task)
    return ActivityExecutionDescription(
        **ActivityExecution.fields(run),
        attempt=max(1, task.attempt if task is not None else 1 if last is None else last.attempt),
        run_state=_state(run, task, events),
        canceled_reason=_reason(events),
        last_started_time=moment(begun) if begun else None,
        last_worker_identity=attempts.worker(task) if task is not None else (None if last is None else last.identity),
        next_attempt_schedule_time=moment(task.due_us) if task is not None and pause is not None else None,
        current_retry_interval=pause,
        expiration_time=_expiration(started, asked),
        raw_heartbeat_details=progress.heartbeat_details if progress is not None else (),
        raw_input=asked.input,
        raw_last_failure=failure,
        raw_outcome=ended if isinstance(ended := events[-1], ClosingEvent) else None,
        retry_policy=RetryPolicy.from_history(asked.retry_policy),
        priority=Priority.from_history(started.priority),
        summary=None if summary is None else str(converter.from_payloads([summary], [str])[0]),
        start_delay=_duration(started.first_workflow_task_backoff_us),
        schedule_to_close_timeout=_duration(asked.schedule_to_close_timeout_us),
        schedule_to_start_timeout=_duration(asked.schedule_to_start_timeout_us),
        start_to_close_timeout=_duration(asked.start_to_close_timeout_us),
        heartbeat_timeout=_duration(asked.heartbeat_timeout_us),
        ambiguous=task is not None and attempts.is_ambiguous(task),
        data_converter=converter,
    )


def _is_of_run(event: HistoryEvent) -> bool:
    """Was it written for the run, rather than for the activity in it?"""
    return isinstance(event, WorkflowExecutionStarted | ClosingEvent)


def _asked(client: Client, started: WorkflowExecutionStarted) -> StandaloneActivity:
    (fields,) = client.data_converter.from_payloads(started.input, [bytes])
    try:
        return standalone.asked(fields)
    except msgspec.MsgspecError as error:
        raise RPCError(
            f"activity {shown(started.workflow_id)!r} was started with what this version can't read: {error}",
            RPCStatusCode.INTERNAL,
        ) from error


def _failure(events: Sequence[HistoryEvent]) -> Failure | None:
    """Why it failed: the activity's own failure."""
    ended = events[-1]
    return own_failure(ended.failure) if isinstance(ended, WorkflowExecutionFailed) else None


def _reason(events: Sequence[HistoryEvent]) -> str | None:
    return next((each.cause for each in events if isinstance(each, WorkflowExecutionCancelRequested)), None)


def _state(run: RunInfo, task: ActivityTask | None, events: Sequence[HistoryEvent]) -> PendingActivityState | None:
    if run.status is not RunStatus.RUNNING:
        return None
    if _reason(events) is not None:
        return PendingActivityState.CANCEL_REQUESTED
    is_begun = task is not None and task.owner is not None
    if task is not None and task.control.pause is not None:
        return PendingActivityState.PAUSE_REQUESTED if is_begun else PendingActivityState.PAUSED
    return PendingActivityState.STARTED if is_begun else PendingActivityState.SCHEDULED


def _pause(task: ActivityTask | None) -> timedelta | None:
    """How long it waits between two attempts; None when it does not."""
    if task is None or task.owner is not None or task.attempt == 0:
        return None
    return timedelta(microseconds=task.spec.retry_policy.interval_us(task.attempt))


def _expiration(started: WorkflowExecutionStarted, asked: StandaloneActivity) -> datetime | None:
    timeout_us = asked.schedule_to_close_timeout_us
    begins_us = started.time_us + started.first_workflow_task_backoff_us
    return moment(begins_us + timeout_us) if timeout_us else None


def _duration(us: int) -> timedelta | None:
    return timedelta(microseconds=us) if us else None
