"""The engine's own workflow: one activity that a client has started, its result, and nothing else."""

from __future__ import annotations

from msgspec import msgpack

from durable.activity import ActivityCancellationType
from durable.common import RawValue
from durable.context import ActivityCall, this_workflow
from durable.history.values import ActivityFields
from durable.workflow.definition import WorkflowDefinition, defn


class StandaloneActivity(ActivityFields, frozen=True, kw_only=True):
    """What the client asked for."""

    task_queue: str


_decode = msgpack.Decoder(StandaloneActivity).decode


@defn(name="__temporal_activity")
async def run_activity(asked: bytes) -> RawValue:
    """Its failure fails the run, and whoever cancels the run waits for what the activity makes of it."""
    activity = _decode(asked)
    call = ActivityCall(
        activity_type=activity.activity_type,
        input=activity.input,
        header=activity.header,
        result_type=RawValue,
        task_queue=activity.task_queue,
        activity_id=activity.activity_id,
        schedule_to_close_timeout_us=activity.schedule_to_close_timeout_us,
        schedule_to_start_timeout_us=activity.schedule_to_start_timeout_us,
        start_to_close_timeout_us=activity.start_to_close_timeout_us,
        heartbeat_timeout_us=activity.heartbeat_timeout_us,
        retry_policy=activity.retry_policy,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )
    result: RawValue = await this_workflow().start_activity(call)
    return result


DEFINITION = WorkflowDefinition.must_be(run_activity)


def asked(fields: bytes) -> StandaloneActivity:
    """What a run was started with; `msgspec.ValidationError` when it is something else."""
    return _decode(fields)
