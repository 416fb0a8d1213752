"""What a start asks for: the options of `Client.start_workflow`, checked, as the engine takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from durable.common import (
    Priority,
    RetryPolicy,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
    duration_us,
)
from durable.converter import DataConverter
from durable.history import cron
from durable.history.beginning import StartRequest
from durable.history.standalone import PREFIX
from durable.history.values import Payload, UserMetadata, unstorable
from durable.service import RPCError, RPCStatusCode
from durable.workflow.definition import WorkflowDefinition

if TYPE_CHECKING:
    from durable.client.client import Client

WORKFLOW_ID_MAX = 1000
TASK_TIMEOUT_US = 10_000_000


def start_request(
    client: Client,
    workflow: Any,
    args: Sequence[Any],
    *,
    id: str,
    kwargs: Mapping[str, Any] | None,
    request_id: str | None,
    task_queue: str,
    result_type: Any,
    execution_timeout: timedelta | None,
    run_timeout: timedelta | None,
    task_timeout: timedelta | None,
    id_reuse_policy: WorkflowIDReusePolicy,
    id_conflict_policy: WorkflowIDConflictPolicy,
    retry_policy: RetryPolicy | None,
    cron_schedule: str,
    memo: Mapping[str, Any] | None,
    search_attributes: dict[str, Payload],
    static_summary: str | None,
    static_details: str | None,
    start_delay: timedelta | None,
    priority: Priority,
) -> tuple[StartRequest, Any]:
    """The request, and the type of the result."""
    if not id or len(id) > WORKFLOW_ID_MAX:
        raise ValueError(f"a workflow id has 1 to {WORKFLOW_ID_MAX} characters; this one has {len(id)}")
    if (why := unstorable("a workflow id", id)) is not None:
        raise ValueError(why)
    if id.startswith(PREFIX):
        raise ValueError(f"workflow ids that begin with {PREFIX} are the engine's own, of activities by themselves")
    if not task_queue:
        raise ValueError("a task queue needs a name")
    if cron_schedule and start_delay:
        raise _invalid("cron_schedule and start_delay can't be used together: the schedule says when to begin")
    if cron_schedule:
        try:
            cron.check(cron_schedule)
        except ValueError as error:
            raise _invalid(str(error)) from None
    converter = client.data_converter
    definition = None if isinstance(workflow, str) else WorkflowDefinition.to_invoke(workflow)
    if definition is not None:
        input = definition.signature.encode(converter, args, kwargs or {})
    elif kwargs:
        raise ValueError("kwargs need the workflow itself, not its name: a name does not tell its parameters")
    else:
        input = converter.to_payloads(args)
    request = StartRequest(
        namespace=client.namespace,
        workflow_id=id,
        workflow_type=workflow if definition is None else definition.name,
        task_queue=task_queue,
        input=input,
        request_id=request_id or client.database.store.new_id(),
        identity=client.identity,
        task_timeout_us=duration_us("task_timeout", task_timeout) or TASK_TIMEOUT_US,
        execution_timeout_us=duration_us("execution_timeout", execution_timeout),
        run_timeout_us=duration_us("run_timeout", run_timeout),
        retry_policy=None if retry_policy is None else retry_policy.to_history(),
        cron_schedule=cron_schedule,
        start_delay_us=duration_us("start_delay", start_delay),
        memo={key: converter.to_payloads([value])[0] for key, value in (memo or {}).items()},
        search_attributes=search_attributes,
        priority=priority.to_history(),
        user_metadata=_metadata(converter, static_summary, static_details),
        reuse_policy=WorkflowIDReusePolicy(id_reuse_policy),
        conflict_policy=WorkflowIDConflictPolicy(id_conflict_policy),
    )
    if result_type is None and definition is not None:
        result_type = definition.signature.return_hint
    return request, result_type


class InvalidArgument(RPCError, ValueError):
    """What Temporal's server would refuse; caught as either."""

    def __init__(self, message: str) -> None:
        super().__init__(message, RPCStatusCode.INVALID_ARGUMENT)


def _invalid(message: str) -> InvalidArgument:
    return InvalidArgument(message)


def _metadata(converter: DataConverter, summary: str | None, details: str | None) -> UserMetadata | None:
    if summary is None and details is None:
        return None

    def payload(text: str | None) -> Payload | None:
        return None if text is None else converter.to_payloads([text])[0]

    return UserMetadata(summary=payload(summary), details=payload(details))
