"""Faults planted in the engine, each a block in which it has that fault: what the simulation has to find."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import msgspec

from durable.history.committer import Committer
from durable.history.errors import UnknownOutcome
from durable.history.stores import plan
from durable.history.stores.sqlite_file import Connection
from durable.history.stores.sqlite_sql import statements
from durable.history.stores.sqlite_workers import Workers
from durable.history.transition import (
    ActivityReport,
    Committed,
    Outcome,
    Refusal,
    Refused,
    RunInfo,
    Send,
    Transition,
    Write,
)

DROPPED_OF = 20


def fence_not_checked() -> AbstractContextManager[object]:
    """A transition holds whoever owns the run, and whatever was appended since."""
    checked = plan.refusal

    def unfenced(transition: Transition, run: RunInfo | None, seen: plan.Seen) -> Refused | None:
        refused = checked(transition, run, seen)
        if run is None or refused is None or refused.reason is not Refusal.FENCED:
            return refused
        current = msgspec.structs.replace(run, owner=transition.owner, last_event_id=transition.last_event_id)
        seen.alive.update(name for name in (transition.new_owner, *(t.owner for t in transition.tasks)) if name)
        return checked(transition, current, seen)

    return patch.object(plan, "refusal", unfenced)


def _with_other_messages(change: Callable[[Sequence[plan.Row]], list[plan.Row]]) -> AbstractContextManager[object]:
    """Whoever adds messages to inboxes adds others."""
    write_many = Connection.write_many

    def write(connection: Connection, statement: str, rows: Sequence[plan.Row]) -> None:
        of_messages = statement == statements().commit.insert_message
        write_many(connection, statement, change(rows) if of_messages else rows)

    return patch.object(Connection, "write_many", write)


def messages_dropped() -> AbstractContextManager[object]:
    """One message in twenty is not written. Which is a matter of the message, so that it is the same in each life."""

    def is_dropped(row: plan.Row) -> bool:
        return zlib.crc32(repr(row).encode()) % DROPPED_OF == 0

    return _with_other_messages(lambda rows: [row for row in rows if not is_dropped(row)])


def messages_committed_twice() -> AbstractContextManager[object]:
    """What a commit adds to inboxes is written twice. (The keys of all other tables refuse a second time.)"""
    return _with_other_messages(lambda rows: [*rows, *rows])


def leases_forgotten() -> AbstractContextManager[object]:
    """Nobody looks whether a lease has run out, or a process is gone: no worker is ever declared dead."""
    return patch.object(Workers, "_bury", lambda *_: [])


def acknowledged_before_the_commit() -> AbstractContextManager[object]:
    """The sender of a message learns that it is written when it is about to be."""
    commit = Committer._commit

    async def hasty(committer: Committer, batch: list[Any]) -> None:
        for write, done in batch:
            if isinstance(write, Send):
                done(Committed(run_id=_run_id(write)))
        silent: Callable[[object], None] = lambda outcome: None  # noqa: E731
        await commit(committer, [(write, silent if isinstance(write, Send) else done) for write, done in batch])

    return patch.object(Committer, "_commit", hasty)


def closed_over_unread_messages() -> AbstractContextManager[object]:
    """A run closes without a look into its inbox."""
    needs = plan.needs

    def blind(transitions: Iterable[Transition]) -> plan.Needs:
        wanted = needs(transitions)
        wanted.closing.clear()
        return wanted

    return patch.object(plan, "needs", blind)


def lost_replies_ignored() -> AbstractContextManager[object]:
    """A commit of which nobody knows what became of it is taken for one that was written."""
    tell = Committer._tell

    def trusting(committer: Committer, batch: list[Any], outcomes: Sequence[Outcome | Exception]) -> None:
        believed = [
            Committed(run_id=_run_id(write)) if isinstance(outcome, UnknownOutcome) else outcome
            for (write, _), outcome in zip(batch, outcomes, strict=True)
        ]
        tell(committer, batch, believed)

    return patch.object(Committer, "_tell", trusting)


def _run_id(write: Write) -> str:
    return write.token.run_id if isinstance(write, ActivityReport) else write.run_id or ""
