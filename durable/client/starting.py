"""What a start asks for: checked, converted, as the engine takes it; and the start."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from durable.client.beginning import begin
from durable.client.converting import encodes_headers, for_workflow, headers_of, stored
from durable.client.deadline import within
from durable.client.errors import InvalidArgument
from durable.client.inputs import StartWorkflowInput, UpdateWithStartStartWorkflowInput, signature_of
from durable.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy, duration_us
from durable.converter import DataConverter
from durable.converter.search_attributes import encode_search_attributes
from durable.history import cron
from durable.history.beginning import StartRequest
from durable.history.standalone import PREFIX
from durable.history.transition import Committed
from durable.history.values import Payload, UserMetadata, unstorable

if TYPE_CHECKING:
    from durable.client.client import Client
    from durable.client.handle import WorkflowHandle
    from durable.history.joining import Carrier

WORKFLOW_ID_MAX = 1000
TASK_TIMEOUT_US = 10_000_000


def start_request(client: Client, input: StartWorkflowInput | UpdateWithStartStartWorkflowInput) -> StartRequest:
    """The request, converted, and not encoded yet. ValueError, TypeError and ConversionError for what is wrong."""
    id = input.id
    if not id or len(id) > WORKFLOW_ID_MAX:
        raise ValueError(f"a workflow id has 1 to {WORKFLOW_ID_MAX} characters; this one has {len(id)}")
    if (why := unstorable("a workflow id", id)) is not None:
        raise ValueError(why)
    if id.startswith(PREFIX):
        raise ValueError(f"workflow ids that begin with {PREFIX} are the engine's own, of activities by themselves")
    if not input.task_queue:
        raise ValueError("a task queue needs a name")
    if input.cron_schedule and input.start_delay:
        raise InvalidArgument("cron_schedule and start_delay can't be used together: the schedule says when to begin")
    if input.cron_schedule:
        try:
            cron.check(input.cron_schedule)
        except ValueError as error:
            raise InvalidArgument(str(error)) from None
    converter = for_workflow(client, id)
    signature = signature_of(input.definition, input.workflow)
    if signature is not None:
        args = signature.encode(converter, input.args, input.kwargs or {})
    elif input.kwargs:
        raise ValueError("kwargs need the workflow itself, not its name: a name does not tell its parameters")
    else:
        args = converter.to_payloads(input.args)
    return StartRequest(
        namespace=client.namespace,
        workflow_id=id,
        workflow_type=input.workflow,
        task_queue=input.task_queue,
        input=args,
        header=headers_of(input.headers),
        request_id=input.request_id or client.database.store.new_id(),
        identity=client.identity,
        task_timeout_us=duration_us("task_timeout", input.task_timeout) or TASK_TIMEOUT_US,
        execution_timeout_us=duration_us("execution_timeout", input.execution_timeout),
        run_timeout_us=duration_us("run_timeout", input.run_timeout),
        retry_policy=None if input.retry_policy is None else input.retry_policy.to_history(),
        cron_schedule=input.cron_schedule,
        start_delay_us=duration_us("start_delay", input.start_delay),
        memo={key: converter.to_payloads([value])[0] for key, value in (input.memo or {}).items()},
        search_attributes={} if input.search_attributes is None else encode_search_attributes(input.search_attributes),
        priority=input.priority.to_history(),
        user_metadata=_metadata(converter, input.static_summary, input.static_details),
        reuse_policy=WorkflowIDReusePolicy(input.id_reuse_policy),
        conflict_policy=WorkflowIDConflictPolicy(input.id_conflict_policy),
    )


async def start(client: Client, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
    """See `Client.start_workflow`, without a signal."""
    begun = _begun(client, start_request(client, input), input.session)
    run_id = (await within(begun, input.rpc_timeout, start_of(input.id))).run_id
    return client.started_handle(input.id, run_id, input.ret_type, first_execution_run_id=run_id)


def _begun(client: Client, request: StartRequest, session: Carrier | None) -> Awaitable[Committed]:
    if client.data_converter.is_plain:
        return begin(client, request, session)  # the hot path: no frame more than it needs
    return _stored_and_begun(client, request, session)


async def _stored_and_begun(client: Client, request: StartRequest, session: Carrier | None) -> Committed:
    return await begin(client, await stored_start(client, request), session)


async def stored_start(client: Client, request: StartRequest) -> StartRequest:
    """The request as it is stored."""
    converter = for_workflow(client, request.workflow_id)
    return await stored(converter, request, start_of(request.workflow_id), headers=encodes_headers(client))


def start_of(workflow_id: str) -> str:
    return f"the start of workflow {workflow_id!r}"


def _metadata(converter: DataConverter, summary: str | None, details: str | None) -> UserMetadata | None:
    if summary is None and details is None:
        return None

    def payload(text: str | None) -> Payload | None:
        return None if text is None else converter.to_payloads([text])[0]

    return UserMetadata(summary=payload(summary), details=payload(details))
