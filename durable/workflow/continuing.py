"""Ending a run for the next one to begin: what goes on for ever, in histories of a size."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NoReturn

from durable.common import RetryPolicy, duration_us
from durable.context import this_workflow
from durable.converter import DataConverter
from durable.converter.search_attributes import given_search_attributes
from durable.history.commands import ContinueAsNewWorkflowExecution
from durable.history.values import unstorable
from durable.search_attributes import SearchAttributes, TypedSearchAttributes
from durable.signature import Signature
from durable.workflow.calls import UNSET, arguments
from durable.workflow.definition import WorkflowDefinition
from durable.workflow.errors import ContinueAsNewError, ReadOnlyContextError
from durable.workflow.groups import EventGroup
from durable.workflow.interception import ContinueAsNewInput
from durable.workflow.versioning import ContinueAsNewVersioningBehavior, VersioningIntent


class Continued(ContinueAsNewError):
    """What `continue_as_new` raises, and the worker catches."""

    def __init__(self, command: ContinueAsNewWorkflowExecution) -> None:
        super().__init__("Workflow continued as new")
        self.command = command


def continue_as_new(
    arg: Any = UNSET,
    *,
    args: Sequence[Any] = (),
    workflow: Callable[..., Awaitable[Any]] | str | None = None,
    task_queue: str | None = None,
    run_timeout: timedelta | None = None,
    task_timeout: timedelta | None = None,
    backoff_start_interval: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    memo: Mapping[str, Any] | None = None,
    search_attributes: TypedSearchAttributes | SearchAttributes | None = None,
    versioning_intent: VersioningIntent | None = None,
    initial_versioning_behavior: ContinueAsNewVersioningBehavior | None = None,
    event_groups: Sequence[EventGroup] | None = None,
) -> NoReturn:
    """End this run, and begin the next one of its workflow id with these arguments, in one commit; does not return.

    Signals, updates and cancel requests that this run has not read go over to the next one, as do the signals that a
    function (or a class that asks for them with `receive`) has not received. A caller who awaits the result gets that
    of the last run. What is left out stays as it is: ``workflow`` (its function, its class's run
    method, or its name), ``task_queue``, ``run_timeout``, ``task_timeout``, ``retry_policy``, and ``memo`` and
    ``search_attributes`` as they are now, each as a whole. The next run's code begins ``backoff_start_interval``
    later. The execution timeout goes on, and so does a cron schedule. May be called from handlers, too.
    ``versioning_intent``, ``initial_versioning_behavior`` and ``event_groups`` are taken for compatibility.
    """
    run = this_workflow()
    if run.is_read_only():
        raise ReadOnlyContextError("While in read-only function, action attempted: continue as new")
    values: Sequence[Any] = list(arguments(arg, args))
    signature = None
    if workflow is not None and not isinstance(workflow, str):
        definition = WorkflowDefinition.to_invoke(workflow)
        workflow, signature = definition.name, definition.signature
    elif workflow is None and not run.definition.dynamic:
        signature = run.definition.signature
    arg_types, arg_names = None, tuple[str, ...]()
    if signature is not None and run.outbound is not None:
        values, _ = signature.parted(values, {})
        arg_types, arg_names = list(signature.positional_hints), signature.positional_names
    input = ContinueAsNewInput(
        workflow=workflow,
        args=values,
        task_queue=task_queue,
        run_timeout=run_timeout,
        task_timeout=task_timeout,
        backoff_start_interval=backoff_start_interval,
        retry_policy=retry_policy,
        memo=memo,
        search_attributes=search_attributes,
        headers={},
        versioning_intent=versioning_intent,
        initial_versioning_behavior=initial_versioning_behavior,
        event_groups=event_groups,
        arg_types=arg_types,
        arg_names=arg_names,
    )
    if run.outbound is None:
        raise continued(run.converter, input, signature)
    run.outbound.continue_as_new(input)


def continued(converter: DataConverter, input: ContinueAsNewInput, signature: Signature | None = None) -> Continued:
    """What ends the run; without a ``signature`` the arguments are bound already."""
    for what, name in (("a task queue", input.task_queue), ("a workflow type", input.workflow)):
        if name is not None and (why := unstorable(what, name)) is not None:
            raise ValueError(why)
    if signature is None:
        payloads = converter.to_payloads(input.args, input.arg_names)
    else:
        payloads = signature.encode(converter, input.args, {})
    memo = input.memo
    return Continued(
        ContinueAsNewWorkflowExecution(
            workflow_type=input.workflow or "",
            task_queue=input.task_queue or "",
            input=payloads,
            header=dict(input.headers),
            workflow_task_timeout_us=duration_us("task_timeout", input.task_timeout) or None,
            workflow_run_timeout_us=duration_us("run_timeout", input.run_timeout) or None,
            backoff_start_interval_us=duration_us("backoff_start_interval", input.backoff_start_interval),
            retry_policy=None if input.retry_policy is None else input.retry_policy.to_history(),
            memo={key: converter.to_payloads([value])[0] for key, value in memo.items()} if memo else None,
            search_attributes=given_search_attributes(input.search_attributes, 3) or None,
        )
    )
