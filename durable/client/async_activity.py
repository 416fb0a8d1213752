"""An attempt of an activity whose outcome comes from outside of it: heartbeats, and the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from durable.client.activity_inputs import (
    CompleteAsyncActivityInput,
    FailAsyncActivityInput,
    HeartbeatAsyncActivityInput,
    ReportCancellationAsyncActivityInput,
)
from durable.client.pending import AsyncActivityIDReference
from durable.converter import DataConverter
from durable.converter.context import SerializationContext, WithSerializationContext
from durable.workflow.calls import UNSET

if TYPE_CHECKING:
    from durable.client.client import Client


class AsyncActivityHandle(WithSerializationContext):
    """An activity under way, by the token of its attempt or by its ids: from `Client.get_async_activity_handle`.

    It may be used in any process. Every method raises `RPCError` NOT_FOUND when the attempt is over (it has ended, a
    timeout ran out, its workflow is closed), DEADLINE_EXCEEDED when the database takes longer than ``rpc_timeout``.
    ``rpc_metadata`` is taken for compatibility. ``data_converter_override`` goes before the client's converter, and is
    used as it is; the client's gets the context of the activity, which is looked up.
    """

    def __init__(
        self,
        client: Client,
        id_or_token: AsyncActivityIDReference | bytes,
        data_converter_override: DataConverter | None = None,
    ) -> None:
        self._client = client
        self._id_or_token = id_or_token
        self._override = data_converter_override

    async def heartbeat(
        self, *details: Any, rpc_metadata: Mapping[str, str | bytes] = {}, rpc_timeout: timedelta | None = None
    ) -> None:
        """The attempt lives; ``details`` are what the next one finds in ``activity.info().heartbeat_details``.

        Raises `AsyncActivityCancelledError` when the activity was asked to end, or was paused or reset; the heartbeat
        counts all the same.
        """
        await self._client.outbound.heartbeat_async_activity(
            HeartbeatAsyncActivityInput(self._id_or_token, details, rpc_metadata, rpc_timeout, self._override)
        )

    async def complete(
        self,
        result: Any = UNSET,
        *,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """The activity is over, with this result."""
        value = None if result is UNSET else result
        await self._client.outbound.complete_async_activity(
            CompleteAsyncActivityInput(self._id_or_token, value, rpc_metadata, rpc_timeout, self._override)
        )

    async def fail(
        self,
        error: Exception,
        *,
        last_heartbeat_details: Sequence[Any] = (),
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """The attempt has failed: the activity is tried again, or over, as if its code had raised ``error``."""
        await self._client.outbound.fail_async_activity(
            FailAsyncActivityInput(
                self._id_or_token, error, last_heartbeat_details, rpc_metadata, rpc_timeout, self._override
            )
        )

    async def report_cancellation(
        self, *details: Any, rpc_metadata: Mapping[str, str | bytes] = {}, rpc_timeout: timedelta | None = None
    ) -> None:
        """The activity is over: cancelled. `RPCError` INVALID_ARGUMENT when nobody has asked it to end."""
        await self._client.outbound.report_cancellation_async_activity(
            ReportCancellationAsyncActivityInput(self._id_or_token, details, rpc_metadata, rpc_timeout, self._override)
        )

    def with_context(self, context: SerializationContext) -> AsyncActivityHandle:
        """A handle that converts for this context instead of the activity's own."""
        converter = (self._override or self._client.data_converter).with_context(context)
        return AsyncActivityHandle(self._client, self._id_or_token, converter)
