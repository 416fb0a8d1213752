"""Durable workflow-as-code: async workflows whose every step is recorded in a SQL database.

``from durable import activity, workflow, Client, Worker`` is what most programs need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durable import activity as activity
    from durable import workflow as workflow
    from durable.client import Client as Client
    from durable.common import RetryPolicy as RetryPolicy
    from durable.worker import Worker as Worker

__all__ = ["Client", "RetryPolicy", "Worker", "activity", "workflow"]

__version__ = "0.2.0"

_HOMES = {"Client": "durable.client", "RetryPolicy": "durable.common", "Worker": "durable.worker"}


def __getattr__(name: str) -> Any:
    """Names are loaded when they are asked for, so that the ground floor does not load the roof."""
    if name in ("activity", "workflow"):
        return import_module(f"durable.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'durable' has no attribute {name!r}")
