"""Temporal's Nexus, which connects namespaces and clusters: not here. Whoever imports a name from here learns why."""

from __future__ import annotations

from typing import NoReturn


def __getattr__(name: str) -> NoReturn:
    if name.startswith("__"):
        raise AttributeError(name)
    raise ImportError(
        f"durable has no Nexus, so no {name}: workflows of one database start and signal each other directly, and "
        "another database is reached from an activity, with a client of its own"
    )
