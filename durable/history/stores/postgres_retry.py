"""What was rolled back is done again: because of others a few times, with pauses that chance sets; on a new session."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from durable.history.errors import StoreUnavailable
from durable.history.stores.postgres_address import Address
from durable.history.stores.postgres_connection import SessionLost
from durable.history.stores.postgres_errors import HELD_UP, ROLLED_BACK

T = TypeVar("T")

TRIES = 8
PAUSE_FIRST = 0.004


class Outrun(Exception):
    """Somebody else has written what was decided to be free: decide again."""


async def persist(work: Callable[[], Awaitable[T]], chance: random.Random, address: Address) -> T:
    """The result of ``work``, which leaves nothing behind when it fails. Raises `StoreUnavailable` at last."""
    pause = PAUSE_FIRST
    for _ in range(TRIES - 1):
        try:
            return await work()
        except (HELD_UP, ROLLED_BACK, Outrun, SessionLost):
            await asyncio.sleep(chance.uniform(0, pause))
            pause *= 2
    try:
        return await work()
    except (HELD_UP, ROLLED_BACK, Outrun) as error:
        raise StoreUnavailable(
            f"the {address.name} is too contended: others were in the way {TRIES} times ({error}); nothing is written"
        ) from error
