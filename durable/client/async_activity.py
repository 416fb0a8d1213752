"""An attempt of an activity whose outcome comes from outside of it: heartbeats, and the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from durable.activity import ActivityCancellationDetails
from durable.client import pending
from durable.client.deadline import ANSWER, MAYBE_DONE, within
from durable.client.errors import AsyncActivityCancelledError
from durable.client.pending import AsyncActivityIDReference
from durable.converter import DataConverter
from durable.history import attempts
from durable.history.messages import ActivityOutcome
from durable.history.transition import ActivityReport, ActivityTask, Committed, Retry
from durable.service import RPCError, RPCStatusCode
from durable.workflow.calls import UNSET

if TYPE_CHECKING:
    from durable.client.client import Client


class AsyncActivityHandle:
    """An activity under way, by the token of its attempt or by its ids: from `Client.get_async_activity_handle`.

    It may be used in any process. Every method raises `RPCError` NOT_FOUND when the attempt is over (it has ended, a
    timeout ran out, its workflow is closed), DEADLINE_EXCEEDED when the database takes longer than ``rpc_timeout``.
    ``rpc_metadata`` is taken for compatibility. ``data_converter_override`` goes before the client's converter.
    """

    def __init__(
        self,
        client: Client,
        id_or_token: AsyncActivityIDReference | bytes,
        data_converter_override: DataConverter | None = None,
    ) -> None:
        self._client = client
        self._converter = data_converter_override or client.data_converter
        self._reference = id_or_token

    async def heartbeat(
        self, *details: Any, rpc_metadata: Mapping[str, str | bytes] = {}, rpc_timeout: timedelta | None = None
    ) -> None:
        """The attempt lives; ``details`` are what the next one finds in ``activity.info().heartbeat_details``.

        Raises `AsyncActivityCancelledError` when the activity was asked to end, or was paused or reset; the heartbeat
        counts all the same.
        """
        payloads = self._converter.to_payloads(details)
        told = await self._report(lambda task: attempts.beat(task, payloads, self._now_us()), rpc_timeout)
        if told.cancel_requested or told.paused or told.reset:
            raise AsyncActivityCancelledError(
                ActivityCancellationDetails(
                    cancel_requested=told.cancel_requested, paused=told.paused, reset=told.reset
                )
            )

    async def complete(
        self,
        result: Any = UNSET,
        *,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """The activity is over, with this result."""
        payloads = self._converter.to_payloads([None if result is UNSET else result])
        await self._end(lambda task: attempts.completed(task, payloads, self._client.identity), rpc_timeout)

    async def fail(
        self,
        error: Exception,
        *,
        last_heartbeat_details: Sequence[Any] = (),
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """The attempt has failed: the activity is tried again, or over, as if its code had raised ``error``."""
        converter = self._converter
        failure, details = converter.to_failure(error), converter.to_payloads(last_heartbeat_details)

        def failed(task: ActivityTask) -> ActivityOutcome | Retry:
            if details:
                progress = msgspec.structs.replace(task.progress, heartbeat_details=details)
                task = msgspec.structs.replace(task, progress=progress)
            return attempts.failed(task, failure, self._client.identity, self._now_us())

        await self._end(failed, rpc_timeout)

    async def report_cancellation(
        self, *details: Any, rpc_metadata: Mapping[str, str | bytes] = {}, rpc_timeout: timedelta | None = None
    ) -> None:
        """The activity is over: cancelled. `RPCError` INVALID_ARGUMENT when nobody has asked it to end."""
        payloads = self._converter.to_payloads(details)

        def canceled(task: ActivityTask) -> ActivityOutcome:
            if not task.cancel_requested:
                raise RPCError(
                    f"{pending.text(self._reference)} can't end as cancelled: "
                    "nobody has asked it to end; complete it, or let it fail",
                    RPCStatusCode.INVALID_ARGUMENT,
                )
            return attempts.canceled(task, payloads, self._client.identity)

        await self._end(canceled, rpc_timeout)

    def with_context(self, context: object) -> AsyncActivityHandle:
        """This handle: durable's converters take no serialization context."""
        return self

    # -- the inside

    async def _end(self, what: Callable[[ActivityTask], ActivityOutcome | Retry], timeout: timedelta | None) -> None:
        await self._report(lambda task: attempts.report(task, what(task), self._now_us()), timeout)

    async def _report(self, of: Callable[[ActivityTask], ActivityReport], timeout: timedelta | None) -> Committed:
        def under_way(task: ActivityTask) -> ActivityReport:
            if task.owner is None:
                raise pending.not_found(self._client, self._reference)
            return of(task)

        reported = pending.report(self._client, self._reference, under_way)
        return await within(reported, timeout, ANSWER, MAYBE_DONE)

    def _now_us(self) -> int:
        return self._client.database.store.now_us()
