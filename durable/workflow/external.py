"""Reaching other workflows from workflow code: signals and cancel requests, once each, whatever crashes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from durable.context import this_workflow
from durable.history.values import WorkflowExecution, unstorable
from durable.workflow.calls import UNSET, arguments
from durable.workflow.child_handles import send_signal
from durable.workflow.definition import WorkflowDefinition
from durable.workflow.groups import EventGroup

S = TypeVar("S")


class ExternalWorkflowHandle(Generic[S]):
    """Another workflow. Made by `get_external_workflow_handle`."""

    @property
    @abstractmethod
    def id(self) -> str:
        """Its workflow id."""

    @property
    @abstractmethod
    def run_id(self) -> str | None:
        """The run that is meant; None: the latest one."""

    @abstractmethod
    async def signal(
        self,
        signal: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        event_groups: Sequence[EventGroup] | None = None,
    ) -> None:
        """Send it a signal; returns when it is in the other workflow's inbox.

        `ApplicationError` when there is no such workflow, or it is closed. ``event_groups`` are taken for
        compatibility.
        """

    @abstractmethod
    async def cancel(self, *, reason: str = "", event_groups: Sequence[EventGroup] | None = None) -> None:
        """Ask it to end; returns when the request is in its inbox. `ApplicationError` as for `signal`."""


class _Handle(ExternalWorkflowHandle[Any]):
    def __init__(self, to: WorkflowExecution) -> None:
        self._to = to

    @property
    def id(self) -> str:
        return self._to.workflow_id

    @property
    def run_id(self) -> str | None:
        return self._to.run_id or None

    async def signal(
        self,
        signal: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        event_groups: Sequence[EventGroup] | None = None,
    ) -> None:
        await send_signal(self._to, signal, arguments(arg, args), child_only=False, event_groups=event_groups)

    async def cancel(self, *, reason: str = "", event_groups: Sequence[EventGroup] | None = None) -> None:
        await this_workflow().cancel_external(self._to, reason)


def get_external_workflow_handle(workflow_id: str, *, run_id: str | None = None) -> ExternalWorkflowHandle[Any]:
    """A handle on another workflow of this namespace, by its id; nothing is asked or checked."""
    this_workflow()
    if (why := unstorable("a workflow id", workflow_id)) is not None:
        raise ValueError(why)
    return _Handle(WorkflowExecution(workflow_id=workflow_id, run_id=run_id or ""))


def get_external_workflow_handle_for(
    workflow: Callable[..., Awaitable[Any]], workflow_id: str, *, run_id: str | None = None
) -> ExternalWorkflowHandle[Any]:
    """`get_external_workflow_handle`, for a workflow whose function or run method is known."""
    WorkflowDefinition.to_invoke(workflow)
    return get_external_workflow_handle(workflow_id, run_id=run_id)
