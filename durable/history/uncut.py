"""Waiting for the end of what must not be cut in two, whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def ended(work: Awaitable[T]) -> tuple[asyncio.Future[T], asyncio.CancelledError | None]:
    """The work, once it is over, well or not; and the last cancellation that came meanwhile."""
    doing = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not doing.done():
        try:
            await asyncio.wait([doing])
        except asyncio.CancelledError as error:
            cancelled = error
    return doing, cancelled


async def uncut(work: Awaitable[T]) -> T:
    """What it returns or raises; a cancellation that came meanwhile is raised instead of what it returns."""
    doing, cancelled = await ended(work)
    result = doing.result()
    if cancelled is not None:
        raise cancelled
    return result
