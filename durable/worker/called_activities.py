"""Pure: the activities of one run: what its code asks of them, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from durable.activity import ActivityCancellationType
from durable.context import ActivityCall
from durable.history.commands import Command, RequestCancelActivityTask, ScheduleActivityTask
from durable.history.events import ActivityTaskCanceled, ActivityTaskCompleted
from durable.history.local_activities import is_local
from durable.worker.local_activities import BackOff
from durable.worker.pending import ActivityFuture, CalledActivity, Outcome, PendingActivityHandle, activity_failure
from durable.workflow.calls import ActivityHandle

if TYPE_CHECKING:
    from durable.worker.replay import Run


class CalledActivities:
    """Those of one run; what is under way, by the id of the event that scheduled it. ``count`` were asked for."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._pending: dict[int, ActivityFuture] = {}
        self._cancels: list[int] = []
        self.count = 0

    def next_number(self) -> int:
        """Activities, local or not, are numbered in the order in which the code asks for them."""
        self.count += 1
        return self.count

    # -- what the code asks for

    def start(self, call: ActivityCall) -> ActivityHandle[Any]:
        future = self._schedule(call, ActivityFuture)
        future.temporal_style = True

        async def outcome() -> Any:
            handle.stepped = True
            return self._run.decoded(await future, future)

        handle = PendingActivityHandle(outcome(), loop=self._run.loop, name=f"activity-{future.activity_id}")
        handle.activity = future
        return handle

    def start_local(self, call: ActivityCall) -> ActivityHandle[Any]:
        self._run.must_write("schedule local activity")
        local, loop = self._run.local, self._run.loop

        async def outcome() -> Any:
            handle.stepped = True
            while True:
                try:
                    return self._run.decoded(await handle.activity, handle.activity)
                except BackOff as again:
                    await asyncio.sleep(again.backoff_us / 1_000_000)
                    handle.activity = local.schedule(call, loop)

        future = local.schedule(call, loop)
        handle = PendingActivityHandle(outcome(), loop=loop, name=f"local-activity-{future.activity_id}")
        handle.activity = future
        return handle

    async def called(self, future: ActivityFuture) -> Any:
        """The result of what `schedule` has given."""
        return self._run.decoded(await future, future)

    def schedule(self, call: ActivityCall) -> ActivityFuture:
        return self._schedule(call, ActivityFuture)

    def schedule_intercepted(self, call: ActivityCall) -> ActivityHandle[Any]:
        """What interceptors get of a call; no task, for what is called has none."""
        return cast("ActivityHandle[Any]", self._schedule(call, CalledActivity))

    def _schedule(self, call: ActivityCall, kind: Callable[..., ActivityFuture]) -> ActivityFuture:
        self._run.must_write("schedule activity")
        future = kind(loop=self._run.loop)
        future.run, future.call = self._run, call
        future.activity_id = call.activity_id or str(self.next_number())
        command = ScheduleActivityTask(
            activity_id=future.activity_id,
            activity_type=call.activity_type,
            task_queue=call.task_queue or self._run.task_queue,
            input=call.input,
            header=call.header,
            schedule_to_close_timeout_us=call.schedule_to_close_timeout_us,
            schedule_to_start_timeout_us=call.schedule_to_start_timeout_us,
            start_to_close_timeout_us=call.start_to_close_timeout_us,
            heartbeat_timeout_us=call.heartbeat_timeout_us,
            retry_policy=call.retry_policy,
            priority=call.priority,
            user_metadata=self._run.summarized(call.summary),
        )
        future.index = self._run.ask(command, future)
        return future

    def request_cancel(self, future: ActivityFuture) -> None:
        """Take back a call that is not sent yet, or ask the activity to end (once)."""
        if not future.scheduled_event_id:
            self._run.take_back(future.index)
            return
        if future.call.cancellation_type == ActivityCancellationType.TRY_CANCEL:
            self._pending.pop(future.scheduled_event_id, None)
        if not future.cancel_asked and future.scheduled_event_id not in self._run.over:
            future.cancel_asked = True
            self._cancels.append(future.scheduled_event_id)

    def record_cancelled(self, task_key: int) -> None:
        """The code has cancelled a local activity, which is its outcome."""
        self._cancels.append(task_key)

    def cancels(self) -> list[Command]:
        """The cancellations of one go, by age: anyio cancels nested scopes in no fixed order."""
        if not self._cancels:
            return []
        cancels, self._cancels = sorted(self._cancels), []
        return [
            self._run.local.cancelled_marker(event_id)
            if is_local(event_id)
            else RequestCancelActivityTask(scheduled_event_id=event_id)
            for event_id in cancels
        ]

    # -- what became of them

    def pending(self, event_id: int) -> ActivityFuture | None:
        """What waits for the outcome of the one that this event scheduled."""
        return self._pending.get(event_id)

    def bind(self, future: ActivityFuture, event_id: int) -> None:
        """It has become this event."""
        future.scheduled_event_id = event_id
        self._pending[event_id] = future

    def hear(self, event: Outcome) -> None:
        future = self._pending.pop(event.scheduled_event_id, None)
        if future is None or future.done():
            return
        if isinstance(event, ActivityTaskCompleted):
            future.set_result(event.result)
        elif isinstance(event, ActivityTaskCanceled) and not future.temporal_style:
            future.cancel_now()
        else:
            future.fail(self._run.converter_of(future).from_failure(activity_failure(future, event)))
