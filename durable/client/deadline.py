"""Waiting no longer than the caller will: ``rpc_timeout``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import TypeVar

from durable.service import RPCError, RPCStatusCode

T = TypeVar("T")

ANSWER = "the database's answer"
MAYBE_DONE = "; what was asked for may be done, or not"


def within(wait: Awaitable[T], timeout: timedelta | None, what: str, hint: str = "") -> Awaitable[T]:
    """Its result. `RPCError` DEADLINE_EXCEEDED when the time is over first: ``what`` did not come, and a hint."""
    return wait if timeout is None else _limited(wait, timeout, what, hint)


async def _limited(wait: Awaitable[T], timeout: timedelta, what: str, hint: str) -> T:
    try:
        return await asyncio.wait_for(wait, timeout.total_seconds())
    except TimeoutError:
        raise RPCError(
            f"{what} did not come within {timeout.total_seconds():g} s{hint}",
            RPCStatusCode.DEADLINE_EXCEEDED,
        ) from None
