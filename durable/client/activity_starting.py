"""What the start of an activity without a workflow asks for, as the engine takes it; and the start."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from durable.activity import activity_call
from durable.client.activity_handle import ActivityHandle
from durable.client.activity_inputs import StartActivityInput
from durable.client.activity_runs import of_activities
from durable.client.beginning import begin
from durable.client.converting import for_activity, for_workflow, headers_of, stored
from durable.client.deadline import within
from durable.client.inputs import signature_of
from durable.common import RawValue
from durable.converter.search_attributes import encode_search_attributes
from durable.exceptions import ActivityAlreadyStartedError, WorkflowAlreadyStartedError
from durable.history import codec
from durable.history.beginning import StartRequest
from durable.history.standalone import PREFIX, hidden
from durable.history.transition import Committed
from durable.history.values import NAME_BYTES_MAX, IdConflictPolicy, IdReusePolicy, UserMetadata, unstorable
from durable.workflow.standalone import StandaloneActivity

if TYPE_CHECKING:
    from durable.client.client import Client

ACTIVITY_ID_MAX = 900


async def start(client: Client, input: StartActivityInput) -> ActivityHandle[Any]:
    """See `Client.start_activity`."""
    request, id = _request(client, input), input.id

    async def begun() -> Committed:
        converter = for_workflow(client, request.workflow_id)
        return await begin(client, await stored(converter, request, f"the start of activity {id!r}"), input.session)

    try:
        with of_activities():
            run_id = (await within(begun(), input.rpc_timeout, f"activity {id!r}: its start")).run_id
    except WorkflowAlreadyStartedError as error:
        raise ActivityAlreadyStartedError(id, input.activity_type, run_id=error.run_id) from None
    run = client.started_handle(hidden(id), run_id, RawValue, first_execution_run_id=run_id)
    return ActivityHandle(client, id, run_id=run_id, run=run, result_type=input.result_type)


def _request(client: Client, input: StartActivityInput) -> StartRequest:
    """The request, converted, and not encoded yet. ValueError, TypeError and ConversionError for what is wrong."""
    id, task_queue = input.id, input.task_queue
    if input.start_to_close_timeout is None and input.schedule_to_close_timeout is None:
        raise ValueError("Activity must have start_to_close_timeout or schedule_to_close_timeout")
    if not id or len(id) > ACTIVITY_ID_MAX:
        raise ValueError(f"an activity id has 1 to {ACTIVITY_ID_MAX} characters; this one has {len(id)}")
    if not task_queue:
        raise ValueError("task_queue can't be empty")
    named = (("an activity id", id), ("an activity type", input.activity_type), ("a task queue", task_queue))
    for what, name in named:
        if (why := unstorable(what, name, NAME_BYTES_MAX - len(PREFIX))) is not None:
            raise ValueError(why)
    delay = input.start_delay or timedelta()
    if delay < timedelta():
        raise ValueError("start_delay can't be negative")
    converter = for_activity(client, id, input.activity_type, task_queue)
    signature = signature_of(input.definition, input.activity_type)
    call = activity_call(
        input.activity_type,
        converter.to_payloads(input.args) if signature is None else signature.encode(converter, input.args, {}),
        input.result_type,
        schedule_to_close_timeout=input.schedule_to_close_timeout,
        schedule_to_start_timeout=input.schedule_to_start_timeout,
        start_to_close_timeout=input.start_to_close_timeout,
        heartbeat_timeout=input.heartbeat_timeout,
        retry_policy=input.retry_policy,
    )
    asked = StandaloneActivity(
        activity_id=id,
        activity_type=call.activity_type,
        task_queue=task_queue,
        input=call.input,
        header=headers_of(input.headers),
        schedule_to_close_timeout_us=call.schedule_to_close_timeout_us,
        schedule_to_start_timeout_us=call.schedule_to_start_timeout_us,
        start_to_close_timeout_us=call.start_to_close_timeout_us,
        heartbeat_timeout_us=call.heartbeat_timeout_us,
        retry_policy=call.retry_policy,
    )
    return StartRequest(
        namespace=client.namespace,
        workflow_id=hidden(id),
        workflow_type=hidden(call.activity_type),
        task_queue=hidden(task_queue),
        input=client.data_converter.to_payloads([codec.encode(asked)]),
        request_id=input.request_id or client.database.store.new_id(),
        identity=client.identity,
        search_attributes={} if input.search_attributes is None else encode_search_attributes(input.search_attributes),
        priority=input.priority.to_history(),
        user_metadata=None
        if input.summary is None
        else UserMetadata(summary=converter.to_payloads([input.summary])[0]),
        start_delay_us=delay // timedelta(microseconds=1),
        reuse_policy=IdReusePolicy(input.id_reuse_policy),
        conflict_policy=IdConflictPolicy(input.id_conflict_policy),
    )
