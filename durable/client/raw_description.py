"""A description in the names of Temporal's own messages, for programs that read ``raw_description``.

Only what durable knows is there. Times are aware datetimes, UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from durable.client.description import moment
from durable.common import Priority
from durable.history import attempts
from durable.history.transition import ActivityPause, ActivityTask
from durable.history.values import Failure, Payload


class PendingActivityState(IntEnum):
    """Where an activity that is not over stands. Values are Temporal's."""

    UNSPECIFIED = 0
    SCHEDULED = 1
    STARTED = 2
    CANCEL_REQUESTED = 3
    PAUSED = 4
    PAUSE_REQUESTED = 5


@dataclass(frozen=True)
class ActivityType:
    name: str


@dataclass(frozen=True)
class Payloads:
    payloads: Sequence[Payload]


@dataclass(frozen=True)
class ManualPause:
    """Who paused it, and why."""

    identity: str
    reason: str


@dataclass(frozen=True)
class PauseInfo:
    pause_time: datetime
    manual: ManualPause


@dataclass(frozen=True)
class RawPendingActivityInfo:
    """An activity that is not over. ``attempt`` is the one under way, or the next one, from 1."""

    activity_id: str
    activity_type: ActivityType
    state: PendingActivityState
    heartbeat_details: Payloads
    attempt: int
    maximum_attempts: int
    """0: no limit."""
    scheduled_time: datetime
    """Since when its present attempt may begin, or may have begun."""
    last_started_time: datetime | None
    """When the attempt under way began."""
    next_attempt_schedule_time: datetime | None
    """When the next attempt may begin, if there was one before."""
    expiration_time: datetime | None
    """When its schedule-to-close timeout is over."""
    last_failure: Failure | None
    last_worker_identity: str
    """The id of the worker that runs it; "" of one that none does."""
    paused: bool
    pause_info: PauseInfo | None
    priority: Priority
    ambiguous: bool
    """Not Temporal's: see `durable.client.PendingActivityInfo`."""

    @staticmethod
    def of(task: ActivityTask) -> RawPendingActivityInfo:
        spec, began, pause = task.spec, task.owner is not None, task.control.pause
        due = moment(task.due_us)
        ends_us = spec.scheduled_us + spec.schedule_to_close_timeout_us if spec.schedule_to_close_timeout_us else None
        return RawPendingActivityInfo(
            activity_id=spec.activity_id,
            activity_type=ActivityType(spec.activity_type),
            state=_state(task),
            heartbeat_details=Payloads(task.progress.heartbeat_details),
            attempt=task.attempt if began else task.attempt + 1,
            maximum_attempts=spec.retry_policy.maximum_attempts,
            scheduled_time=due,
            last_started_time=moment(task.started_us) if began else None,
            next_attempt_schedule_time=due if task.attempt and not began else None,
            expiration_time=None if ends_us is None else moment(ends_us),
            last_failure=task.progress.last_failure,
            last_worker_identity=attempts.worker(task) or "",
            paused=pause is not None,
            pause_info=None if pause is None else _pause_info(pause),
            priority=Priority.from_history(spec.priority),
            ambiguous=attempts.is_ambiguous(task),
        )


@dataclass(frozen=True)
class RawWorkflowDescription:
    """What ``raw_description`` of a `WorkflowExecutionDescription` is."""

    pending_activities: Sequence[RawPendingActivityInfo]


def _pause_info(pause: ActivityPause) -> PauseInfo:
    return PauseInfo(moment(pause.time_us), ManualPause(identity=pause.identity, reason=pause.reason))


def _state(task: ActivityTask) -> PendingActivityState:
    paused, began = task.control.pause is not None, task.owner is not None
    if task.cancel_requested:
        return PendingActivityState.CANCEL_REQUESTED
    if paused:
        return PendingActivityState.PAUSE_REQUESTED if began else PendingActivityState.PAUSED
    return PendingActivityState.STARTED if began else PendingActivityState.SCHEDULED
