"""A world for users' tests: the names of Temporal's `temporalio.testing`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durable.testing.activities import ActivityEnvironment as ActivityEnvironment
    from durable.testing.environment import WorkflowEnvironment as WorkflowEnvironment

__all__ = ["ActivityEnvironment", "WorkflowEnvironment"]

_HOMES = {"ActivityEnvironment": "durable.testing.activities", "WorkflowEnvironment": "durable.testing.environment"}


def __getattr__(name: str) -> Any:
    """Names are loaded when they are asked for: the plugin is part of every pytest session, of other projects too."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'durable.testing' has no attribute {name!r}")
