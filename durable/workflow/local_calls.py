"""Calling local activities from workflow code: those that leave nothing but their outcome in the history."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypedDict, TypeVar, Unpack, overload

from durable.activity import ActivityCancellationType
from durable.common import RetryPolicy
from durable.context import this_workflow
from durable.workflow.calls import (
    UNSET,
    ActivityHandle,
    arguments,
    call_of,
)
from durable.workflow.groups import EventGroup

R = TypeVar("R")


class LocalActivityConfig(TypedDict, total=False):
    """The options of `execute_local_activity`, for ``**config``."""

    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    local_retry_threshold: timedelta | None
    cancellation_type: ActivityCancellationType
    activity_id: str | None
    summary: str | None
    event_groups: Sequence[EventGroup] | None


@overload
def start_local_activity(
    activity: Callable[..., Awaitable[R]],
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    **options: Unpack[LocalActivityConfig],
) -> ActivityHandle[R]: ...


@overload
def start_local_activity(
    activity: Callable[..., R], arg: Any = ..., *, args: Sequence[Any] = ..., **options: Unpack[LocalActivityConfig]
) -> ActivityHandle[R]: ...


@overload
def start_local_activity(
    activity: str,
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    result_type: type[R],
    **options: Unpack[LocalActivityConfig],
) -> ActivityHandle[R]: ...


@overload
def start_local_activity(
    activity: str,
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    result_type: None = ...,
    **options: Unpack[LocalActivityConfig],
) -> ActivityHandle[Any]: ...


def start_local_activity(
    activity: Any,
    arg: Any = UNSET,
    *,
    args: Sequence[Any] = (),
    result_type: Any = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    local_retry_threshold: timedelta | None = None,
    cancellation_type: ActivityCancellationType | None = None,
    activity_id: str | None = None,
    summary: str | None = None,
    event_groups: Sequence[EventGroup] | None = None,
) -> ActivityHandle[Any]:
    """Have a short activity run where the workflow runs, and go on; await the handle for its result.

    It is retried, timed out, cancelled and taken over from a dead worker like any activity; but the history shows its
    outcome only, in one marker, once the workflow has heard of it. It has no heartbeat (`activity.heartbeat` does
    nothing), and runs on the workflow's own task queue, in one of the worker's activity slots: the worker of the
    workflow must have it (ValueError, which fails the workflow task).

    Options not given are those of ``@activity.defn``; one of ``start_to_close_timeout`` and
    ``schedule_to_close_timeout`` is needed (ValueError). ``local_retry_threshold`` is taken for compatibility: however
    long the pause before a retry, the database keeps it. ``summary`` is not stored, nor are
    ``event_groups``.
    """
    given = {
        "schedule_to_close_timeout": schedule_to_close_timeout,
        "schedule_to_start_timeout": schedule_to_start_timeout,
        "start_to_close_timeout": start_to_close_timeout,
        "retry_policy": retry_policy,
        "cancellation_type": cancellation_type,
        "activity_id": activity_id,
    }
    options = {key: value for key, value in given.items() if value is not None}
    return this_workflow().start_local_activity(
        call_of(activity, arguments(arg, args), result_type, options, local=True)
    )


@overload
async def execute_local_activity(
    activity: Callable[..., Awaitable[R]],
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    **options: Unpack[LocalActivityConfig],
) -> R: ...


@overload
async def execute_local_activity(
    activity: Callable[..., R], arg: Any = ..., *, args: Sequence[Any] = ..., **options: Unpack[LocalActivityConfig]
) -> R: ...


@overload
async def execute_local_activity(
    activity: str,
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    result_type: type[R],
    **options: Unpack[LocalActivityConfig],
) -> R: ...


@overload
async def execute_local_activity(
    activity: str,
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    result_type: None = ...,
    **options: Unpack[LocalActivityConfig],
) -> Any: ...


async def execute_local_activity(
    activity: Any,
    arg: Any = UNSET,
    *,
    args: Sequence[Any] = (),
    result_type: Any = None,
    **options: Unpack[LocalActivityConfig],
) -> Any:
    """`start_local_activity`, awaited: the activity's result."""
    return await start_local_activity(activity, arg, args=args, result_type=result_type, **options)


def start_local_activity_class(
    activity: type[Any],
    arg: Any = UNSET,
    *,
    args: Sequence[Any] = (),
    **options: Unpack[LocalActivityConfig],
) -> ActivityHandle[Any]:
    """`start_local_activity` of a callable class; it runs on the object that the worker has."""
    return start_local_activity(activity, arg, args=args, **options)


async def execute_local_activity_class(
    activity: type[Any],
    arg: Any = UNSET,
    *,
    args: Sequence[Any] = (),
    **options: Unpack[LocalActivityConfig],
) -> Any:
    """`start_local_activity_class`, awaited: the activity's result."""
    return await start_local_activity_class(activity, arg, args=args, **options)


@overload
def start_local_activity_method(
    activity: Callable[..., Awaitable[R]],
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    **options: Unpack[LocalActivityConfig],
) -> ActivityHandle[R]: ...


@overload
def start_local_activity_method(
    activity: Callable[..., R], arg: Any = ..., *, args: Sequence[Any] = ..., **options: Unpack[LocalActivityConfig]
) -> ActivityHandle[R]: ...


def start_local_activity_method(
    activity: Any, arg: Any = UNSET, *, args: Sequence[Any] = (), **options: Unpack[LocalActivityConfig]
) -> ActivityHandle[Any]:
    """`start_local_activity` of a method, named by its class; it runs on the object that the worker has."""
    return start_local_activity(activity, arg, args=args, **options)


@overload
async def execute_local_activity_method(
    activity: Callable[..., Awaitable[R]],
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    **options: Unpack[LocalActivityConfig],
) -> R: ...


@overload
async def execute_local_activity_method(
    activity: Callable[..., R], arg: Any = ..., *, args: Sequence[Any] = ..., **options: Unpack[LocalActivityConfig]
) -> R: ...


async def execute_local_activity_method(
    activity: Any, arg: Any = UNSET, *, args: Sequence[Any] = (), **options: Unpack[LocalActivityConfig]
) -> Any:
    """`start_local_activity_method`, awaited: the activity's result."""
    return await start_local_activity(activity, arg, args=args, **options)
