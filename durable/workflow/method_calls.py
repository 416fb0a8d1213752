"""Calls activities that are methods or callable classes: `start_activity`, typed for what a worker has an object of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Concatenate, Protocol, TypeVar, Unpack, overload

from durable.workflow.calls import UNSET, ActivityConfig, ActivityHandle, execute_activity, start_activity

A = TypeVar("A")
A_contra = TypeVar("A_contra", contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")


class _TakesNothing(Protocol[R_co]):
    def __call__(self) -> R_co: ...


class _TakesOne(Protocol[A_contra, R_co]):
    def __call__(self, arg: A_contra, /) -> R_co: ...


class _TakesMany(Protocol[R_co]):
    def __call__(self, *args: Any) -> R_co: ...


@overload
def start_activity_method(
    activity: Callable[[S], Awaitable[R]], **options: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...


@overload
def start_activity_method(activity: Callable[[S], R], **options: Unpack[ActivityConfig]) -> ActivityHandle[R]: ...


@overload
def start_activity_method(
    activity: Callable[[S, A], Awaitable[R]], arg: A, **options: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...


@overload
def start_activity_method(
    activity: Callable[[S, A], R], arg: A, **options: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...


@overload
def start_activity_method(
    activity: Callable[Concatenate[S, ...], Awaitable[R]], *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...


@overload
def start_activity_method(
    activity: Callable[Concatenate[S, ...], R], *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...


def start_activity_method(
    activity: Any, arg: Any = UNSET, *, args: Sequence[Any] = (), **options: Unpack[ActivityConfig]
) -> ActivityHandle[Any]:
    """`start_activity` of a method, named by its class; it runs on the object that the worker has."""
    return start_activity(activity, arg, args=args, **options)


@overload
async def execute_activity_method(activity: Callable[[S], Awaitable[R]], **options: Unpack[ActivityConfig]) -> R: ...


@overload
async def execute_activity_method(activity: Callable[[S], R], **options: Unpack[ActivityConfig]) -> R: ...


@overload
async def execute_activity_method(
    activity: Callable[[S, A], Awaitable[R]], arg: A, **options: Unpack[ActivityConfig]
) -> R: ...


@overload
async def execute_activity_method(activity: Callable[[S, A], R], arg: A, **options: Unpack[ActivityConfig]) -> R: ...


@overload
async def execute_activity_method(
    activity: Callable[Concatenate[S, ...], Awaitable[R]], *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> R: ...


@overload
async def execute_activity_method(
    activity: Callable[Concatenate[S, ...], R], *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> R: ...


async def execute_activity_method(
    activity: Any, arg: Any = UNSET, *, args: Sequence[Any] = (), **options: Unpack[ActivityConfig]
) -> Any:
    """`start_activity_method`, awaited: the activity's result."""
    return await execute_activity(activity, arg, args=args, **options)


@overload
def start_activity_class(
    activity: type[_TakesNothing[Awaitable[R]]], **options: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...


@overload
def start_activity_class(activity: type[_TakesNothing[R]], **options: Unpack[ActivityConfig]) -> ActivityHandle[R]: ...


@overload
def start_activity_class(
    activity: type[_TakesOne[A, Awaitable[R]]], arg: A, **options: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...


@overload
def start_activity_class(
    activity: type[_TakesOne[A, R]], arg: A, **options: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...


@overload
def start_activity_class(
    activity: type[_TakesMany[Awaitable[R]]], *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...


@overload
def start_activity_class(
    activity: type[_TakesMany[R]], *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...


def start_activity_class(
    activity: Any, arg: Any = UNSET, *, args: Sequence[Any] = (), **options: Unpack[ActivityConfig]
) -> ActivityHandle[Any]:
    """`start_activity` of a class with ``__call__``; it runs on the object that the worker has."""
    return start_activity(activity, arg, args=args, **options)


@overload
async def execute_activity_class(
    activity: type[_TakesNothing[Awaitable[R]]], **options: Unpack[ActivityConfig]
) -> R: ...


@overload
async def execute_activity_class(activity: type[_TakesNothing[R]], **options: Unpack[ActivityConfig]) -> R: ...


@overload
async def execute_activity_class(
    activity: type[_TakesOne[A, Awaitable[R]]], arg: A, **options: Unpack[ActivityConfig]
) -> R: ...


@overload
async def execute_activity_class(activity: type[_TakesOne[A, R]], arg: A, **options: Unpack[ActivityConfig]) -> R: ...


@overload
async def execute_activity_class(
    activity: type[_TakesMany[Awaitable[R]]], *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> R: ...


@overload
async def execute_activity_class(
    activity: type[_TakesMany[R]], *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> R: ...


async def execute_activity_class(
    activity: Any, arg: Any = UNSET, *, args: Sequence[Any] = (), **options: Unpack[ActivityConfig]
) -> Any:
    """`start_activity_class`, awaited: the activity's result."""
    return await execute_activity(activity, arg, args=args, **options)
