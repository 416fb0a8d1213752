"""Temporal's Nexus, which connects namespaces and clusters: not here. Whoever imports a name from here learns why."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from durable.absent import WHY

if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ImportError(f"{WHY['Nexus']} (there is no {name})")
