"""Ending a workflow without asking its code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from durable.client.converting import for_workflow, stored
from durable.client.errors import already_completed
from durable.client.inputs import TerminateWorkflowInput
from durable.client.joining import check_no_transaction
from durable.client.sending import found, not_found, within_of
from durable.history import codec, ending
from durable.history.errors import CorruptHistory
from durable.history.messages import HOLDS_OPEN
from durable.history.state import State, fold
from durable.history.steps import Incoming
from durable.history.transition import Refusal, Refused, RunInfo, StoredMessage, Transition
from durable.history.values import Payload

if TYPE_CHECKING:
    from durable.client.client import Client


async def terminate(client: Client, input: TerminateWorkflowInput) -> None:
    """See `WorkflowHandle.terminate`."""
    converter = for_workflow(client, input.id)
    details = converter.to_payloads(input.args)

    async def ended() -> None:
        as_stored = await stored(converter, details, f"the end of workflow {input.id!r}")
        await end(client, input.id, input.run_id, input.first_execution_run_id, input.reason or "", as_stored)

    await within_of(input.id, ended(), input.rpc_timeout, "its end")


async def end(
    client: Client,
    workflow_id: str,
    run_id: str | None,
    first_execution_run_id: str | None,
    reason: str,
    details: Sequence[Payload] = (),
) -> None:
    """End the run, or raise why it can't be. The details are stored as they are. For the worker too."""
    check_no_transaction()
    while True:
        run = await found(client, workflow_id, run_id)
        if first_execution_run_id not in (None, run.first_execution_run_id):
            raise not_found(client, workflow_id, first_execution_run_id)
        if run.closed_us is not None:
            raise already_completed(workflow_id)
        outcome = await client.database.write(await termination(client, run, reason, details))
        if not isinstance(outcome, Refused):
            return
        if outcome.reason is Refusal.INVALID:
            raise ValueError(f"the database refuses to end workflow {workflow_id!r}: {outcome.detail}")


async def termination(client: Client, run: RunInfo, reason: str, details: Sequence[Payload]) -> Transition:
    """The transition that ends an open run as it was when ``run`` was read; refused if it has moved on since.

    A run that can't be read can be ended all the same; then its unread signals are lost with it.
    """
    store = client.database.store
    inbox = await store.inbox(run.run_id)
    rows = await store.history(run.run_id)
    try:
        events = codec.decode_history(rows)
        state = fold(State(), [event for event in events if event.id <= run.last_event_id])
        incoming = [_incoming(each) for each in inbox if each.kind in HOLDS_OPEN]
        readable = True
    except CorruptHistory:
        state, incoming, readable = State(last_event_id=run.last_event_id), [], False
    step = ending.terminate(
        state,
        run.run_id,
        incoming,
        store.now_us(),
        reason=reason,
        details=details,
        identity=client.identity,
    )
    return msgspec.structs.replace(step.transition, refuse_unread=readable)


def _incoming(stored: StoredMessage) -> Incoming:
    return Incoming(codec.decode_message(stored.body), stored.due_us, stored.id)
