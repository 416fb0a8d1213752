"""Faults in a store's answers: kept back until the test lets them go, lost, or given twice; and what was refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

from durable import Client
from durable.history.transition import ActivityReport, Beat, Outcome, Refused, Transition, Write
from durable.history.values import RunStatus
from tests.engine.histories import until

Picks = Callable[[Any], bool]


class Hold:
    """Keeps calls of one method of a client's store waiting, on whichever loop: before it is done, or its answer.

    ``when`` picks by the argument (before) or by the answer. It is a block: at its end all go on.
    """

    def __init__(self, client: Client, method: str, when: Picks = lambda _: True, *, answer: bool = False) -> None:
        store: Any = client.database.store
        original = getattr(store, method)
        self._arrived = threading.Event()
        self._let_go = threading.Event()

        async def held(asked: Any) -> Any:
            if not answer and when(asked):
                await self._wait()
            answered = await original(asked)
            if answer and when(answered):
                await self._wait()
            return answered

        setattr(store, method, held)

    async def _wait(self) -> None:
        self._arrived.set()
        while not self._let_go.is_set():  # noqa: ASYNC110 - the lease is renewed on another loop than the test's
            await asyncio.sleep(0.005)

    async def arrived(self) -> None:
        """Somebody waits."""

        async def has() -> bool:
            return self._arrived.is_set()

        await until(has)

    def let_go(self) -> None:
        self._let_go.set()

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *error: object) -> None:
        self.let_go()


def note_refused(client: Client) -> list[Refused]:
    """From now on: what this client, or a worker on it, wanted to write and might not."""
    store: Any = client.database.store
    commit = store.commit
    refused: list[Refused] = []

    def note(outcome: Outcome) -> None:
        if isinstance(outcome, Refused):
            refused.append(outcome)

    async def committing(writes: Sequence[Write]) -> Sequence[Outcome | asyncio.Future[Outcome]]:
        outcomes: Sequence[Outcome | asyncio.Future[Outcome]] = await commit(writes)
        for each in outcomes:
            if isinstance(each, asyncio.Future):  # held up by somebody else's transaction: it is told later
                each.add_done_callback(lambda told: note(told.result()))
            else:
                note(each)
        return outcomes

    store.commit = committing
    return refused


def is_step(writes: Sequence[Write]) -> bool:
    """Is a step of a run among them?"""
    return any(isinstance(write, Transition) and write.start is None for write in writes)


def is_closing(writes: Sequence[Write]) -> bool:
    """Is a run's last step among them?"""
    return any(isinstance(write, Transition) and write.status is not RunStatus.RUNNING for write in writes)


def is_report(writes: Sequence[Write]) -> bool:
    """Is the end of an attempt among them?"""
    return any(isinstance(write, ActivityReport) and not isinstance(write.what, Beat) for write in writes)
