"""Time and chance in workflow code: the same in every replay."""

from __future__ import annotations

import random as _random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from durable.context import this_workflow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """The time of the current workflow task: aware, UTC, constant within the task."""
    return _EPOCH + timedelta(microseconds=this_workflow().now_us())


def time() -> float:
    """The time of the current workflow task, in seconds since the epoch."""
    return this_workflow().now_us() / 1_000_000


def time_ns() -> int:
    """The time of the current workflow task, in nanoseconds since the epoch."""
    return this_workflow().now_us() * 1000


def random() -> _random.Random:
    """The run's own `random.Random`, seeded from its run id: the same numbers in every replay."""
    return this_workflow().random()


def uuid4() -> uuid.UUID:
    """A UUID from `random`: the same one in every replay."""
    return uuid.UUID(int=random().getrandbits(128), version=4)


def uuid7() -> uuid.UUID:
    """A UUID of the current task's time and of `random`: they sort by time, and are the same in every replay."""
    milliseconds = this_workflow().now_us() // 1000
    chance = random().getrandbits(74)
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | (chance >> 62) << 64 | 0b10 << 62 | chance & (1 << 62) - 1)


def random_seed() -> int:
    """What `random` is seeded with: ``random.Random(workflow.random_seed())`` gives the same numbers."""
    return this_workflow().random_seed()


def new_random(name: str | None = None) -> _random.Random:
    """A generator of its own: by ``name`` one with other numbers, without a name one that begins as `random` does."""
    seed = random_seed()
    return _random.Random(seed if name is None else f"{seed} {name}")


def register_random_seed_callback(callback: Callable[[int], None]) -> None:
    """``callback`` would be called with a new seed. A run keeps its own for good, so it never is."""
    this_workflow()
