"""Pure: local activities: tasks that are in no history until the code has been told how they ended.

A local activity's task is a row like any other, with the same attempts, timeouts and recovery, under a number that no
event has: minus its sequence number in the run. It gets no event of its own when it is scheduled, for the code that
asked for it asks again in every replay (the end of that workflow task names it, to tell code that does not); and none
when it ends: the code hears of the outcome, and records it in a marker.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from durable.history import attempts, codec
from durable.history.answering import Draft
from durable.history.messages import ActivityOutcome, Canceled
from durable.history.transition import ActivityCancel, ActivitySpec, ActivityTask
from durable.history.values import ActivityFields, LocalActivityAsked


class ScheduleLocalActivity(ActivityFields, frozen=True, kw_only=True):
    """What the code asks for; ``seq`` counts the activities of the run, local or not."""

    seq: int


class LocalRequests(Struct, frozen=True):
    """What a workflow task asks of local activities besides its commands, which become events: these do not."""

    schedules: Sequence[ScheduleLocalActivity] = ()
    cancels: Sequence[int] = ()
    """By their sequence numbers."""


NO_REQUESTS = LocalRequests()


def asked_for(requests: LocalRequests) -> list[LocalActivityAsked]:
    """What the workflow task says of them in the history."""
    return [LocalActivityAsked(seq=each.seq, activity_type=each.activity_type) for each in requests.schedules]


def task_key(seq: int) -> int:
    """What stands in the place of a scheduled event's id."""
    return -seq


def is_local(scheduled_event_id: int) -> bool:
    return scheduled_event_id < 0


def request(draft: Draft, requests: LocalRequests) -> None:
    """Put the tasks, and what is asked of them, into the transition."""
    for schedule in requests.schedules:
        draft.tasks.append(_task(draft, schedule))
    for seq in requests.cancels:
        outcome = ActivityOutcome(scheduled_event_id=task_key(seq), outcome=Canceled())
        draft.cancelled_activities.append(
            ActivityCancel(scheduled_event_id=task_key(seq), outcome=codec.pack(outcome, draft.now_us))
        )


def _task(draft: Draft, schedule: ScheduleLocalActivity) -> ActivityTask:
    fields = {name: getattr(schedule, name) for name in ActivityFields.__struct_fields__}
    spec = ActivitySpec(
        workflow_id=draft.workflow_id, workflow_type=draft.workflow_type, scheduled_us=draft.now_us, **fields
    )
    return attempts.waiting(
        ActivityTask(
            run_id=draft.run_id,
            scheduled_event_id=task_key(schedule.seq),
            task_queue=draft.workflow_task_queue,
            workflow_task_queue=draft.workflow_task_queue,
            due_us=draft.now_us,
            spec=spec,
        )
    )
