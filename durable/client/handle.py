"""A workflow as its client sees it: wait for it, ask it, tell it, end it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from durable import exceptions
from durable.client import activity_control, updates
from durable.client.deadline import ANSWER, MAYBE_DONE, within
from durable.client.description import (
    PendingActivityInfo,
    PendingMessageInfo,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowHistory,
    moment,
)
from durable.client.errors import (
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    already_completed,
)
from durable.client.events import WorkflowHistoryEventAsyncIterator, WorkflowHistoryEventFilterType
from durable.client.pending import AsyncActivityIDReference
from durable.client.raw_description import RawPendingActivityInfo, RawWorkflowDescription
from durable.client.updates import WorkflowUpdateHandle, WorkflowUpdateStage
from durable.common import QueryRejectCondition
from durable.exceptions import CancelledError, TerminatedError, TimeoutType
from durable.history import codec, ending
from durable.history.errors import CorruptHistory, UnknownOutcome
from durable.history.events import (
    ClosingEvent,
    HistoryEvent,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    successor_of,
)
from durable.history.messages import HOLDS_OPEN, CancelRequest, Query, QueryAnswer, Signal, Update
from durable.history.state import State, fold
from durable.history.steps import Incoming
from durable.history.transition import Committed, Outcome, Refusal, Refused, RunInfo, Send, StoredMessage, Transition
from durable.history.values import Payload, RunStatus
from durable.service import RPCError, RPCStatusCode
from durable.workflow.calls import UNSET, arguments
from durable.workflow.handlers import Kind, encode, handler_name

if TYPE_CHECKING:
    from durable.client.client import Client

R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")

QUERY_TIMEOUT = timedelta(seconds=10)
RESEND_MAX = 10

_CLOSED = frozenset(RunStatus) - {RunStatus.RUNNING}
_REJECTED = {
    QueryRejectCondition.NONE: frozenset[RunStatus](),
    QueryRejectCondition.NOT_OPEN: _CLOSED,
    QueryRejectCondition.NOT_COMPLETED_CLEANLY: _CLOSED - {RunStatus.COMPLETED},
}
"""How a run may stand for which no query is answered."""


class WorkflowHandle(Generic[S, R]):
    """A workflow by its id, and a run of it.

    ``run_id`` None addresses the latest run of the id; ``result_run_id`` is the run whose result is waited for, the
    one that this handle's start began. ``first_execution_run_id`` guards `cancel` and `terminate`: they touch only
    that chain of runs.
    """

    def __init__(
        self,
        client: Client,
        id: str,
        *,
        run_id: str | None = None,
        result_run_id: str | None = None,
        first_execution_run_id: str | None = None,
        result_type: Any = None,
    ) -> None:
        self._client = client
        self._id = id
        self._run_id = run_id
        self._result_run_id = result_run_id
        self._first_execution_run_id = first_execution_run_id
        self._result_type = result_type

    def __repr__(self) -> str:
        return f"WorkflowHandle({self._id!r}, run_id={self._run_id or self._result_run_id!r})"

    @property
    def id(self) -> str:
        """The workflow's id."""
        return self._id

    @property
    def run_id(self) -> str | None:
        """The run that calls are for; None: the latest."""
        return self._run_id

    @property
    def result_run_id(self) -> str | None:
        """The run whose result is awaited, and those that follow it; None: the latest."""
        return self._result_run_id

    @property
    def first_execution_run_id(self) -> str | None:
        """The first run of the chain; `cancel` and `terminate` reach no other chain. None: any."""
        return self._first_execution_run_id

    async def result(
        self,
        *,
        follow_runs: bool = True,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> R:
        """The workflow's result, as soon as it is there; any number of processes may wait.

        Of the last run, if this one is continued as new; with ``follow_runs`` False that raises
        `WorkflowContinuedAsNewError`.

        Raises `WorkflowFailureError` when it failed, was cancelled or was terminated; `RPCError` NOT_FOUND when there
        is no such workflow, DEADLINE_EXCEEDED when ``rpc_timeout`` is over first.
        """
        return self._outcome(await self._within(self._closing_event(follow_runs), rpc_timeout, "its result"))

    async def describe(
        self, *, rpc_metadata: Mapping[str, str | bytes] = {}, rpc_timeout: timedelta | None = None
    ) -> WorkflowExecutionDescription:
        """The run's row, its unread messages and its activities that are not over. `RPCError` NOT_FOUND."""
        return await self._within(self._describe(), rpc_timeout, "its description")

    async def fetch_history(
        self,
        *,
        event_filter_type: WorkflowHistoryEventFilterType = WorkflowHistoryEventFilterType.ALL_EVENT,
        skip_archival: bool = False,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowHistory:
        """All events of the run so far. `RPCError` NOT_FOUND. See `fetch_history_events`."""
        events = self.fetch_history_events(event_filter_type=event_filter_type, rpc_timeout=rpc_timeout)
        return WorkflowHistory(self._id, [event async for event in events])

    def fetch_history_events(
        self,
        *,
        page_size: int | None = None,
        next_page_token: bytes | None = None,
        wait_new_event: bool = False,
        event_filter_type: WorkflowHistoryEventFilterType = WorkflowHistoryEventFilterType.ALL_EVENT,
        skip_archival: bool = False,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowHistoryEventAsyncIterator:
        """The events of the run, page by page; with ``wait_new_event`` those to come too, until it is closed.

        ``page_size`` None is one page of all that are there; ``next_page_token``, of an earlier iterator, says where to
        go on; ``rpc_timeout`` is for each page. There is no archive to be skipped.
        """
        return WorkflowHistoryEventAsyncIterator(
            self._client,
            self._id,
            self._run_id,
            page_size=page_size,
            next_page_token=next_page_token,
            wait_new_event=wait_new_event,
            event_filter_type=event_filter_type,
            rpc_timeout=rpc_timeout,
        )

    async def signal(
        self,
        signal: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        request_id: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Send a signal; it is durable when this returns, and read by the workflow once, in order.

        Sent again with the same ``request_id`` it still happens once. `RPCError` NOT_FOUND when there is no such
        workflow, or it is closed.
        """
        name, definition = handler_name(signal, Kind.SIGNAL)
        message = Signal(
            name=name,
            input=encode(definition, self._client.data_converter, arguments(arg, args)),
            identity=self._client.identity,
            request_id=request_id or self._client.database.store.new_id(),
        )
        await self._within(self.send(message), rpc_timeout, "the signal")

    async def query(
        self,
        query: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        result_type: Any = None,
        reject_condition: QueryRejectCondition | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> Any:
        """Ask the workflow's code; it answers as of now, also when it is closed.

        Unless ``reject_condition`` (None is the client's) keeps it from being asked: then `WorkflowQueryRejectedError`.
        Raises `WorkflowQueryFailedError` when the handler raises or there is none; `RPCError` DEADLINE_EXCEEDED when no
        worker answers within ``rpc_timeout`` (10 s by default).
        """
        name, definition = handler_name(query, Kind.QUERY)
        input = encode(definition, self._client.data_converter, arguments(arg, args))
        condition = reject_condition or self._client.default_workflow_query_reject_condition
        answer = await self._within(
            self._asked(name, input, condition), rpc_timeout or QUERY_TIMEOUT, f"an answer to query {name!r}"
        )
        if answer.failure is not None:
            cause = self._client.data_converter.from_failure(answer.failure)
            raise WorkflowQueryFailedError(answer.failure.message) from cause
        hint = result_type or (definition.signature.return_hint if definition else None)
        return self._decoded(answer.result, hint)

    async def execute_update(
        self,
        update: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        id: str | None = None,
        result_type: Any = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> Any:
        """Call an update handler of the workflow, and wait for its result: `start_update` and its handle's `result`."""
        handle = await self.start_update(
            update,
            arg,
            args=args,
            wait_for_stage=WorkflowUpdateStage.COMPLETED,
            id=id,
            result_type=result_type,
            rpc_timeout=rpc_timeout,
        )
        return await handle.result(rpc_timeout=rpc_timeout)

    async def start_update(
        self,
        update: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        wait_for_stage: WorkflowUpdateStage,
        args: Sequence[Any] = (),
        id: str | None = None,
        result_type: Any = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowUpdateHandle[Any]:
        """Call an update handler of the workflow; returns when it was accepted or rejected, or is over.

        With the same ``id`` it happens once in a run, however often it is called. The handle's `result` tells of a
        rejection. Raises `RPCError` NOT_FOUND when there is no such workflow, or it closes first;
        `WorkflowUpdateRPCTimeoutOrCancelledError` when no worker has read it within ``rpc_timeout`` (no limit by
        default): it is read later then.
        """
        prepared = updates.prepare(self._client, update, arguments(arg, args), id, result_type)
        return await updates.until(wait_for_stage, self._update(prepared), rpc_timeout)

    def get_update_handle(
        self, id: str, *, workflow_run_id: str | None = None, result_type: Any = None
    ) -> WorkflowUpdateHandle[Any]:
        """A handle on an update by its id; nothing is asked or checked."""
        return WorkflowUpdateHandle(
            self._client, id, self._id, workflow_run_id=workflow_run_id or self._run_id, result_type=result_type
        )

    def get_update_handle_for(
        self, update: Callable[..., Any], id: str, *, workflow_run_id: str | None = None
    ) -> WorkflowUpdateHandle[Any]:
        """Like `get_update_handle`, with the result type of the handler."""
        _, definition = handler_name(update, Kind.UPDATE)
        hint = definition.signature.return_hint if definition else None
        return self.get_update_handle(id, workflow_run_id=workflow_run_id, result_type=hint)

    async def cancel(
        self, *, reason: str = "", rpc_metadata: Mapping[str, str | bytes] = {}, rpc_timeout: timedelta | None = None
    ) -> None:
        """Ask the workflow to end; its code may clean up first. No error when it is closed already."""
        message = CancelRequest(
            reason=reason, identity=self._client.identity, request_id=self._client.database.store.new_id()
        )
        await self._within(self.send(message, closed_is_fine=True), rpc_timeout, "the cancel request")

    async def terminate(
        self,
        *args: Any,
        reason: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """End the workflow at once; its code is not asked. ``args`` become the details.

        `RPCError` NOT_FOUND when there is no such workflow, or it is closed.
        """
        await self._within(self._terminate(args, reason or ""), rpc_timeout, "its end")

    async def pause_activity(self, activity_id: str, *, reason: str = "", rpc_timeout: timedelta | None = None) -> None:
        """Let no attempt of an activity begin until it is unpaused. ``reason`` is shown by `describe`.

        The attempt under way learns of it by its next heartbeat, as of a cancellation
        (``activity.cancellation_details().paused``); if its code ends with that, another attempt follows. Timeouts go
        on, but for schedule-to-start. Nothing happens if the activity was asked to end. `RPCError` NOT_FOUND when the
        activity is over, or never was.
        """
        paused = activity_control.pause(self._client, self._activity(activity_id), reason)
        await within(paused, rpc_timeout, ANSWER, MAYBE_DONE)

    async def unpause_activity(
        self,
        activity_id: str,
        *,
        reset_attempts: bool = False,
        reset_heartbeat: bool = False,
        jitter: timedelta | None = None,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Let attempts of an activity begin again: at once if the wait for the next one is over, or when it is.

        ``reset_attempts``: it begins at attempt 1. ``reset_heartbeat``: it finds no heartbeat details. ``jitter``: not
        at once, but at a moment by chance within this time. `RPCError` NOT_FOUND as `pause_activity`.
        """
        unpaused = activity_control.unpause(
            self._client,
            self._activity(activity_id),
            reset_attempts=reset_attempts,
            reset_heartbeat=reset_heartbeat,
            jitter=jitter,
        )
        await within(unpaused, rpc_timeout, ANSWER, MAYBE_DONE)

    async def reset_activity(
        self,
        activity_id: str,
        *,
        keep_paused: bool = False,
        reset_heartbeat: bool = False,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Let an activity begin at attempt 1 again, at once; one that is paused is unpaused unless ``keep_paused``.

        While an attempt is under way that is once it has failed, whatever its policy says, unless the failure forbids
        another one; it learns of it by its next heartbeat (``activity.cancellation_details().reset``). A result counts
        all the same. ``reset_heartbeat``: the next attempt finds no heartbeat details. `RPCError` NOT_FOUND as
        `pause_activity`.
        """
        reset = activity_control.reset(
            self._client, self._activity(activity_id), keep_paused=keep_paused, reset_heartbeat=reset_heartbeat
        )
        await within(reset, rpc_timeout, ANSWER, MAYBE_DONE)

    # -- the inside

    def _activity(self, activity_id: str) -> AsyncActivityIDReference:
        return AsyncActivityIDReference(self._id, self._run_id, activity_id)

    async def _closing_event(self, follow_runs: bool) -> ClosingEvent:
        # A start knows its run; one that a caller names may not be there, and would be waited for in vain.
        run_id = None if self._run_id else self._result_run_id
        if run_id is None:
            run_id = (await self._run()).run_id
        event = await self._client.database.closing_event(run_id)
        while follow_runs and (next_run_id := successor_of(event)):
            event = await self._client.database.closing_event(next_run_id)
        return event

    def _outcome(self, event: ClosingEvent) -> R:
        converter = self._client.data_converter
        match event:
            case WorkflowExecutionCompleted(result=result):
                return self._decoded(result, self._result_type)  # type: ignore[no-any-return]
            case WorkflowExecutionFailed(failure=failure):
                raise WorkflowFailureError(cause=converter.from_failure(failure))
            case WorkflowExecutionCanceled(details=details):
                raise WorkflowFailureError(
                    cause=CancelledError("Workflow cancelled", *converter.from_payloads(details))
                )
            case WorkflowExecutionContinuedAsNew(new_execution_run_id=run_id):
                raise WorkflowContinuedAsNewError(run_id)
            case WorkflowExecutionTimedOut():
                cause = exceptions.TimeoutError(
                    "Workflow timed out", type=TimeoutType.START_TO_CLOSE, last_heartbeat_details=[]
                )
                raise WorkflowFailureError(cause=cause)
            case WorkflowExecutionTerminated():
                details = converter.from_payloads(event.details)
                raise WorkflowFailureError(cause=TerminatedError(event.reason or "Workflow terminated", *details))

    def _decoded(self, payloads: Sequence[Payload], hint: Any) -> Any:
        if not payloads:
            return None
        return self._client.data_converter.from_payloads(payloads, None if hint is None else [hint])[0]

    async def _run(self) -> RunInfo:
        run = await self._client.database.store.find(self._client.namespace, self._id, self._run_id)
        if run is None:
            raise self._not_found(self._run_id)
        return run

    def _not_found(self, run_id: str | None = None) -> RPCError:
        which = f" with run id {run_id}" if run_id else ""
        return RPCError(
            f"no workflow {self._id!r}{which} in namespace {self._client.namespace!r}; "
            "`durable list` shows what there is",
            RPCStatusCode.NOT_FOUND,
        )

    async def _events(self, run: RunInfo) -> list[HistoryEvent]:
        return codec.decode_history(await self._client.database.store.history(run.run_id))

    async def _describe(self) -> WorkflowExecutionDescription:
        run = await self._run()
        store = self._client.database.store
        tasks = await store.tasks(run.run_id)
        return WorkflowExecutionDescription(
            **WorkflowExecution.fields(run, self._client.data_converter),
            first_events=lambda: self._events(run),
            worker=run.owner,
            history_bytes=run.history_bytes,
            pending_activities=[PendingActivityInfo.of(task) for task in tasks],
            pending_messages=[
                PendingMessageInfo(kind=stored.kind, name=_message_name(stored), due=moment(stored.due_us))
                for stored in await store.inbox(run.run_id)
            ],
            raw_description=RawWorkflowDescription([RawPendingActivityInfo.of(task) for task in tasks]),
        )

    async def _update(self, update: updates.Prepared) -> WorkflowUpdateHandle[Any]:
        """Sent, and answered: accepted, rejected, or over."""
        try:
            run_id = await self.send(Update(request=update.request))
            found = await updates.answered(self._client, self._id, run_id, update)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            found = None
        if found is None:
            found = await updates.find(self._client, self._id, (await self._run()).run_id, update)
        if found is None:
            raise already_completed(self._id)
        return found

    async def send(self, message: Signal | CancelRequest | Query | Update, *, closed_is_fine: bool = False) -> str:
        """The id of the run that it was sent to. For the client's own modules."""
        database = self._client.database
        send = Send(
            namespace=self._client.namespace,
            workflow_id=self._id,
            run_id=self._run_id,
            first_execution_run_id=self._first_execution_run_id
            if isinstance(message, CancelRequest | Update)
            else None,
            message=codec.pack(message, database.store.now_us()),
        )
        match await self._written(send):
            case Refused(reason=Refusal.NOT_FOUND):
                raise self._not_found(self._run_id)
            case Refused(reason=Refusal.CLOSED) if not closed_is_fine:
                raise already_completed(self._id)
            case Refused(reason=Refusal.INVALID, detail=detail):
                raise ValueError(f"the database refuses the message for workflow {self._id!r}: {detail}")
            case Committed(run_id=run_id):
                return run_id
            case _:
                return ""

    async def _written(self, send: Send) -> Outcome:
        """Sent until its outcome is known: its request id makes it happen once, however often it is sent."""
        for _ in range(RESEND_MAX - 1):
            with contextlib.suppress(UnknownOutcome):
                return await self._client.database.write(send)
        return await self._client.database.write(send)

    async def _asked(self, name: str, input: list[Payload], condition: QueryRejectCondition | None) -> QueryAnswer:
        """The answer of the run that is meant; that of one which was continued meanwhile is old."""
        while True:
            query = Query(id=self._client.database.store.new_id(), name=name, args=input)
            answer = codec.decode_answer(await self._ask(query, condition))
            if not answer.continued or self._run_id is not None:
                return answer

    async def _ask(self, query: Query, condition: QueryRejectCondition | None) -> bytes:
        if condition is not None and (status := (await self._run()).status) in _REJECTED[condition]:
            raise WorkflowQueryRejectedError(status)
        answer = asyncio.ensure_future(self._client.database.reply(query.id))
        try:
            await self.send(query)
            return await answer
        finally:
            answer.cancel()

    async def _terminate(self, args: Sequence[Any], reason: str) -> None:
        details = self._client.data_converter.to_payloads(args)
        while True:
            run = await self._run()
            if self._first_execution_run_id not in (None, run.first_execution_run_id):
                raise self._not_found(self._first_execution_run_id)
            if run.closed_us is not None:
                raise already_completed(self._id)
            outcome = await self._client.database.write(await self._termination(run, reason, details))
            if not isinstance(outcome, Refused):
                return
            if outcome.reason is Refusal.INVALID:
                raise ValueError(f"the database refuses to end workflow {self._id!r}: {outcome.detail}")

    async def _termination(self, run: RunInfo, reason: str, details: Sequence[Payload]) -> Transition:
        return await termination(self._client, run, reason, details)

    async def _within(self, wait: Awaitable[T], timeout: timedelta | None, what: str) -> T:
        hint = "; does a worker of its task queue run?"
        return await within(wait, timeout, f"workflow {self._id!r}: {what}", hint)


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


def _message_name(stored: StoredMessage) -> str:
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
