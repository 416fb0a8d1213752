"""Waiting no longer than the caller will: ``rpc_timeout``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import TypeVar

from durable.service import RPCError, RPCStatusCode

T = TypeVar("T")


async def within(wait: Awaitable[T], timeout: timedelta | None, what: str) -> T:
    """Its result. `RPCError` DEADLINE_EXCEEDED when the time is over first; ``what`` says what did not come."""
    if timeout is None:
        return await wait
    try:
        return await asyncio.wait_for(wait, timeout.total_seconds())
    except TimeoutError:
        raise RPCError(
            f"{what} did not come within {timeout.total_seconds():g} s; does a worker of its task queue run?",
            RPCStatusCode.DEADLINE_EXCEEDED,
        ) from None
