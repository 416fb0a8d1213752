"""Calling activities from workflow code with Temporal's names and options, by function or by name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypedDict, TypeVar, Unpack, overload

from durable.activity import ActivityCancellationType, activity_call
from durable.common import Priority, RetryPolicy
from durable.context import ActivityCall, this_workflow
from durable.converter import DataConverter
from durable.workflow.activity_inputs import activity_input, called, check_timeout
from durable.workflow.groups import EventGroup

A = TypeVar("A")
R = TypeVar("R")

UNSET: Any = object()
"""Stands for "no argument", since None is one."""


class ActivityHandle(asyncio.Task[R]):
    """An activity that was started: await it for its result, ``cancel()`` it.

    Cancelled by Temporal's rules: awaiting it raises an `ActivityError` whose cause is a `CancelledError`, at once
    or after the activity's own outcome, as its cancellation type says.
    """


class ActivityConfig(TypedDict, total=False):
    """The options of `execute_activity`, for ``**config``."""

    task_queue: str | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    cancellation_type: ActivityCancellationType
    activity_id: str | None
    versioning_intent: Any
    summary: str | None
    priority: Priority
    event_groups: Sequence[EventGroup] | None


def arguments(arg: Any, args: Sequence[Any]) -> tuple[Any, ...]:
    """Temporal's calling convention: one positional argument, or a list of them."""
    if arg is not UNSET:
        if args:
            raise ValueError("Cannot have arg and args")
        return (arg,)
    return tuple(args)


@overload
def start_activity(activity: Callable[[], Awaitable[R]], **options: Unpack[ActivityConfig]) -> ActivityHandle[R]: ...


@overload
def start_activity(activity: Callable[[], R], **options: Unpack[ActivityConfig]) -> ActivityHandle[R]: ...


@overload
def start_activity(
    activity: Callable[[A], Awaitable[R]], arg: A, **options: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...


@overload
def start_activity(activity: Callable[[A], R], arg: A, **options: Unpack[ActivityConfig]) -> ActivityHandle[R]: ...


@overload
def start_activity(
    activity: Callable[..., Awaitable[R]], *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...


@overload
def start_activity(
    activity: Callable[..., R], *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...


@overload
def start_activity(
    activity: str, arg: Any = ..., *, args: Sequence[Any] = ..., result_type: type[R], **options: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...


@overload
def start_activity(
    activity: str,
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    result_type: None = ...,
    **options: Unpack[ActivityConfig],
) -> ActivityHandle[Any]: ...


def start_activity(
    activity: Any,
    arg: Any = UNSET,
    *,
    args: Sequence[Any] = (),
    task_queue: str | None = None,
    result_type: Any = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    cancellation_type: ActivityCancellationType | None = None,
    activity_id: str | None = None,
    versioning_intent: Any = None,
    summary: str | None = None,
    priority: Priority = Priority.default,
    event_groups: Sequence[EventGroup] | None = None,
) -> ActivityHandle[Any]:
    """Schedule an activity, given as what is decorated or by name, and go on; await the handle for its result.

    Options not given are those of ``@activity.defn``. As in Temporal, one of ``start_to_close_timeout`` and
    ``schedule_to_close_timeout`` is needed, here or there (ValueError); calling the activity itself needs neither.
    ``task_queue`` defaults to the workflow's own, ``activity_id`` to a number. ``result_type`` says what to decode the
    result to when only the name is known. ``summary`` is a line for whoever reads the history; ``versioning_intent``
    and ``event_groups`` are taken for compatibility. ``priority`` says who goes first where more activities wait than
    workers can begin; what it leaves open is as the workflow has it.
    """
    given = {
        "task_queue": task_queue,
        "schedule_to_close_timeout": schedule_to_close_timeout,
        "schedule_to_start_timeout": schedule_to_start_timeout,
        "start_to_close_timeout": start_to_close_timeout,
        "heartbeat_timeout": heartbeat_timeout,
        "retry_policy": retry_policy,
        "cancellation_type": cancellation_type,
        "activity_id": activity_id,
        "priority": priority,
        "summary": summary,
    }
    options = {key: value for key, value in given.items() if value is not None}
    run = this_workflow()
    if run.outbound is None:
        return run.start_activity(call_of(activity, arguments(arg, args), result_type, options))
    input = activity_input(
        called(activity),
        arguments(arg, args),
        {},
        result_type,
        options,
        versioning_intent=versioning_intent,
        event_groups=event_groups,
    )
    return run.outbound.start_activity(input)


@overload
async def execute_activity(activity: Callable[[], Awaitable[R]], **options: Unpack[ActivityConfig]) -> R: ...


@overload
async def execute_activity(activity: Callable[[], R], **options: Unpack[ActivityConfig]) -> R: ...


@overload
async def execute_activity(activity: Callable[[A], Awaitable[R]], arg: A, **options: Unpack[ActivityConfig]) -> R: ...


@overload
async def execute_activity(activity: Callable[[A], R], arg: A, **options: Unpack[ActivityConfig]) -> R: ...


@overload
async def execute_activity(
    activity: Callable[..., Awaitable[R]], *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> R: ...


@overload
async def execute_activity(
    activity: Callable[..., R], *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> R: ...


@overload
async def execute_activity(
    activity: str, arg: Any = ..., *, args: Sequence[Any] = ..., result_type: type[R], **options: Unpack[ActivityConfig]
) -> R: ...


@overload
async def execute_activity(
    activity: str,
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    result_type: None = ...,
    **options: Unpack[ActivityConfig],
) -> Any: ...


async def execute_activity(
    activity: Any,
    arg: Any = UNSET,
    *,
    args: Sequence[Any] = (),
    result_type: Any = None,
    **options: Unpack[ActivityConfig],
) -> Any:
    """`start_activity`, awaited: the activity's result."""
    return await start_activity(activity, arg, args=args, result_type=result_type, **options)


def call_of(
    activity: Any, args: tuple[Any, ...], result_type: Any, options: dict[str, Any], *, local: bool = False
) -> ActivityCall:
    """The call of an activity that workflow code names by its function, or by its name."""
    run = this_workflow()

    def converter(name: str) -> DataConverter:
        return run.activity_converter(name, options.get("activity_id"), options.get("task_queue"), local=local)

    definition = called(activity)
    if isinstance(definition, str):
        check_timeout(options.get("start_to_close_timeout"), options.get("schedule_to_close_timeout"))
        return activity_call(definition, converter(definition).to_payloads(args), result_type, **options)
    options = {**definition.options, **options}
    if local:  # it runs on the workflow's own task queue
        options.pop("task_queue", None)
    check_timeout(options.get("start_to_close_timeout"), options.get("schedule_to_close_timeout"))
    return activity_call(
        definition.name,
        definition.signature.encode(converter(definition.name), args, {}),
        result_type or definition.signature.return_hint,
        **options,
    )
