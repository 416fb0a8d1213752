"""How a workflow ended: waited for, and told as its result or its error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable import exceptions
from durable.client.converting import for_workflow, read, value_of
from durable.client.errors import WorkflowContinuedAsNewError, WorkflowFailureError
from durable.exceptions import CancelledError, TerminatedError, TimeoutType
from durable.history.events import (
    ClosingEvent,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    successor_of,
)

if TYPE_CHECKING:
    from durable.client.client import Client


async def closing_event(client: Client, run_id: str, *, follow_runs: bool) -> ClosingEvent:
    """The event that closed the run, or the last of those that followed it, as soon as it is there."""
    event = await client.database.closing_event(run_id)
    while follow_runs and (next_run_id := successor_of(event)):
        event = await client.database.closing_event(next_run_id)
    return event


async def outcome(client: Client, workflow_id: str, event: ClosingEvent, hint: Any) -> Any:
    """The result; `WorkflowFailureError` if there is none, `WorkflowContinuedAsNewError` if another run is to tell."""
    converter, what = for_workflow(client, workflow_id), f"workflow {workflow_id!r}: its result"
    match event:
        case WorkflowExecutionCompleted(result=result):
            return value_of(converter, await read(converter, result, what), hint, what)
        case WorkflowExecutionFailed(failure=failure):
            raise WorkflowFailureError(cause=converter.from_failure(await read(converter, failure, what)))
        case WorkflowExecutionCanceled(details=details):
            values = converter.from_payloads(await read(converter, details, what))
            raise WorkflowFailureError(cause=CancelledError("Workflow cancelled", *values))
        case WorkflowExecutionContinuedAsNew(new_execution_run_id=run_id):
            raise WorkflowContinuedAsNewError(run_id)
        case WorkflowExecutionTimedOut():
            cause = exceptions.TimeoutError(
                "Workflow timed out", type=TimeoutType.START_TO_CLOSE, last_heartbeat_details=[]
            )
            raise WorkflowFailureError(cause=cause)
        case WorkflowExecutionTerminated(details=details, reason=reason):
            values = converter.from_payloads(await read(converter, details, what))
            raise WorkflowFailureError(cause=TerminatedError(reason or "Workflow terminated", *values))
