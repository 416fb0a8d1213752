"""A loop of its own for what must not wait for the program's: a PostgreSQL connection belongs to one loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from durable.history.errors import StoreUnavailable
from durable.history.host import Aside, Host

T = TypeVar("T")


class Elsewhere:
    """Runs coroutines apart from whoever asks; ``close`` is run there at the end."""

    def __init__(self, host: Host, name: str, close: Callable[[], Awaitable[None]]) -> None:
        self._loop: Future[asyncio.AbstractEventLoop] = Future()
        self._close = close
        self._aside: Aside = host.aside(name, self._main)
        self._stopped = False

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Its result, or its exception. Cancelling the wait does not undo the work. May be called from any loop."""
        if self._stopped:
            raise StoreUnavailable("this was closed already: close workers before their client")
        loop = await asyncio.wrap_future(self._loop)
        return await asyncio.shield(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), loop)))

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.wrap_future(self._loop)
        await self._aside.stop()

    async def _main(self) -> None:
        self._loop.set_result(asyncio.get_running_loop())
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self._close()
