"""Time that skips: it runs as everywhere, and jumps to the next thing that falls due while somebody awaits a result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import anyio

from durable.client import Client, WorkflowHandle
from durable.history.database import NEVER, Database
from durable.history.host import Machine

R = TypeVar("R")

LOOK_INTERVAL = 0.001
QUIET_LOOKS = 2
RESULT_INTERVAL = 0.25
PARKED_LOOKS = 4


class SkippingHost(Machine):
    """This machine, with a clock that can be moved forward."""

    def __init__(self) -> None:
        super().__init__()
        self._skipped_us = 0

    def now_us(self) -> int:
        return super().now_us() + self._skipped_us

    def skip_to(self, at_us: int) -> None:
        """It is ``at_us`` now, if it is not later already."""
        self._skipped_us += max(0, at_us - self.now_us())


class TimeSkipper:
    """Moves the clock while it is unlocked and nothing is at work: no commit, no workflow, no activity.

    ``patience``: after so many seconds in which nothing is at work and nothing will ever fall due, whoever awaits a
    result gets an `AssertionError`; None: they wait on, for what may come from outside.
    """

    def __init__(self, host: SkippingHost, *, patience: float | None = None) -> None:
        self.patience = patience
        self._host = host
        self._databases: list[Database] = []
        self._unlocked = 0
        self._disabled = 0
        self._wake = asyncio.Event()
        self._skipped = asyncio.Event()
        self._sleepers: list[int] = []
        self._stuck_since: float | None = None

    def join(self, database: Database) -> Callable[[], None]:
        """What works on this database counts from now on, until the answer is called."""
        self._databases.append(database)
        return lambda: self._databases.remove(database)

    @contextmanager
    def unlocked(self) -> Generator[None]:
        """Time may skip in this block."""
        self._unlocked += 1
        self._wake.set()
        try:
            yield
        finally:
            self._unlocked -= 1

    @contextmanager
    def disabled(self) -> Generator[None]:
        """Time does not skip in this block, whoever waits."""
        self._disabled += 1
        try:
            yield
        finally:
            self._disabled -= 1
            self._wake.set()

    async def sleep_until(self, at_us: int) -> None:
        """Until it is ``at_us``; skipping there when nothing is at work and nothing falls due before."""
        self._sleepers.append(at_us)
        try:
            with self.unlocked():
                while (wait_us := at_us - self._host.now_us()) > 0:
                    self._skipped.clear()
                    with anyio.move_on_after(wait_us / 1_000_000):
                        await self._skipped.wait()
        finally:
            self._sleepers.remove(at_us)

    async def result(self, wanted: Awaitable[R], parked: Callable[[], Awaitable[str | None]]) -> R:
        """Await ``wanted`` while time may skip; AssertionError when it will never come.

        ``parked`` says why the code of the workflow can't go on, if so.
        """
        __tracebackhide__ = True
        with self.unlocked():
            waiting = asyncio.ensure_future(wanted)
            reasons = 0
            try:
                while not (await asyncio.wait([waiting], timeout=RESULT_INTERVAL))[0]:
                    if self._is_stuck():
                        raise AssertionError(
                            "nothing is at work and nothing will fall due: without a message from outside, this "
                            "workflow waits for ever"
                        )
                    reason = await parked()
                    reasons = reasons + 1 if reason is not None else 0
                    if reasons == PARKED_LOOKS:
                        raise AssertionError(f"the code of this workflow can't go on, however often it tries: {reason}")
                return waiting.result()
            finally:
                waiting.cancel()

    async def work(self) -> None:
        """Skip whenever it may; for ever."""
        looks = 0
        while True:
            if not self._unlocked or self._disabled:
                self._stuck_since = None
                self._wake.clear()
                await self._wake.wait()
                continue
            until = self._quiet_until()
            looks = looks + 1 if until is not None else 0
            if until is not None and looks >= QUIET_LOOKS:
                looks = 0
                self._skip(min([until, *(at_us for at_us in self._sleepers if at_us > self._host.now_us())]))
            elif until is None:
                self._stuck_since = None
            await asyncio.sleep(LOOK_INTERVAL)

    def _quiet_until(self) -> int | None:
        moments = [database.quiet_until() for database in self._databases]
        known = [moment for moment in moments if moment is not None]
        return min(known, default=NEVER) if len(known) == len(moments) else None

    def _skip(self, at_us: int) -> None:
        if at_us < NEVER:
            self._stuck_since = None
            self._host.skip_to(at_us)
            self._skipped.set()
            for database in self._databases:
                database.look()
            return
        self._stuck_since = self._stuck_since or self._host.monotonic()

    def _is_stuck(self) -> bool:
        since = self._stuck_since
        return self.patience is not None and since is not None and self._host.monotonic() - since > self.patience


class SkippingClient(Client):
    """A client in whose tests time skips while the result of a workflow that it started is awaited."""

    skipper: TimeSkipper

    def started_handle(
        self, id: str, run_id: str, result_type: Any, *, first_execution_run_id: str | None
    ) -> WorkflowHandle[Any, Any]:
        return _SkippingHandle(
            self,
            id,
            result_run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=result_type,
        )


class _SkippingHandle(WorkflowHandle[Any, R]):
    async def result(self, **options: Any) -> R:
        __tracebackhide__ = True
        assert isinstance(self._client, SkippingClient)
        return await self._client.skipper.result(super().result(**options), self._parked)

    async def _parked(self) -> str | None:
        run = await self._client.database.store.find(self._client.namespace, self.id, self.result_run_id)
        return run.parked if run is not None else None
