"""An activity without a workflow, as its client sees it: wait for it, ask how it stands, end it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from durable.client.activity_executions import ActivityExecutionDescription
from durable.client.activity_inputs import (
    CancelActivityInput,
    DescribeActivityInput,
    PauseActivityInput,
    TerminateActivityInput,
    UnpauseActivityInput,
)
from durable.client.activity_runs import of_activities
from durable.client.converting import for_activity, value_of
from durable.client.errors import ActivityFailureError, WorkflowFailureError
from durable.common import RawValue
from durable.exceptions import ActivityError, CancelledError
from durable.history.standalone import hidden

if TYPE_CHECKING:
    from durable.client.client import Client
    from durable.client.handle import WorkflowHandle

R = TypeVar("R")


class ActivityHandle(Generic[R]):
    """An activity by its id, and a run of it; ``run_id`` None is the latest run of the id."""

    def __init__(
        self,
        client: Client,
        id: str,
        *,
        run_id: str | None = None,
        result_type: Any = None,
        run: WorkflowHandle[Any, Any] | None = None,
    ) -> None:
        self._client = client
        self._id = id
        self._run_id = run_id
        self._result_type = result_type
        self._run = run or client.get_workflow_handle(hidden(id), run_id=run_id, result_type=RawValue)

    def __repr__(self) -> str:
        return f"ActivityHandle({self._id!r}, run_id={self._run_id!r})"

    @property
    def id(self) -> str:
        """The activity's id."""
        return self._id

    @property
    def run_id(self) -> str | None:
        """The run that the handle is for; None: the latest."""
        return self._run_id

    async def result(self, *, rpc_metadata: Mapping[str, str | bytes] = {}, rpc_timeout: timedelta | None = None) -> R:
        """The activity's result, as soon as it is there; any number of processes may wait.

        Raises `ActivityFailureError` when it failed, timed out, was cancelled or was terminated; `RPCError` NOT_FOUND
        when there is no such activity, DEADLINE_EXCEEDED when ``rpc_timeout`` is over first.
        """
        with of_activities():
            try:
                raw = await self._run.result(rpc_timeout=rpc_timeout)
            except WorkflowFailureError as error:
                cause = _cause(error.cause)
                raise ActivityFailureError(cause=cause) from cause
        converter = for_activity(self._client, self._id)
        payloads = [] if raw is None else [raw.payload]
        return value_of(converter, payloads, self._result_type, f"activity {self._id!r}: its result")  # type: ignore[no-any-return]

    async def cancel(
        self,
        *,
        reason: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Ask the activity to end. No error when it is over already. `RPCError` NOT_FOUND."""
        await self._client.outbound.cancel_activity(
            CancelActivityInput(self._id, self._run_id, reason, rpc_metadata, rpc_timeout)
        )

    async def terminate(
        self,
        *,
        reason: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """End it at once: whoever runs it is told, and its result counts no more. `RPCError` NOT_FOUND, also when it
        is over."""
        await self._client.outbound.terminate_activity(
            TerminateActivityInput(self._id, self._run_id, reason, rpc_metadata, rpc_timeout)
        )

    async def pause(
        self,
        *,
        reason: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Let no attempt of it begin until it is unpaused; one under way is asked to end by its next heartbeat.

        `describe` shows it as ``run_state``. Timeouts go on. `RPCError` NOT_FOUND, also when it is over;
        FAILED_PRECONDITION before a worker has taken it up.
        """
        await self._client.outbound.pause_activity(
            PauseActivityInput(self._id, self._run_id, reason, rpc_metadata, rpc_timeout)
        )

    async def unpause(
        self,
        *,
        reason: str | None = None,
        jitter: timedelta | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Let attempts of it begin again: at once if the wait for the next one is over, or when it is; with ``jitter``
        not at once, but at a moment by chance within this time (ValueError for a negative one).

        ``reason`` is not kept. Errors are those of `pause`.
        """
        await self._client.outbound.unpause_activity(
            UnpauseActivityInput(self._id, self._run_id, reason, jitter, rpc_metadata, rpc_timeout)
        )

    async def describe(
        self,
        *,
        include_input: bool = False,
        include_outcome: bool = False,
        include_heartbeat_details: bool = False,
        include_last_failure: bool = False,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> ActivityExecutionDescription:
        """How it stands. What may be included always is. `RPCError` NOT_FOUND."""
        return await self._client.outbound.describe_activity(
            DescribeActivityInput(
                activity_id=self._id,
                activity_run_id=self._run_id,
                include_input=include_input,
                include_outcome=include_outcome,
                include_heartbeat_details=include_heartbeat_details,
                include_last_failure=include_last_failure,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
            )
        )


def _cause(ended: BaseException) -> BaseException:
    """What ended the activity, without the run around it."""
    if isinstance(ended, ActivityError) and ended.cause is not None:
        return ended.cause
    if isinstance(ended, CancelledError):
        return CancelledError("Activity cancelled", *ended.details)
    return ended
