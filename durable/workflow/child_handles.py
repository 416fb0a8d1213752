"""What workflow code holds of a child workflow, and how it may end it."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, Generic, TypeVar

from durable.context import this_workflow
from durable.history.values import WorkflowExecution
from durable.workflow.calls import UNSET, arguments
from durable.workflow.groups import EventGroup
from durable.workflow.handlers import Kind, encode, handler_name
from durable.workflow.interception import SignalChildWorkflowInput, SignalExternalWorkflowInput

S = TypeVar("S")
R = TypeVar("R")


class ChildWorkflowCancellationType(IntEnum):
    """What cancelling the handle of a child does; the default waits for the child's own end. Values are Temporal's."""

    ABANDON = 0
    """Nothing is sent to the child; the parent goes on at once."""
    TRY_CANCEL = 1
    """The child is asked to end; the parent goes on at once."""
    WAIT_CANCELLATION_COMPLETED = 2
    """The child is asked to end; the parent waits until it has, whatever its outcome is."""
    WAIT_CANCELLATION_REQUESTED = 3
    """The child is asked to end; the parent waits until the child has got the request."""


class ChildWorkflowHandle(asyncio.Task[R], Generic[S, R]):
    """A child that has begun: await it for its result, ``cancel()`` it, ``signal`` it.

    Awaiting it raises a `ChildWorkflowError`, whose cause says how the child ended, unless it completed.
    ``cancel(msg)`` gives the child ``msg`` as the reason, and obeys the `ChildWorkflowCancellationType`.
    """

    @property
    @abstractmethod
    def id(self) -> str:
        """The workflow id of the child."""

    @property
    @abstractmethod
    def first_execution_run_id(self) -> str | None:
        """The id of its first run."""

    async def signal(
        self,
        signal: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        event_groups: Sequence[EventGroup] | None = None,
    ) -> None:
        """Send a signal to the child; returns when it is in the child's inbox.

        `ApplicationError` when the child is over. ``event_groups`` are taken for compatibility.
        """
        to = WorkflowExecution(workflow_id=self.id)
        await send_signal(to, signal, arguments(arg, args), child_only=True, event_groups=event_groups)


async def send_signal(
    to: WorkflowExecution,
    signal: str | Callable[..., Any],
    values: Sequence[Any],
    *,
    child_only: bool,
    event_groups: Sequence[EventGroup] | None,
) -> None:
    """Send a signal from workflow code. For `ChildWorkflowHandle` and `ExternalWorkflowHandle`."""
    run = this_workflow()
    name, definition = handler_name(signal, Kind.SIGNAL)
    if run.outbound is None:
        payloads = encode(definition, run.workflow_converter(to.workflow_id), values)
        await run.signal_external(to, name, payloads, {}, child_only=child_only)
        return
    values, names = list(values), tuple[str, ...]()
    if definition is not None:
        values, _ = definition.signature.parted(values, {})
        names = definition.signature.positional_names
    if child_only:
        await run.outbound.signal_child_workflow(
            SignalChildWorkflowInput(name, values, to.workflow_id, {}, event_groups, arg_names=names)
        )
    else:
        await run.outbound.signal_external_workflow(
            SignalExternalWorkflowInput(
                name, values, run.info().namespace, to.workflow_id, to.run_id or None, {}, event_groups, arg_names=names
            )
        )
