"""Asking a workflow's code, and its answer."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from durable.client.converting import encodes_headers, for_workflow, headers_of, message_of, read, stored, value_of
from durable.client.errors import WorkflowQueryFailedError, WorkflowQueryRejectedError
from durable.client.inputs import QueryWorkflowInput
from durable.client.sending import arguments_of, found, send, within_of
from durable.common import QueryRejectCondition
from durable.history import codec
from durable.history.messages import Query, QueryAnswer
from durable.history.values import RunStatus

if TYPE_CHECKING:
    from durable.client.client import Client

QUERY_TIMEOUT = timedelta(seconds=10)

_CLOSED = frozenset(RunStatus) - {RunStatus.RUNNING}
_REJECTED = {
    QueryRejectCondition.NONE: frozenset[RunStatus](),
    QueryRejectCondition.NOT_OPEN: _CLOSED,
    QueryRejectCondition.NOT_COMPLETED_CLEANLY: _CLOSED - {RunStatus.COMPLETED},
}
"""How a run may stand for which no query is answered."""


async def query(client: Client, input: QueryWorkflowInput) -> Any:
    """See `WorkflowHandle.query`."""
    converter, what = for_workflow(client, input.id), f"query {input.query!r} of workflow {input.id!r}"
    asked = Query(
        id="",
        name=input.query,
        args=arguments_of(converter, input.definition, input.query, input.args),
        header=headers_of(input.headers),
    )

    async def answered() -> QueryAnswer:
        query = await stored(converter, asked, what, headers=encodes_headers(client))
        return await read(converter, await _asked(client, input, query), f"the answer to {what}")

    answer = await within_of(
        input.id, answered(), input.rpc_timeout or QUERY_TIMEOUT, f"an answer to query {input.query!r}"
    )
    if answer.failure is not None:
        cause = converter.from_failure(answer.failure)
        raise WorkflowQueryFailedError(message_of(converter, answer.failure)) from cause
    return value_of(converter, answer.result, input.ret_type, f"the answer to {what}")


async def _asked(client: Client, input: QueryWorkflowInput, query: Query) -> QueryAnswer:
    """The answer of the run that is meant; that of one which was continued meanwhile is old."""
    while True:
        fresh = msgspec.structs.replace(query, id=client.database.store.new_id())
        answer = codec.decode_answer(await _ask(client, input, fresh))
        if not answer.continued or input.run_id is not None:
            return answer


async def _ask(client: Client, input: QueryWorkflowInput, query: Query) -> bytes:
    condition = input.reject_condition
    if condition is not None:
        status = (await found(client, input.id, input.run_id)).status
        if status in _REJECTED[condition]:
            raise WorkflowQueryRejectedError(status)
    answer = asyncio.ensure_future(client.database.reply(query.id))
    try:
        await send(client, input.id, input.run_id, query)
        return await answer
    finally:
        answer.cancel()
