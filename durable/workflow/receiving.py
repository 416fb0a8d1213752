"""Signals as a queue: what a function workflow reads, one after another."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from durable.context import this_workflow

T = TypeVar("T")


@overload
async def receive(name: str, type_hint: type[T], /) -> T: ...


@overload
async def receive(name: str, type_hint: Any = None, /) -> Any: ...


async def receive(name: str, type_hint: Any = None, /) -> Any:
    """The next signal of this name, in order of arrival, read as ``type_hint``: as soon as it is there.

    Signals wait for it as long as it takes; each is received once, and one that can't be read as ``type_hint`` is
    logged and dropped. Without arguments a signal is None, with several a list. ``asyncio.timeout`` around it makes it
    give up, and loses nothing. Raises ValueError when a handler takes these signals.
    """
    return await this_workflow().receive(name, type_hint)
