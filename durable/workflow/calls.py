"""Calling activities from workflow code with Temporal's names and options, by function or by name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypedDict, TypeVar, Unpack, overload

from durable.activity import ActivityCancellationType, ActivityDefinition, activity_call
from durable.common import RetryPolicy
from durable.context import ActivityCall, this_workflow

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
    summary: str | None


def arguments(arg: Any, args: Sequence[Any]) -> tuple[Any, ...]:
    """Temporal's calling convention: one positional argument, or a list of them."""
    if arg is not UNSET:
        if args:
            raise ValueError("Cannot have arg and args")
        return (arg,)
    return tuple(args)


@overload
def start_activity(
    activity: Callable[..., Awaitable[R]],
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    **options: Unpack[ActivityConfig],
) -> ActivityHandle[R]: ...


@overload
def start_activity(
    activity: Callable[..., R], arg: Any = ..., *, args: Sequence[Any] = ..., **options: Unpack[ActivityConfig]
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
    summary: str | None = None,
) -> ActivityHandle[Any]:
    """Schedule an activity, given as its decorated function or by name, and go on; await the handle for its result.

    Options not given are those of ``@activity.defn``. As in Temporal, one of ``start_to_close_timeout`` and
    ``schedule_to_close_timeout`` is needed, here or there (ValueError); calling the activity itself needs neither.
    ``task_queue`` defaults to the workflow's own, ``activity_id`` to a number. ``result_type`` says what to decode the
    result to when only the name is known. ``summary`` is a line for whoever reads the history.
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
        "summary": summary,
    }
    options = {key: value for key, value in given.items() if value is not None}
    return this_workflow().start_activity(_call(activity, arguments(arg, args), result_type, options))


@overload
async def execute_activity(
    activity: Callable[..., Awaitable[R]],
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    **options: Unpack[ActivityConfig],
) -> R: ...


@overload
async def execute_activity(
    activity: Callable[..., R], arg: Any = ..., *, args: Sequence[Any] = ..., **options: Unpack[ActivityConfig]
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


def _call(activity: Any, args: tuple[Any, ...], result_type: Any, options: dict[str, Any]) -> ActivityCall:
    run = this_workflow()
    definition = None if isinstance(activity, str) else ActivityDefinition.must_be(activity)
    if definition is not None:
        options = {**definition.options, **options}
    if "start_to_close_timeout" not in options and "schedule_to_close_timeout" not in options:
        raise ValueError("Activity must have start_to_close_timeout or schedule_to_close_timeout")
    if definition is None:
        return activity_call(activity, run.converter.to_payloads(args), result_type, **options)
    return activity_call(
        definition.name,
        definition.signature.encode(run.converter, args, {}),
        result_type or definition.signature.return_hint,
        **options,
    )
