"""The interceptors of one attempt: how they are made, and the last links, which run the code and serve it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from durable.activity import Info
from durable.worker.interceptor import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

if TYPE_CHECKING:
    from durable.worker.attempt import Attempt


def chained(attempt: Attempt, interceptors: Sequence[Interceptor]) -> ActivityInboundInterceptor:
    """What the interceptors make of it, the first outermost, told of each other."""
    inbound: ActivityInboundInterceptor = _Inbound(attempt)
    for each in reversed(interceptors):
        inbound = each.intercept_activity(inbound)
    inbound.init(_Outbound(attempt))
    return inbound


class _Inbound(ActivityInboundInterceptor):
    """Runs the code."""

    def __init__(self, attempt: Attempt) -> None:  # pyright: ignore[reportMissingSuperCall] - there is no next one
        self._attempt = attempt

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        self._attempt.outbound = outbound

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        call = getattr(input.fn, "__call__", None)  # noqa: B004 - of an object, it is what is async or not
        is_async = inspect.iscoroutinefunction(input.fn) or inspect.iscoroutinefunction(call)
        return await self._attempt.run_code(input.fn, input.args, input.kwargs, input.executor, is_async=is_async)


class _Outbound(ActivityOutboundInterceptor):
    """Does it."""

    def __init__(self, attempt: Attempt) -> None:  # pyright: ignore[reportMissingSuperCall] - there is no next one
        self._attempt = attempt

    def info(self) -> Info:
        return self._attempt.own_info()

    def heartbeat(self, *details: Any) -> None:
        self._attempt.own_heartbeat(details)
