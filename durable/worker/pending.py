"""What a run waits for: activities and timers that it has asked for."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from durable.activity import ActivityCancellationType
from durable.context import ActivityCall
from durable.exceptions import ActivityError, CancelledError, RetryState
from durable.history.events import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskTimedOut,
)
from durable.history.values import ActivityFailureInfo, CanceledFailureInfo, Failure, Payload
from durable.worker.loop import WorkflowFuture, WorkflowTask, WorkflowTimerHandle
from durable.workflow.calls import ActivityHandle

if TYPE_CHECKING:
    from durable.worker.replay import Run

Outcome = ActivityTaskCompleted | ActivityTaskFailed | ActivityTaskTimedOut | ActivityTaskCanceled


class PendingActivityHandle(WorkflowTask[Any], ActivityHandle[Any]):
    """An activity handle: cancelled before its first step it still cancels the activity, by the activity's rules."""

    activity: ActivityFuture
    stepped = False

    def cancel(self, msg: Any | None = None) -> bool:
        if not self.stepped and not self.done():
            self.activity.run.before_cancel()
            return self.activity.cancel(msg)
        return super().cancel(msg)


class ActivityFuture(WorkflowFuture[list[Payload]]):
    """An activity's outcome. Cancelled, directly or through the task that awaits it, it obeys its cancellation type."""

    run: Run
    call: ActivityCall
    activity_id: str
    index: int
    scheduled_event_id = 0
    temporal_style = False
    cancel_asked = False

    def cancel_now(self) -> None:
        """As asyncio cancels a future."""
        super().cancel()

    def cancel(self, msg: Any | None = None) -> bool:
        if self.done():
            return False
        if self.run.evicting:
            return super().cancel(msg)
        sent = self.scheduled_event_id != 0
        if self.call.cancellation_type != ActivityCancellationType.ABANDON:
            self.run.activities.request_cancel(self)
            if sent and self.call.cancellation_type == ActivityCancellationType.WAIT_CANCELLATION_COMPLETED:
                return True
        if not self.temporal_style:
            return super().cancel(msg)
        self.fail(cancelled_error(self))
        return True

    def fail(self, error: BaseException) -> None:
        self.set_exception(error)
        self.exception()  # retrieved: an activity nobody awaits is no news


def cancelled_error(future: ActivityFuture) -> ActivityError:
    """What whoever awaits an activity that it has cancelled gets, in Temporal's style."""
    error = ActivityError(
        "Activity cancelled",
        scheduled_event_id=future.scheduled_event_id,
        started_event_id=0,
        identity="",
        activity_type=future.call.activity_type,
        activity_id=future.activity_id,
        retry_state=RetryState.CANCEL_REQUESTED,
    )
    error.__cause__ = CancelledError("Cancelled")
    return error


class CalledActivity(ActivityFuture):
    """The outcome of an activity's call that interceptors have a hand in.

    It gives the value itself, and no task stands between: code with interceptors takes as many turns of the loop as
    without, so that either replays what the other has done.
    """

    def result(self) -> Any:
        return self.run.decoded(super().result(), self)

    def __await__(self) -> Generator[Any, None, Any]:
        return self.run.decoded((yield from super().__await__()), self)


class Timer:
    __slots__ = ("handle", "index", "started_event_id", "timer_id")

    def __init__(self, handle: WorkflowTimerHandle, timer_id: str, index: int) -> None:
        self.handle = handle
        self.timer_id = timer_id
        self.index = index
        self.started_event_id = 0


def activity_failure(future: ActivityFuture, event: Outcome) -> Failure:
    """The failure that the workflow sees: Temporal's ActivityError around the activity's own."""
    retry_state = RetryState.CANCEL_REQUESTED
    cause = Failure(message="Cancelled", source="durable", info=CanceledFailureInfo())
    message, identity = "Activity cancelled", ""
    if isinstance(event, ActivityTaskFailed | ActivityTaskTimedOut):
        retry_state = RetryState(event.retry_state)
        cause = event.failure
        message = "Activity task failed" if isinstance(event, ActivityTaskFailed) else "Activity task timed out"
    elif isinstance(event, ActivityTaskCanceled) and event.details:
        cause = Failure(message="Cancelled", source="durable", info=CanceledFailureInfo(details=event.details))
    if not isinstance(event, ActivityTaskTimedOut):
        identity = event.identity
    return Failure(
        message=message,
        source="durable",
        cause=cause,
        info=ActivityFailureInfo(
            scheduled_event_id=event.scheduled_event_id,
            started_event_id=event.started_event_id,
            identity=identity,
            activity_type=future.call.activity_type,
            activity_id=future.activity_id,
            retry_state=retry_state,
        ),
    )
