"""Group commit: many writes, one transaction, each one's outcome.

While one commit is under way, all that is submitted gathers and goes into the next. No timer; nothing waits while the
store is idle.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from types import TracebackType

from durable.history.errors import UnknownOutcome
from durable.history.store import Store
from durable.history.transition import Outcome, Transition, Write

Done = Callable[[Outcome | Exception], None]
Answer = Outcome | Exception | asyncio.Future[Outcome]
_Waiting = tuple[Write, Done]


class Committer:
    """One task that commits for all. ``async with`` starts it; leaving the block commits what waits, then ends it."""

    def __init__(self, store: Store, *, batch_max: int = 1000) -> None:
        self._store = store
        self._batch_max = batch_max
        self._waiting: deque[_Waiting] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._open = False
        self._under_way_since: float | None = None
        self._held_up: set[asyncio.Future[Outcome]] = set()

    async def __aenter__(self) -> Committer:
        self._open = True
        self._task = asyncio.create_task(self._run(), name="durable-committer")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._open = False
        self._rouse()
        if self._task is not None:
            await self._task
        while self._held_up:
            await asyncio.wait(self._held_up)

    @property
    def is_idle(self) -> bool:
        """Is nothing waiting, and nothing under way?"""
        return not self._waiting and self._under_way_since is None and not self._held_up

    @property
    def stalled_for(self) -> float:
        """For how many seconds the commit under way has waited for its answer; 0.0 when there is none."""
        since = self._under_way_since
        return asyncio.get_running_loop().time() - since if since is not None else 0.0

    def submit(self, write: Write, done: Done) -> None:
        """Write with the next commit; ``done`` is called on the loop with the outcome, or with why there is none.

        ``done`` gets `UnknownOutcome` (written or not: read again) or `StoreUnavailable` (nothing is written) when the
        whole commit failed. Two transitions of one run, or two starts of one workflow id, go into two commits,
        in order.
        """
        if not self._open:
            raise RuntimeError("the committer is closed: nothing is written any more; start a new client or worker")
        self._waiting.append((write, done))
        self._rouse()

    async def write(self, write: Write) -> Outcome:
        """Write with the next commit, and wait for the outcome; raises what `submit` would hand to ``done``."""
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(outcome: Outcome | Exception) -> None:
            if answer.done():
                return  # whoever waited was cancelled
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

        self.submit(write, done)
        return await answer

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _run(self) -> None:
        while True:
            while not self._waiting:
                if not self._open:
                    return
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
            self._under_way_since = asyncio.get_running_loop().time()
            await self._commit(self._next())
            self._under_way_since = None

    async def _commit(self, batch: list[_Waiting]) -> None:
        try:
            outcomes: Sequence[Answer] = await self._store.commit([write for write, _ in batch])
        except Exception as error:
            outcomes = [error] * len(batch)
        except BaseException:
            self._open = False
            lost = UnknownOutcome("the commit was interrupted: it may be written or not; read again")
            self._tell([*batch, *self._waiting], [lost] * (len(batch) + len(self._waiting)))
            raise
        self._tell(batch, outcomes)

    def _tell(self, batch: list[_Waiting], outcomes: Sequence[Answer]) -> None:
        for (_, done), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, asyncio.Future):
                self._tell_later(done, outcome)
                continue
            try:
                done(outcome)
            except Exception as error:
                asyncio.get_running_loop().call_exception_handler(
                    {"message": f"telling the outcome of a write failed: {error!r}", "exception": error}
                )

    def _tell_later(self, done: Done, held_up: asyncio.Future[Outcome]) -> None:
        """This one waits for somebody else's transaction; the next commits go on meanwhile."""

        def ended(held_up: asyncio.Future[Outcome]) -> None:
            self._held_up.discard(held_up)
            if held_up.cancelled():
                lost = UnknownOutcome("the commit was interrupted: it may be written or not; read again")
                done(lost)
            else:
                error = held_up.exception()
                done(error if isinstance(error, Exception) else held_up.result())

        self._held_up.add(held_up)
        held_up.add_done_callback(ended)

    def _next(self) -> list[_Waiting]:
        """What goes into one commit: all that waits, except a second transition of a run or workflow id."""
        taken: set[Hashable] = set()
        batch: list[_Waiting] = []
        later: list[_Waiting] = []
        while self._waiting and len(batch) < self._batch_max:
            item = self._waiting.popleft()
            keys = conflict_keys(item[0])
            if taken.isdisjoint(keys):
                batch.append(item)
            else:
                later.append(item)
            taken.update(keys)
        self._waiting.extendleft(reversed(later))
        return batch


def conflict_keys(write: Write) -> tuple[Hashable, ...]:
    """What a write must have for itself within one commit."""
    if not isinstance(write, Transition):
        return ()
    if write.start is None:
        return (write.run_id,)
    own = (write.run_id, (write.start.namespace, write.start.workflow_id))
    return own if write.start.replaces is None else (*own, write.start.replaces.run_id)
