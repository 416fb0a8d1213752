"""Changing the code of workflows that are running: patches."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, IntEnum

from durable.context import this_workflow
from durable.workflow.groups import EventGroup


class VersioningIntent(Enum):
    """Which workers a command of a workflow is meant for. Taken for compatibility; nothing is made of it."""

    COMPATIBLE = 1
    DEFAULT = 2


class ContinueAsNewVersioningBehavior(IntEnum):
    """On which version the next run starts. Taken for compatibility; nothing is made of it. Values are Temporal's."""

    UNSPECIFIED = 0
    AUTO_UPGRADE = 1
    USE_RAMPING_VERSION = 2


def patched(id: str, *, event_groups: Sequence[EventGroup] | None = None) -> bool:
    """Is this run to take the new way?

    True, and recorded, for a run that comes here for the first time; False for one that was here before, when the code
    had no such patch. The answer is the same each time in a run. When no run without the patch is left, take the old
    way out, and put `deprecate_patch` in its place.
    """
    return this_workflow().patch(id, deprecated=False)


def deprecate_patch(id: str, *, event_groups: Sequence[EventGroup] | None = None) -> None:
    """Where `patched` was, and the old way is gone. To be removed when no run that was asked by `patched` is left."""
    this_workflow().patch(id, deprecated=True)
