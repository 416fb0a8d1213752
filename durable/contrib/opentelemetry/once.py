"""What workflow code tells the outside, told once: when its step is committed, and not when history is repeated."""

from __future__ import annotations

from collections.abc import Callable

from durable.context import maybe_workflow


def tell_once(call: Callable[[], None]) -> None:
    """Make the call, in workflow code after the commit or not at all; elsewhere at once."""
    run = maybe_workflow()
    if run is None:
        call()
    elif run.is_read_only() or not run.is_replaying():
        run.after_commit(call)
