"""Event groups: how Temporal's web page shows what belongs together. Accepted so that programs port."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class EventGroup:
    """Commands that belong together. The group is not stored: no page of durable shows it."""

    id: str
    label: str | None = None

    @contextmanager
    def scope(self) -> Generator[None]:
        """A block whose commands belong to the group."""
        yield


def create_event_group(id: str, *, label: str | None = None) -> EventGroup:
    """A group to be handed to the ``event_groups`` of commands. ValueError for an empty id or label."""
    if not id or label == "":
        raise ValueError("an event group has an id, and a label that is not empty if it has one")
    return EventGroup(id, label)
