"""Nexus from workflow code: refused, for there are no endpoints to call."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NoReturn


class NexusOperationCancellationType(IntEnum):
    """What cancelling a call of a Nexus operation means. Values are Temporal's."""

    WAIT_COMPLETED = 0
    ABANDON = 1
    TRY_CANCEL = 2
    WAIT_REQUESTED = 3


def create_nexus_client(*, service: type[Any] | str, endpoint: str) -> NoReturn:
    """Raises RuntimeError."""
    raise RuntimeError(
        f"durable has no Nexus, so there is no endpoint {endpoint!r}: start the workflow behind it as a child, or "
        "call it from an activity"
    )
