"""What the ledgers of effects want of a worker: its commits told by the store's leave, and old rows removed."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from durable.effects import Age, AttemptSuperseded, Effect
from durable.history import attempts
from durable.history.database import Database
from durable.history.transition import AttemptToken
from durable.history.uncut import uncut
from durable.history.values import Payload, RunStatus

logger = logging.getLogger("durable.worker")

REMOVED_EVERY = 60.0
"""Seconds between two looks for old rows, while there are few."""
REMOVED_AT_ONCE = 100


class Ledgers:
    """Those in which one life of a worker has effects.

    A row may be removed at any time once its activity is over. For an attempt that is late, and finds no row, inserts
    one first, and then asks the store whether it is still the one under way; the end of the activity has taken that
    away before the row was removed, so it rolls back.
    """

    def __init__(self, database: Database, namespace: str) -> None:
        self._database = database
        self._namespace = namespace
        self._at: WeakKeyDictionary[Any, _Removal] = WeakKeyDictionary()
        self._removing: set[asyncio.Task[None]] = set()

    async def knows(self, token: AttemptToken) -> bool:
        """Is it, by the store, the attempt that is under way?"""
        return any(attempts.token(task) == token for task in await self._database.store.tasks(token.run_id))

    async def settle(self, effect: Effect, result: list[Payload], is_ours: Callable[[], bool]) -> list[Payload]:
        """The code has returned: commit what it did in its block. The attempt's result, as the ledger has it.

        Once it is under way no cancellation cuts it short, nor undoes what it has come to.
        """
        if effect.recorded is not None:
            return effect.recorded  # though the code has caught what says so
        if not is_ours():
            raise AttemptSuperseded
        if effect.is_open:
            committing = asyncio.ensure_future(effect.commit(result))
            try:
                await uncut(committing)
            except asyncio.CancelledError:
                if committing.cancelled():
                    raise
            self._committed(effect)
        return result

    def close(self) -> None:
        """What is not removed by now, another worker removes."""
        for each in self._removing:
            each.cancel()

    # -- removal

    def _committed(self, effect: Effect) -> None:
        at = self._at.setdefault(effect.engine, _Removal())
        loop = asyncio.get_running_loop()
        if at.busy or loop.time() < at.next:
            return
        at.busy = True
        removing = loop.create_task(self._remove(effect, at), name="durable-ledger")
        self._removing.add(removing)
        removing.add_done_callback(self._removing.discard)

    async def _remove(self, effect: Effect, at: _Removal) -> None:
        loop = asyncio.get_running_loop()
        at.next = loop.time() + REMOVED_EVERY
        before_us = self._database.store.now_us() - int(effect.keep.total_seconds() * 1_000_000)
        try:
            aged = await effect.aged(before_us, at.after, REMOVED_AT_ONCE)
            over = await self._over([key for _, key in aged])
            if over:
                await effect.remove(over)
            # What others still need stays behind; from the end on, look at it again.
            at.after = aged[-1] if len(aged) == REMOVED_AT_ONCE else None
            if at.after is not None and over:
                at.next = -math.inf
        except Exception as error:
            logger.warning("old rows of a ledger of effects could not be removed: %r", error)
        finally:
            at.busy = False

    async def _over(self, keys: list[str]) -> list[str]:
        """Of these activities, those that are over. One that this store and namespace does not know is not ours."""
        store, by_run = self._database.store, dict[str, list[str]]()
        for key in keys:
            by_run.setdefault(key.partition(":")[0], []).append(key)
        over: list[str] = []
        for run_id, its in by_run.items():
            run = await store.find(self._namespace, "", run_id)
            if run is not None:
                tasks = await store.tasks(run_id) if run.status is RunStatus.RUNNING else []
                open_keys = {attempts.idempotency_key(task.run_id, task.scheduled_event_id) for task in tasks}
                over += [key for key in its if key not in open_keys]
        return over


class _Removal:
    """How far it is, in one database."""

    def __init__(self) -> None:
        self.next = -math.inf
        self.after: Age | None = None
        self.busy = False
