"""What a client can learn of a run: its row, its unread messages, its activities that are not over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from durable.client.converting import for_task, message_of, read
from durable.client.description import (
    PendingActivityInfo,
    PendingMessageInfo,
    WorkflowExecution,
    WorkflowExecutionDescription,
    moment,
)
from durable.client.inputs import DescribeWorkflowInput
from durable.client.raw_description import RawPendingActivityInfo, RawWorkflowDescription
from durable.client.sending import found, within_of
from durable.history import codec
from durable.history.errors import CorruptHistory
from durable.history.events import HistoryEvent
from durable.history.messages import Query, Signal, Update
from durable.history.transition import ActivityTask, RunInfo, StoredMessage

if TYPE_CHECKING:
    from durable.client.client import Client


async def describe(client: Client, input: DescribeWorkflowInput) -> WorkflowExecutionDescription:
    """See `WorkflowHandle.describe`."""
    return await within_of(input.id, _described(client, input), input.rpc_timeout, "its description")


async def _described(client: Client, input: DescribeWorkflowInput) -> WorkflowExecutionDescription:
    run = await found(client, input.id, input.run_id)
    store = client.database.store
    tasks = [await _readable(client, task) for task in await store.tasks(run.run_id)]
    return WorkflowExecutionDescription(
        **WorkflowExecution.fields(run, client.data_converter),
        first_events=lambda: _events(client, run),
        worker=run.owner,
        history_bytes=run.history_bytes,
        pending_activities=[PendingActivityInfo.of(task) for task in tasks],
        pending_messages=[
            PendingMessageInfo(kind=stored.kind, name=_name(stored), due=moment(stored.due_us))
            for stored in await store.inbox(run.run_id)
        ],
        raw_description=RawWorkflowDescription([RawPendingActivityInfo.of(task) for task in tasks]),
    )


async def _events(client: Client, run: RunInfo) -> list[HistoryEvent]:
    return codec.decode_history(await client.database.store.history(run.run_id))


async def _readable(client: Client, task: ActivityTask) -> ActivityTask:
    """With heartbeat details and the last failure as they were before they were stored."""
    converter = for_task(client, task)
    what = f"what activity {task.spec.activity_id!r} of workflow {task.spec.workflow_id!r} has told"
    progress = await read(converter, task.progress, what)
    failure = progress.last_failure
    if failure is not None and failure.encoded_attributes is not None:
        told = msgspec.structs.replace(failure, message=message_of(converter, failure))
        progress = msgspec.structs.replace(progress, last_failure=told)
    return task if progress is task.progress else msgspec.structs.replace(task, progress=progress)


def _name(stored: StoredMessage) -> str:
    try:
        message = codec.decode_message(stored.body)
    except CorruptHistory as error:
        return str(error)
    match message:
        case Signal(name=name) | Query(name=name):
            return name
        case Update(request=request):
            return request.input.name
        case _:
            return ""
