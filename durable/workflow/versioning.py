"""Changing the code of workflows that are running: patches."""

from __future__ import annotations

from enum import Enum

from durable.context import this_workflow


class VersioningIntent(Enum):
    """Which workers a command of a workflow is meant for. Taken for compatibility; nothing is made of it."""

    COMPATIBLE = 1
    DEFAULT = 2


def patched(id: str) -> bool:
    """Is this run to take the new way?

    True, and recorded, for a run that comes here for the first time; False for one that was here before, when the code
    had no such patch. The answer is the same each time in a run. When no run without the patch is left, take the old
    way out, and put `deprecate_patch` in its place.
    """
    return this_workflow().patch(id, deprecated=False)


def deprecate_patch(id: str) -> None:
    """Where `patched` was, and the old way is gone. To be removed when no run that was asked by `patched` is left."""
    this_workflow().patch(id, deprecated=True)
