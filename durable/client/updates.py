"""Updates as their callers see them: how far one has come, and its outcome."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct

from durable.client.converting import encodes_headers, for_workflow, headers_of, read, stored, value_of
from durable.client.errors import (
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    already_completed,
)
from durable.client.inputs import StartWorkflowUpdateInput, UpdateWithStartUpdateWorkflowInput
from durable.client.sending import arguments_of, found, send
from durable.history import codec
from durable.history.events import (
    HistoryEvent,
    WorkflowExecutionUpdateAccepted,
    WorkflowExecutionUpdateAdmitted,
    WorkflowExecutionUpdateCompleted,
    WorkflowExecutionUpdateRejected,
    successor_of,
)
from durable.history.messages import Update, UpdateAnswer, UpdateStage, outcome_reply
from durable.history.telling import cut_short
from durable.history.values import RunStatus, UpdateInput, UpdateMeta, UpdateOutcome, UpdateRequest, unstorable
from durable.service import RPCError, RPCStatusCode

if TYPE_CHECKING:
    from durable.client.client import Client

R = TypeVar("R")
T = TypeVar("T")

LOOK_AGAIN = 20.0
"""Seconds after which the history is asked: a reply is kept for a minute, and may be missed."""


class WorkflowUpdateStage(IntEnum):
    """What a caller of an update waits for. Values are Temporal's."""

    ADMITTED = 1
    ACCEPTED = 2
    COMPLETED = 3


class WorkflowUpdateHandle(Generic[R]):
    """An update of a workflow: `result` tells how it ended. ``workflow_run_id`` None is the workflow's latest run."""

    def __init__(
        self,
        client: Client,
        id: str,
        workflow_id: str,
        *,
        workflow_run_id: str | None = None,
        result_type: Any = None,
        known_outcome: UpdateOutcome | None = None,
    ) -> None:
        self._client = client
        self._id = id
        self._workflow_id = workflow_id
        self._workflow_run_id = workflow_run_id
        self._result_type = result_type
        self._known_outcome = known_outcome

    def __repr__(self) -> str:
        return f"WorkflowUpdateHandle({self._id!r}, workflow_id={self._workflow_id!r})"

    @property
    def id(self) -> str:
        """The update's id."""
        return self._id

    @property
    def workflow_id(self) -> str:
        """The workflow that it is sent to."""
        return self._workflow_id

    @property
    def workflow_run_id(self) -> str | None:
        """The run that it is sent to; None: the latest."""
        return self._workflow_run_id

    async def result(self, *, rpc_metadata: Mapping[str, str | bytes] = {}, rpc_timeout: timedelta | None = None) -> R:
        """What the handler returned, as soon as it has.

        Raises `WorkflowUpdateFailedError` when it was rejected or has failed, or the run was closed before it was over
        (then the cause's type is ``AcceptedUpdateCompletedWorkflow``); `WorkflowUpdateRPCTimeoutOrCancelledError`
        when ``rpc_timeout`` is over first, or the wait is cancelled; `RPCError` NOT_FOUND when there is no such update.
        """
        converter = for_workflow(self._client, self._workflow_id)
        what = f"the outcome of update {self._id!r} of workflow {self._workflow_id!r}"

        async def told() -> UpdateOutcome:
            return await read(converter, await self.outcome(), what)

        outcome = await within(rpc_timeout, told())
        if outcome.failure is not None:
            raise WorkflowUpdateFailedError(converter.from_failure(outcome.failure))
        return value_of(converter, outcome.success or [], self._result_type, what)  # type: ignore[no-any-return]

    async def outcome(self) -> UpdateOutcome:
        """How it ended, as it is stored: as soon as it has."""
        while self._known_outcome is None:
            run = await self._client.database.store.find(
                self._client.namespace, self._workflow_id, self._workflow_run_id
            )
            is_known = False
            if run is not None:
                events = codec.decode_history(await self._client.database.store.history(run.run_id))
                is_closed = run.status is not RunStatus.RUNNING
                is_known, self._known_outcome = recorded(events, self._id, is_closed=is_closed)
            if run is None or not is_known:
                raise RPCError(
                    f"workflow {self._workflow_id!r} has no update {self._id!r} that it has accepted",
                    RPCStatusCode.NOT_FOUND,
                )
            if self._known_outcome is None:
                await self._wait(run.run_id)
        return self._known_outcome

    async def _wait(self, run_id: str) -> None:
        try:
            async with asyncio.timeout(LOOK_AGAIN):
                reply = await self._client.database.reply(outcome_reply(run_id, self._id))
        except TimeoutError:
            return
        self._known_outcome = codec.decode_update_answer(reply).outcome


