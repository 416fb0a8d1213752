"""The contract that every store keeps, in prose; one suite of tests holds all stores to it.

**Commit.** ``commit(writes)`` applies many writes in one database transaction and answers each one, in order. A write
is refused alone: the others are written. In a batch there is at most one transition per run and per workflow id; the
committer sees to that. What each kind of write needs in order to hold stands at its type in `transition`. When the call
raises `UnknownOutcome`, all of it or nothing of it is written. Nothing is acknowledged before it is durable.

**A run can be claimed** by a worker that serves its task queue in its namespace when

- a message of it is due, and
- nobody owns it, or its owner is dead, or the claimer owns it already, or the message has waited ``steal_after_us``
  (10 s by default; the fence makes stealing safe), and
- the claimer is alive.

It is claimed with its messages that are due, and with those that don't wait for a time of their own (all but timers and
"workflow task due"), due or not: the clock of their sender may have been set back since.

**Of what nobody has**, runs and activity tasks, and what has fallen due since the claim's ``shares_since_us``, a claim
takes one in so many as there are living workers, at least one; those who look at the same time take different ones.

**A run that is closed** can be claimed by the same rule; only messages that outlive it are left in its inbox.

**An activity task can be claimed** by a worker that serves its queue in its namespace when

- its ``due_us`` has come, and
- nobody owns it, and
- it is not paused, and
- the claimer is alive.

Those with priority 1 are taken before those with 2, and so on; of the same priority, those that are due longest.
Claiming sets owner, ``attempt + 1``, ``started_us`` and the deadline that `attempts.deadline_us` gives.

**A worker is dead** when another one has declared it dead, which is final. Declaring needs that the operating system
says that its process is gone; or that its lease has run out, and the declarer's own last two renewals were on time.
With the declaration, in one transaction, its runs lose their owner, those that had a message to read count
one death more, and its attempts are ``lost`` and so overdue (``deadline_us`` = now; the owner stays, as part of the
token): they may still end, but no heartbeat keeps them alive.

**An attempt whose outcome comes from outside** belongs to nobody that could die or stop: its owner is `OUTSIDE`. It is
overdue at its deadline as every other one.

**An activity that is reset** while an attempt is under way is not ended by that attempt's failure, if the report says
what happens instead (``if_reset``); and by no transition, for that can't say it.

**Time** is ``now_us()``: the store's, the same for all who share it. A timer is due when its ``due_us`` ≤ now.

**What can't be read** (bytes of a later version, or broken ones) harms nothing else: a task's row says so in
``unreadable``, and a message's or an event's bytes are handed out as they are.

**Order.** Messages of a run are read in the order of their ids, which is the order of their commits for one sender.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from durable.history.transition import (
    ActivityTask,
    Claim,
    Claimed,
    Outcome,
    Renewal,
    RunInfo,
    StoredMessage,
    WorkerInfo,
    Write,
)
from durable.history.visibility.attributes import AttributeType
from durable.history.visibility.search import EVERY_WORKFLOW, Group, Position, Search

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

Joiner = Callable[["Connection", Write], Outcome | None]


class Store(Protocol):
    """Where runs live. ``async with`` opens it (and brings its tables up to date), and closes it."""

    async def __aenter__(self) -> Store: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def now_us(self) -> int:
        """The store's time, in microseconds since the epoch."""
        ...

    def new_id(self) -> str:
        """A new UUIDv7."""
        ...

    async def commit(self, writes: Sequence[Write]) -> Sequence[Outcome | asyncio.Future[Outcome]]:
        """Write all that hold, in one database transaction; one outcome per write, in order.

        A write that somebody else's open transaction holds up waits alone: its outcome is a future, which may raise
        what this call may.
        """
        ...

    async def claim(self, claim: Claim) -> Claimed:
        """Take runs and activity tasks that are due; many at once, with their histories in one read.

        Raises `WorkerDead` when the claimer has been declared dead.
        """
        ...

    async def register(self, worker: WorkerInfo) -> None:
        """A new worker: its row and its sign of life (what tells the others that its process has ended). Its id must
        be new."""
        ...

    async def unpark(self, namespace: str, task_queues: Sequence[str], worker_id: str) -> int:
        """Make the parked runs of these queues due now, and this worker's, so that its code is tried; how many."""
        ...

    async def renew(self, worker: WorkerInfo) -> Renewal:
        """Renew the worker's lease, measure the time, declare others dead that are."""
        ...

    async def release(self, worker_id: str) -> None:
        """Hand all back at once: runs lose this owner, tasks too (their attempt under way does not count, but for
        an activity that may begin only once: that attempt is ``lost``)."""
        ...

    async def joiner(self) -> Joiner:
        """What makes a write a part of somebody else's transaction in this database.

        It answers as `commit` does, of what holds if that transaction commits; None when something else is in the way
        for now. ValueError for a transaction of another database.
        """
        ...

    def tell_within(self, connection: Connection) -> None:
        """Let whoever waits be told when the transaction on this connection commits, where that takes a statement."""
        ...

    def tell(self) -> None:
        """What was joined to somebody's transaction is committed."""
        ...

    def engine(self) -> AsyncEngine:
        """An engine for users' transactions in this database, which take turns with the store's own."""
        ...

    def sync_engine(self) -> Engine:
        """The same for threads. Raises `StoreUnavailable` without a driver for it."""
        ...

    @property
    def writes_in_turn(self) -> bool:
        """Do all writers wait while a user's transaction is open?"""
        ...

    def changed(self) -> bool:
        """Has anybody else (another process, a user's session) committed since the last call? Cheap, no waiting."""
        ...

    def on_change(self, hint: Callable[[], None], every_s: float) -> Callable[[], None]:
        """``hint`` is called on this loop while `changed` may have something to say; the answer ends that.

        Where nothing tells, it is looked for every so many seconds, which wakes the loop only if there is something.
        """
        ...

    async def find(self, namespace: str, workflow_id: str, run_id: str | None = None) -> RunInfo | None:
        """A run by its workflow id (the latest one), or by its run id; ``workflow_id`` "" matches any."""
        ...

    async def endings(self, run_ids: Sequence[str]) -> dict[str, bytes]:
        """By run id, the last row of the histories of these runs, of those that are closed."""
        ...

    async def list_runs(
        self, namespace: str, search: Search = EVERY_WORKFLOW, *, limit: int = 1000, after: Position | None = None
    ) -> list[RunInfo]:
        """The runs of a namespace that pass a search, in its order; ``after`` the last one of the page before.

        What was committed before is in it. Raises `InvalidQuery`, and `SearchTooSlow` when it was stopped.
        """
        ...

    async def count_runs(self, namespace: str, search: Search) -> list[Group]:
        """How many pass: one group, or one for each combination of the values that the query groups by. Raises as
        `list_runs`."""
        ...

    async def attribute_types(self, namespace: str) -> dict[str, AttributeType]:
        """The search attributes that a namespace has."""
        ...

    async def add_attribute_types(self, namespace: str, types: Mapping[str, AttributeType]) -> None:
        """Search attributes that it has from now on; those that it has keep their type."""
        ...

    async def history(self, run_id: str, after: int = 0) -> list[bytes]:
        """A run's history: the rows, encoded, that hold events with ids above ``after``; in order."""
        ...

    async def inbox(self, run_id: str) -> list[StoredMessage]:
        """All messages of a run, in order, due or not."""
        ...

    async def tasks(self, run_id: str) -> list[ActivityTask]:
        """The activities of a run that are not over."""
        ...

    async def replies(self, ids: Sequence[str]) -> dict[str, bytes]:
        """The answers that are there."""
        ...
