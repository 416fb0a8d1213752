"""A workflow as its client sees it: wait for it, ask it, tell it, end it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from durable.client import results
from durable.client.activity_inputs import PauseActivityInput, ResetActivityInput, UnpauseActivityInput
from durable.client.description import WorkflowExecutionDescription, WorkflowHistory
from durable.client.events import WorkflowHistoryEventAsyncIterator, WorkflowHistoryEventFilterType
from durable.client.inputs import (
    CancelWorkflowInput,
    DescribeWorkflowInput,
    FetchWorkflowHistoryEventsInput,
    QueryWorkflowInput,
    SignalWorkflowInput,
    StartWorkflowUpdateInput,
    TerminateWorkflowInput,
)
from durable.client.joining import Transactional, carrier
from durable.client.sending import found, within_of
from durable.client.updates import WorkflowUpdateHandle, WorkflowUpdateStage
from durable.common import QueryRejectCondition
from durable.history.events import ClosingEvent
from durable.workflow.calls import UNSET, arguments
from durable.workflow.handlers import Kind, handler_name

if TYPE_CHECKING:
    from durable.client.client import Client

R = TypeVar("R")
S = TypeVar("S")


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

        async def ended() -> R:
            event = await self._closing_event(follow_runs)
            return await results.outcome(self._client, self._id, event, self._result_type)  # type: ignore[no-any-return]

        return await within_of(self._id, ended(), rpc_timeout, "its result")

    async def describe(
        self, *, rpc_metadata: Mapping[str, str | bytes] = {}, rpc_timeout: timedelta | None = None
    ) -> WorkflowExecutionDescription:
        """The run's row, its unread messages and its activities that are not over. `RPCError` NOT_FOUND."""
        return await self._client.outbound.describe_workflow(
            DescribeWorkflowInput(self._id, self._run_id, rpc_metadata, rpc_timeout)
        )

    async def fetch_history(
        self,
        *,
        event_filter_type: WorkflowHistoryEventFilterType = WorkflowHistoryEventFilterType.ALL_EVENT,
        skip_archival: bool = False,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowHistory:
        """All events of the run so far. `RPCError` NOT_FOUND. See `fetch_history_events`."""
        events = self.fetch_history_events(
            event_filter_type=event_filter_type,
            skip_archival=skip_archival,
            rpc_metadata=rpc_metadata,
            rpc_timeout=rpc_timeout,
        )
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
        return self._client.outbound.fetch_workflow_history_events(
            FetchWorkflowHistoryEventsInput(
                id=self._id,
                run_id=self._run_id,
                page_size=page_size,
                next_page_token=next_page_token,
                wait_new_event=wait_new_event,
                event_filter_type=event_filter_type,
                skip_archival=skip_archival,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
            )
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
        session: Transactional | None = None,
    ) -> None:
        """Send a signal; it is durable when this returns, and read by the workflow once, in order.

        Sent again with the same ``request_id`` it still happens once. With ``session`` it is sent if and only if the
        caller's transaction commits: see `Client.start_workflow`. `RPCError` NOT_FOUND when there is no such
        workflow, or it is closed.
        """
        name, definition = handler_name(signal, Kind.SIGNAL)
        await self._client.outbound.signal_workflow(
            SignalWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                signal=name,
                args=list(arguments(arg, args)),
                headers={},
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                request_id=request_id,
                definition=definition,
                session=carrier(session),
            )
        )

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
        return await self._client.outbound.query_workflow(
            QueryWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                query=name,
                args=list(arguments(arg, args)),
                reject_condition=reject_condition or self._client.default_workflow_query_reject_condition,
                headers={},
                ret_type=result_type or (definition.signature.return_hint if definition else None),
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                definition=definition,
            )
        )

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
            rpc_metadata=rpc_metadata,
            rpc_timeout=rpc_timeout,
        )
        return await handle.result(rpc_metadata=rpc_metadata, rpc_timeout=rpc_timeout)

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
        name, definition = handler_name(update, Kind.UPDATE)
        if result_type is None and definition is not None:
            result_type = definition.signature.return_hint
        return await self._client.outbound.start_workflow_update(
            StartWorkflowUpdateInput(
                id=self._id,
                run_id=self._run_id,
                first_execution_run_id=self._first_execution_run_id,
                update_id=id,
                update=name,
                args=list(arguments(arg, args)),
                wait_for_stage=wait_for_stage,
                headers={},
                ret_type=result_type,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                definition=definition,
            )
        )

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
        self,
        *,
        reason: str = "",
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
        session: Transactional | None = None,
    ) -> None:
        """Ask the workflow to end; its code may clean up first. No error when it is closed already.

        With ``session`` it is asked if and only if the caller's transaction commits: see `Client.start_workflow`.
        """
        await self._client.outbound.cancel_workflow(
            CancelWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                first_execution_run_id=self._first_execution_run_id,
                reason=reason,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                session=carrier(session),
            )
        )

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
        await self._client.outbound.terminate_workflow(
            TerminateWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                first_execution_run_id=self._first_execution_run_id,
                args=args,
                reason=reason,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
            )
        )

    async def pause_activity(self, activity_id: str, *, reason: str = "", rpc_timeout: timedelta | None = None) -> None:
        """Let no attempt of an activity begin until it is unpaused. ``reason`` is shown by `describe`.

        The attempt under way learns of it by its next heartbeat, as of a cancellation
        (``activity.cancellation_details().paused``); if its code ends with that, another attempt follows. Timeouts go
        on, but for schedule-to-start. Nothing happens if the activity was asked to end. `RPCError` NOT_FOUND when the
        activity is over, or never was.
        """
        await self._client.outbound.pause_activity(
            PauseActivityInput(activity_id, self._run_id, reason, {}, rpc_timeout, workflow_id=self._id)
        )

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
        await self._client.outbound.unpause_activity(
            UnpauseActivityInput(
                activity_id=activity_id,
                activity_run_id=self._run_id,
                reason=None,
                jitter=jitter,
                rpc_metadata={},
                rpc_timeout=rpc_timeout,
                workflow_id=self._id,
                reset_attempts=reset_attempts,
                reset_heartbeat=reset_heartbeat,
            )
        )

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
        await self._client.outbound.reset_activity(
            ResetActivityInput(
                activity_id=activity_id,
                activity_run_id=self._run_id,
                keep_paused=keep_paused,
                reset_heartbeat=reset_heartbeat,
                rpc_metadata={},
                rpc_timeout=rpc_timeout,
                workflow_id=self._id,
            )
        )

    async def _closing_event(self, follow_runs: bool) -> ClosingEvent:
        # A start knows its run; one that a caller names may not be there, and would be waited for in vain.
        run_id = None if self._run_id else self._result_run_id
        if run_id is None:
            run_id = (await found(self._client, self._id, self._run_id)).run_id
        return await results.closing_event(self._client, run_id, follow_runs=follow_runs)
