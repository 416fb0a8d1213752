"""Pure: when a history has grown so long that its run had better continue as new."""

from __future__ import annotations

EVENTS_SUGGESTED = 4096
BYTES_SUGGESTED = 4 * 1024 * 1024
"""Temporal's defaults."""


def suggests(event_count: int, size_bytes: int) -> bool:
    """Is either of the two reached?"""
    return event_count >= EVENTS_SUGGESTED or size_bytes >= BYTES_SUGGESTED
