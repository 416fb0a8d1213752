"""One process's way to one store: its commits in groups, and whoever waits for something woken when it is there.

Clients and workers of a process that share a connection share one `Database`. What is committed through it wakes them
by a direct call; what other processes commit the store gives a hint of: see `Store.on_change`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from durable.history import codec
from durable.history.beginning import StartRequest
from durable.history.committer import Committer, Done
from durable.history.errors import HistoryError, StoreUnavailable
from durable.history.events import ClosingEvent
from durable.history.host import Host
from durable.history.store import Store
from durable.history.transition import (
    ActivityReport,
    Beat,
    Committed,
    Detach,
    Outcome,
    Send,
    Steer,
    Transition,
    Write,
)
from durable.history.values import RunStatus
from durable.history.visibility.attributes import AttributeType

logger = logging.getLogger("durable.client")

WATCH_INTERVAL = 0.025
LOOK_INTERVAL = 1.0
AGAIN_AFTER = 1.0
RECENT_MAX = 1000
NEVER = 1 << 62

Due = Callable[[int], None]


class Starter(Protocol):
    """A worker of this process that can take a start's first workflow task into the start's own commit."""

    def takes(self, request: StartRequest) -> bool: ...

    async def start(self, request: StartRequest, run_id: str) -> Outcome: ...

    def owns(self, run_id: str) -> bool: ...

    def quiet_until(self) -> int | None:
        """When the next thing that it knows of falls due (µs, `NEVER` if nothing); None while it is at work."""
        ...


class Database:
    """See the module. ``open`` before use, ``close`` after it. ``watch_interval`` is in seconds."""

    def __init__(self, store: Store, host: Host, *, watch_interval: float = WATCH_INTERVAL) -> None:
        self.store = store
        self.host = host
        self.starters: list[Starter] = []
        self._committer = Committer(store)
        self._listeners: list[Due] = []
        self._closings: dict[str, list[asyncio.Future[ClosingEvent]]] = {}
        self._recent: OrderedDict[str, bytes] = OrderedDict()
        self._replies: dict[str, list[asyncio.Future[bytes]]] = {}
        self._outside: OrderedDict[tuple[str, int], None] = OrderedDict()
        """Activities that were let go of through this, so that tests don't skip the time until somebody ends them."""
        self._watch: asyncio.Task[None] | None = None
        self._watch_interval = watch_interval
        self._hinted = asyncio.Event()
        self._news = False
        self._doubtful: set[str] = set()
        """Runs of which a worker of this process may not know yet that they are closed."""
        self.attribute_types: dict[str, dict[str, AttributeType]] = {}
        """Those that are known, by namespace: they never change, and others may come."""
        self._pid = os.getpid()

    def check_process(self) -> None:
        """Raises `StoreUnavailable` in a process that was forked since: it has the objects, and nothing behind them."""
        if os.getpid() != self._pid:
            raise StoreUnavailable(
                f"process {self._pid} made this client, and process {os.getpid()} was forked from it: threads and "
                "connections don't survive that; connect after the fork, in each process (gunicorn: post_fork)"
            )

    async def open(self) -> Database:
        await self.store.__aenter__()
        await self._committer.__aenter__()
        self._watch = asyncio.create_task(self._watching(), name="durable-watch")
        return self

    async def close(self) -> None:
        """Commit what waits, then close the store. Whoever still waits gets an error."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
            self._watch = None
        await self._committer.__aexit__(None, None, None)
        await self.store.__aexit__(None, None, None)
        closings: list[asyncio.Future[Any]] = [waiter for each in self._closings.values() for waiter in each]
        for waiter in [*closings, *(waiter for each in self._replies.values() for waiter in each)]:
            if not waiter.done():
                waiter.set_exception(StoreUnavailable("the client was closed while this was waiting"))

    # -- writing

    def submit(self, write: Write, done: Done) -> None:
        """Write with the next commit; see `Committer.submit`. Whoever waits for it is woken before ``done``."""

        def committed(outcome: Outcome | Exception) -> None:
            if isinstance(outcome, Committed) and not outcome.existing:
                self._committed(write)
            done(outcome)

        self._committer.submit(write, committed)

    async def write(self, write: Write) -> Outcome:
        """Write with the next commit, and wait for the outcome."""
        outcome = await self._committer.write(write)
        if isinstance(outcome, Committed) and not outcome.existing:
            self._committed(write)
        return outcome

    def joined(self, write: Write) -> None:
        """It was written in somebody's own transaction, which is committed now."""
        self._committed(write)
        self.store.tell()

    def committed_beside(self, replaced: Iterable[str] = ()) -> None:
        """Somebody's own transaction is committed, in which something was written here, and these runs were replaced,
        unless a savepoint has taken it back: look what it is, and tell others."""
        self._doubtful.update(replaced)
        self._due(0)
        self.store.tell()
        self._news = True
        self.hint()

    @property
    def stalled_for(self) -> float:
        """For how many seconds the commit under way has waited for its answer; 0.0 when there is none."""
        return self._committer.stalled_for

    def quiet_until(self) -> int | None:
        """When the next thing falls due; None while something is at work: a commit, a worker of this process, or
        somebody outside who is to end an activity."""
        if not self._committer.is_idle or self._outside:
            return None
        moments = [starter.quiet_until() for starter in self.starters]
        known = [moment for moment in moments if moment is not None]
        return min(known, default=NEVER) if len(known) == len(moments) else None

    def look(self) -> None:
        """Let everybody ask at once whether something is due: the clock was moved."""
        self._due(0)

    # -- waking

    def hint(self) -> None:
        """Somebody else has committed: look now, and not only at the next look."""
        self._hinted.set()

    def listen(self, due: Due) -> Callable[[], None]:
        """``due(at_us)`` is called when something may fall due at ``at_us`` (0: look now). The answer ends that."""
        self._listeners.append(due)
        return lambda: self._listeners.remove(due)

    async def closing_event(self, run_id: str) -> ClosingEvent:
        """The event that closed the run, as soon as it is closed."""
        batch = self._recent.get(run_id)
        if batch is not None:
            return _last(batch)
        waiter: asyncio.Future[ClosingEvent] = asyncio.get_running_loop().create_future()
        self._closings.setdefault(run_id, []).append(waiter)
        try:
            if not any(starter.owns(run_id) for starter in self.starters):
                await self._look_for_closings([run_id])
            return await waiter
        finally:
            waiters = self._closings.get(run_id)
            if waiters is not None:
                waiters.remove(waiter)
                if not waiters:
                    del self._closings[run_id]

    async def reply(self, *reply_ids: str) -> bytes:
        """The answer with one of these ids, as soon as one is there."""
        waiter: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        for reply_id in reply_ids:
            self._replies.setdefault(reply_id, []).append(waiter)
        try:
            await self._look_for_replies(list(reply_ids))
            return await waiter
        finally:
            for reply_id in reply_ids:
                waiters = self._replies[reply_id]
                waiters.remove(waiter)
                if not waiters:
                    del self._replies[reply_id]

    # -- the inside

    def _committed(self, write: Write) -> None:
        match write:
            case Transition():
                self._stepped(write)
            case Send():
                self._due(write.message.due_us)
            case ActivityReport(what=what):
                self._note_outside(write)
                if isinstance(what, Detach | Steer) or write.if_reset is not None:
                    self._due(0)
                elif not isinstance(what, Beat):
                    self._due(what.due_us)

    def _note_outside(self, report: ActivityReport) -> None:
        key = (report.token.run_id, report.token.scheduled_event_id)
        if isinstance(report.what, Detach):
            self._outside[key] = None
            if len(self._outside) > RECENT_MAX:  # another process may end them
                self._outside.popitem(last=False)
        elif not isinstance(report.what, Beat | Steer):
            self._outside.pop(key, None)

    def _stepped(self, transition: Transition) -> None:
        if transition.status is not RunStatus.RUNNING:
            for key in [key for key in self._outside if key[0] == transition.run_id]:
                del self._outside[key]
        if transition.status is not RunStatus.RUNNING and transition.events is not None:
            self._closed(transition.run_id, transition.events.data)
        if transition.start is not None and transition.start.replaces is not None:
            self._stepped(transition.start.replaces)
        for reply in transition.replies:
            self._replied(reply.id, reply.body)
        if transition.successor is not None:
            self._stepped(transition.successor)
        dues = [message.due_us for message in transition.messages]
        dues += [task.due_us for task in transition.tasks if task.owner is None]
        if transition.cancelled_activities:
            dues.append(0)
        if dues:
            self._due(min(dues))

    def _closed(self, run_id: str, batch: bytes) -> None:
        self._recent[run_id] = batch
        if len(self._recent) > RECENT_MAX:
            self._recent.popitem(last=False)
        waiters = self._closings.get(run_id)
        if waiters:
            event = _last(batch)
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(event)

    def _due(self, at_us: int) -> None:
        for listener in self._listeners:
            listener(at_us)

    async def _watching(self) -> None:
        """Notice what other processes commit. A database that is away for a while is asked again; this never ends."""
        loop = asyncio.get_running_loop()
        look_at = loop.time() + LOOK_INTERVAL
        stop = self.store.on_change(self.hint, self._watch_interval)
        try:
            while True:
                look = loop.call_at(look_at, self.hint)
                try:
                    await self._hinted.wait()
                finally:
                    look.cancel()
                self._hinted.clear()
                try:
                    changed = self.store.changed() or self._news
                    self._news = False
                    if changed:
                        self._due(0)
                    if changed or loop.time() >= look_at:
                        look_at = loop.time() + LOOK_INTERVAL
                        doubtful = set(self._doubtful)
                        await self._look_for_closings([*self._closings, *doubtful])
                        self._doubtful -= doubtful
                        await self._look_for_replies(list(self._replies))
                except HistoryError as error:
                    logger.warning("looking for changes failed: %s", error)
                    await asyncio.sleep(AGAIN_AFTER)
                    look_at = loop.time()
        finally:
            stop()

    async def _look_for_closings(self, run_ids: list[str]) -> None:
        if not run_ids:
            return
        for run_id, batch in (await self.store.endings(run_ids)).items():
            if run_id in self._closings or run_id in self._doubtful:
                self._closed(run_id, batch)

    async def _look_for_replies(self, ids: list[str]) -> None:
        if not ids:
            return
        for reply_id, body in (await self.store.replies(ids)).items():
            self._replied(reply_id, body)

    def _replied(self, reply_id: str, body: bytes) -> None:
        for waiter in self._replies.get(reply_id, ()):
            if not waiter.done():
                waiter.set_result(body)


def _last(batch: bytes) -> ClosingEvent:
    event = codec.decode_events(batch)[-1]
    assert isinstance(event, ClosingEvent)
    return event