def recorded(events: Sequence[HistoryEvent], update_id: str, *, is_closed: bool) -> tuple[bool, UpdateOutcome | None]:
    """Pure: what a history tells of an update: whether it knows it, and its outcome if there is one."""
    is_known, is_accepted, rejected = False, False, None
    for event in events:
        match event:
            case WorkflowExecutionUpdateCompleted() if event.meta.update_id == update_id:
                return True, event.outcome
            case WorkflowExecutionUpdateRejected() if event.protocol_instance_id == update_id:
                rejected = UpdateOutcome(failure=event.failure)
            case WorkflowExecutionUpdateAccepted() if event.protocol_instance_id == update_id:
                is_known, is_accepted, rejected = True, True, None
            case WorkflowExecutionUpdateAdmitted() if event.request.meta.update_id == update_id:
                is_known, rejected = True, None
            case _:
                pass
    if rejected is None and is_closed:
        return is_accepted, UpdateOutcome(failure=cut_short()) if is_accepted else None
    return is_known, rejected


class Prepared(Struct, frozen=True):
    """An update that is ready to be sent, and the type of its result."""

    request: UpdateRequest
    result_type: Any

    @property
    def id(self) -> str:
        return self.request.meta.update_id


def prepare(
    client: Client, workflow_id: str, input: StartWorkflowUpdateInput | UpdateWithStartUpdateWorkflowInput
) -> Prepared:
    """Checked and converted, and not encoded yet."""
    if input.update_id is not None and (why := unstorable("an update id", input.update_id)) is not None:
        raise ValueError(why)
    converter = for_workflow(client, workflow_id)
    request = UpdateRequest(
        meta=UpdateMeta(update_id=input.update_id or str(uuid.uuid4()), identity=client.identity),
        input=UpdateInput(
            name=input.update,
            header=headers_of(input.headers),
            args=arguments_of(converter, input.definition, input.update, input.args),
        ),
        request_id=client.database.store.new_id(),
    )
    return Prepared(request, input.ret_type)


async def stored_update(client: Client, workflow_id: str, update: Prepared) -> Prepared:
    """The same as it is stored."""
    converter = for_workflow(client, workflow_id)
    what = f"update {update.request.input.name!r} of workflow {workflow_id!r}"
    request = await stored(converter, update.request, what, headers=encodes_headers(client))
    return Prepared(request, update.result_type)


