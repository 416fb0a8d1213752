"""Names of Temporal's that can't be here: whoever imports one learns why."""

from __future__ import annotations

from typing import NoReturn

WHY = {
    "Nexus": (
        "durable has no Nexus: workflows of one database start and signal each other directly, and another database is "
        "reached from an activity, with a client of its own"
    ),
    "CloudOperations": "durable has no cloud to operate: a database is looked after with the command `durable`",
}
"""By what is in the name."""


def absent(module: str, name: str) -> NoReturn:
    """For a module's ``__getattr__``: ImportError with the reason for what can't be there, else AttributeError."""
    for part, why in WHY.items():
        if part in name and not name.startswith("_"):
            raise ImportError(f"{why} (there is no {name})")
    raise AttributeError(f"module {module!r} has no attribute {name!r}")
