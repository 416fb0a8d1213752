"""`workflow.unsafe`: what most workflow code should leave alone; much of it is about Temporal's sandbox."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Flag
from typing import TypeVar

from durable.context import maybe_workflow, this_workflow

T = TypeVar("T")


class SandboxImportNotificationPolicy(Flag):
    """What Temporal's sandbox says of imports. Values are Temporal's."""

    SILENT = 1
    WARN_ON_DYNAMIC_IMPORT = 2
    WARN_ON_UNINTENTIONAL_PASSTHROUGH = 4
    RAISE_ON_UNINTENTIONAL_PASSTHROUGH = 8


_unrestricted: ContextVar[bool] = ContextVar("durable_sandbox_unrestricted", default=False)
_passed_through: ContextVar[bool] = ContextVar("durable_imports_passed_through", default=False)
_policy: ContextVar[SandboxImportNotificationPolicy | None] = ContextVar("durable_import_policy", default=None)


class unsafe:
    """What most workflow code should leave alone (static methods, as in Temporal).

    The sandbox is what workflow code is refused: I/O, clock, chance. It imports no module again, so what speaks of
    imports does nothing, and remembers what it was told, so that programs port.
    """

    @staticmethod
    def is_replaying() -> bool:
        """Is this step a repetition of one that is in the history already?"""
        return this_workflow().is_replaying()

    @staticmethod
    def is_replaying_history_events() -> bool:
        """Like `is_replaying`, but False in queries and update validators, which are never in a history."""
        return this_workflow().is_replaying() and not this_workflow().is_read_only()

    @staticmethod
    def is_read_only() -> bool:
        """Is this a query, which may change nothing?"""
        return this_workflow().is_read_only()

    @staticmethod
    def in_sandbox() -> bool:
        """Is this workflow code that is refused something? (Also where `sandbox_unrestricted` lifts it.)"""
        run = maybe_workflow()
        return run is not None and bool(run.refused)

    @staticmethod
    def is_sandbox_unrestricted() -> bool:
        """Is this in a `sandbox_unrestricted` block?"""
        return _unrestricted.get()

    @staticmethod
    @contextmanager
    def sandbox_unrestricted() -> Generator[None]:
        """A block in which workflow code may use all: that a replay does the same is up to the code."""
        with _set(_unrestricted, True):
            yield

    @staticmethod
    def is_imports_passed_through() -> bool:
        """Is this in an `imports_passed_through` block?"""
        return _passed_through.get()

    @staticmethod
    @contextmanager
    def imports_passed_through() -> Generator[None]:
        """A block like any other: all imports are passed through."""
        with _set(_passed_through, True):
            yield

    @staticmethod
    def current_import_notification_policy_override() -> SandboxImportNotificationPolicy | None:
        """The policy of the `sandbox_import_notification_policy` block that this is in, if any."""
        return _policy.get()

    @staticmethod
    @contextmanager
    def sandbox_import_notification_policy(policy: SandboxImportNotificationPolicy) -> Generator[None]:
        """A block like any other: nothing is said of imports."""
        with _set(_policy, policy):
            yield


@contextmanager
def _set(variable: ContextVar[T], value: T) -> Generator[None]:
    before = variable.get()
    variable.set(value)
    try:
        yield
    finally:
        variable.set(before)
