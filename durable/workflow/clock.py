"""Time and chance in workflow code: the same in every replay."""

from __future__ import annotations

import random as _random
import uuid
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