async def start_update(client: Client, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:
    """See `WorkflowHandle.start_update`."""
    prepared = prepare(client, input.id, input)
    return await until(input.wait_for_stage, _sent(client, input, prepared), input.rpc_timeout)


async def _sent(client: Client, input: StartWorkflowUpdateInput, prepared: Prepared) -> WorkflowUpdateHandle[Any]:
    """Sent, and answered: accepted, rejected, or over."""
    update = await stored_update(client, input.id, prepared)
    message = Update(request=update.request)
    try:
        run_id = await send(client, input.id, input.run_id, message, input.first_execution_run_id)
        handle = await answered(client, input.id, run_id, update)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        handle = None
    if handle is None:
        handle = await find(client, input.id, (await found(client, input.id, input.run_id)).run_id, update)
    if handle is None:
        raise already_completed(input.id)
    return handle


async def until(
    stage: WorkflowUpdateStage, update: Coroutine[Any, Any, WorkflowUpdateHandle[R]], timeout: timedelta | None
) -> WorkflowUpdateHandle[R]:
    """The handle of an update, when that has come so far. See `within`."""
    if stage not in (WorkflowUpdateStage.ACCEPTED, WorkflowUpdateStage.COMPLETED):
        update.close()
        raise ValueError("Cannot wait for ADMITTED stage: wait for ACCEPTED or COMPLETED")

    async def come_so_far() -> WorkflowUpdateHandle[R]:
        handle = await update
        if stage is WorkflowUpdateStage.COMPLETED:
            await handle.outcome()
        return handle

    return await within(timeout, come_so_far())


async def answered(client: Client, workflow_id: str, run_id: str, update: Prepared) -> WorkflowUpdateHandle[Any] | None:
    """The handle of an update that was sent, when it is accepted or over; None when its run closes before.

    What a run has not read goes over to the one that continues it, and is waited for there.
    """
    following = run_id
    while following:
        run_id = following
        answer, following = await _first_answer(client, run_id, update.id, update.request.request_id)
        if answer is not None:
            is_unread = answer.stage is UpdateStage.UNREAD
            return None if is_unread else _handle(client, workflow_id, answer.run_id or run_id, update, answer.outcome)
    return None


async def find(client: Client, workflow_id: str, run_id: str, update: Prepared) -> WorkflowUpdateHandle[Any] | None:
    """The handle of an update that a run's history knows; None when it does not."""
    run = await client.database.store.find(client.namespace, workflow_id, run_id)
    events = codec.decode_history(await client.database.store.history(run_id))
    is_closed = run is None or run.status is not RunStatus.RUNNING
    is_known, outcome = recorded(events, update.id, is_closed=is_closed)
    return _handle(client, workflow_id, run_id, update, outcome) if is_known else None


def _handle(
    client: Client, workflow_id: str, run_id: str, update: Prepared, outcome: UpdateOutcome | None
) -> WorkflowUpdateHandle[Any]:
    return WorkflowUpdateHandle(
        client,
        update.id,
        workflow_id,
        workflow_run_id=run_id,
        result_type=update.result_type,
        known_outcome=outcome,
    )


async def _first_answer(
    client: Client, run_id: str, update_id: str, request_id: str
) -> tuple[UpdateAnswer | None, str]:
    """The answer; or None, and the run that has continued this one ("": none has)."""
    database = client.database
    replies = (request_id, outcome_reply(run_id, update_id))
    answer = asyncio.ensure_future(database.reply(*replies))
    closing = asyncio.ensure_future(database.closing_event(run_id))
    try:
        while not (await asyncio.wait([answer, closing], timeout=LOOK_AGAIN, return_when=asyncio.FIRST_COMPLETED))[0]:
            if (known := await _answer_in_history(client, run_id, update_id)) is not None:
                return known, ""
        if answer.done():
            return codec.decode_update_answer(answer.result()), ""
        ended = closing.result()
        # The commit that closed the run may have answered it, and only the closing have been noticed yet.
        for body in (await database.store.replies(list(replies))).values():
            return codec.decode_update_answer(body), ""
        events = codec.decode_history(await database.store.history(run_id))
        _, outcome = recorded(events, update_id, is_closed=True)
        if outcome is not None:
            return UpdateAnswer(stage=UpdateStage.COMPLETED, outcome=outcome), ""
        return None, successor_of(ended)
    finally:
        answer.cancel()
        closing.cancel()


async def _answer_in_history(client: Client, run_id: str, update_id: str) -> UpdateAnswer | None:
    """What a caller has missed who did not see the reply in its minute."""
    events = codec.decode_history(await client.database.store.history(run_id))
    _, outcome = recorded(events, update_id, is_closed=False)
    if outcome is not None:
        return UpdateAnswer(stage=UpdateStage.COMPLETED, outcome=outcome)
    is_accepted, _ = recorded(events, update_id, is_closed=True)
    return UpdateAnswer(stage=UpdateStage.ACCEPTED) if is_accepted else None


async def within(timeout: timedelta | None, wait: Awaitable[T]) -> T:
    """Its result; `WorkflowUpdateRPCTimeoutOrCancelledError` when the time is over first, or the wait is cancelled."""
    try:
        async with asyncio.timeout(None if timeout is None else timeout.total_seconds()):
            return await wait
    except (TimeoutError, asyncio.CancelledError) as error:
        raise WorkflowUpdateRPCTimeoutOrCancelledError() from error
