"""What is sent to a workflow: signals, queries, updates and cancel requests, until it is known that they are there."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from durable.client.converting import encodes_headers, for_workflow, headers_of, stored
from durable.client.deadline import within
from durable.client.errors import already_completed
from durable.client.inputs import CancelWorkflowInput, Definition, SignalWorkflowInput, signature_of
from durable.client.joining import check_no_transaction, write_within
from durable.history import codec
from durable.history.errors import UnknownOutcome
from durable.history.messages import CancelRequest, Query, Signal, Update
from durable.history.transition import Committed, Outcome, Refusal, Refused, RunInfo, Send
from durable.history.values import Payload
from durable.service import RPCError, RPCStatusCode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from durable.client.client import Client
    from durable.converter import DataConverter
    from durable.history.joining import Carrier

T = TypeVar("T")

RESEND_MAX = 10


async def signal(client: Client, input: SignalWorkflowInput) -> None:
    """See `WorkflowHandle.signal`."""
    converter = for_workflow(client, input.id)
    message = Signal(
        name=input.signal,
        input=arguments_of(converter, input.definition, input.signal, input.args),
        header=headers_of(input.headers),
        identity=client.identity,
        request_id=input.request_id or client.database.store.new_id(),
    )

    async def sent() -> None:
        what = f"signal {input.signal!r} of workflow {input.id!r}"
        await send(
            client,
            input.id,
            input.run_id,
            await stored(converter, message, what, headers=encodes_headers(client)),
            session=input.session,
        )

    await within_of(input.id, sent(), input.rpc_timeout, "the signal")


async def cancel(client: Client, input: CancelWorkflowInput) -> None:
    """See `WorkflowHandle.cancel`."""
    message = CancelRequest(reason=input.reason, identity=client.identity, request_id=client.database.store.new_id())
    sent = send(
        client,
        input.id,
        input.run_id,
        message,
        input.first_execution_run_id,
        closed_is_fine=True,
        session=input.session,
    )
    await within_of(input.id, sent, input.rpc_timeout, "the cancel request")


async def send(
    client: Client,
    workflow_id: str,
    run_id: str | None,
    message: Signal | CancelRequest | Query | Update,
    first_execution_run_id: str | None = None,
    *,
    closed_is_fine: bool = False,
    session: Carrier | None = None,
) -> str:
    """The id of the run that it was sent to. The message is stored as it is."""
    database = client.database
    send = Send(
        namespace=client.namespace,
        workflow_id=workflow_id,
        run_id=run_id,
        first_execution_run_id=first_execution_run_id,
        message=codec.pack(message, database.store.now_us()),
    )
    match await _written(client, send, session):
        case Refused(reason=Refusal.NOT_FOUND):
            raise not_found(client, workflow_id, run_id)
        case Refused(reason=Refusal.CLOSED) if not closed_is_fine:
            raise already_completed(workflow_id)
        case Refused(reason=Refusal.INVALID, detail=detail):
            raise ValueError(f"the database refuses the message for workflow {workflow_id!r}: {detail}")
        case Committed(run_id=sent_to):
            return sent_to
        case _:
            return ""


def arguments_of(
    converter: DataConverter, definition: Definition | None, name: str, values: Sequence[Any]
) -> list[Payload]:
    """The payloads of a handler's call, which must fit the handler if more than its name is known."""
    signature = signature_of(definition, name)
    return converter.to_payloads(values) if signature is None else signature.encode(converter, values, {})


async def found(client: Client, workflow_id: str, run_id: str | None) -> RunInfo:
    """The run as it is now. `RPCError` NOT_FOUND."""
    run = await client.database.store.find(client.namespace, workflow_id, run_id)
    if run is None:
        raise not_found(client, workflow_id, run_id)
    return run


def not_found(client: Client, workflow_id: str, run_id: str | None) -> RPCError:
    which = f" with run id {run_id}" if run_id else ""
    return RPCError(
        f"no workflow {workflow_id!r}{which} in namespace {client.namespace!r}; `durable list` shows what there is",
        RPCStatusCode.NOT_FOUND,
    )


def within_of(workflow_id: str, wait: Awaitable[T], timeout: timedelta | None, what: str) -> Awaitable[T]:
    """`within`, of what a worker may have to do for it."""
    return within(wait, timeout, f"workflow {workflow_id!r}: {what}", "; does a worker of its task queue run?")


async def _written(client: Client, send: Send, session: Carrier | None) -> Outcome:
    """Sent until its outcome is known: its request id makes it happen once, however often it is sent."""
    if session is not None:
        return await write_within(client, session, send)
    check_no_transaction()
    for _ in range(RESEND_MAX - 1):
        with contextlib.suppress(UnknownOutcome):
            return await client.database.write(send)
    return await client.database.write(send)
