"""The runs behind activities without a workflow: told of in the words of activities."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from durable.client import activity_executions, sending, termination
from durable.client.activity_executions import ActivityExecutionDescription
from durable.client.activity_inputs import CancelActivityInput, DescribeActivityInput, TerminateActivityInput
from durable.client.deadline import within
from durable.client.inputs import CancelWorkflowInput, TerminateWorkflowInput
from durable.history.standalone import PREFIX, hidden
from durable.service import RPCError, RPCStatusCode

if TYPE_CHECKING:
    from durable.client.client import Client


async def cancel(client: Client, input: CancelActivityInput) -> None:
    """See `ActivityHandle.cancel`."""
    with of_activities():
        await sending.cancel(
            client,
            CancelWorkflowInput(
                id=hidden(input.activity_id),
                run_id=input.activity_run_id,
                first_execution_run_id=None,
                reason=input.reason or "",
                rpc_metadata=input.rpc_metadata,
                rpc_timeout=input.rpc_timeout,
            ),
        )


async def terminate(client: Client, input: TerminateActivityInput) -> None:
    """See `ActivityHandle.terminate`."""
    with of_activities():
        await termination.terminate(
            client,
            TerminateWorkflowInput(
                id=hidden(input.activity_id),
                run_id=input.activity_run_id,
                first_execution_run_id=None,
                args=[],
                reason=input.reason or "Activity terminated",
                rpc_metadata=input.rpc_metadata,
                rpc_timeout=input.rpc_timeout,
            ),
        )


async def describe(client: Client, input: DescribeActivityInput) -> ActivityExecutionDescription:
    """See `ActivityHandle.describe`."""
    described = _described(client, input)
    return await within(described, input.rpc_timeout, f"activity {input.activity_id!r}: its description")


async def _described(client: Client, input: DescribeActivityInput) -> ActivityExecutionDescription:
    id, run_id = input.activity_id, input.activity_run_id
    run = await client.database.store.find(client.namespace, hidden(id), run_id)
    if run is None:
        which = f" with run id {run_id}" if run_id else ""
        raise RPCError(f"no activity {id!r}{which} in namespace {client.namespace!r}", RPCStatusCode.NOT_FOUND)
    return await activity_executions.describe(client, run)


@contextmanager
def of_activities() -> Generator[None]:
    """What is said of a run is said of its activity."""
    try:
        yield
    except (RPCError, ValueError) as error:
        text = str(error)
        if PREFIX not in text:
            raise
        text = text.replace(f"workflow '{PREFIX}", "activity '").replace(PREFIX, "").replace("workflow", "activity")
        raise (RPCError(text, error.status) if isinstance(error, RPCError) else ValueError(text)) from None
