"""Temporal's names for the shapes of callables, for programs that annotate with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, Protocol, TypeVar

AnyType = TypeVar("AnyType")
"""Anything."""
ClassType = TypeVar("ClassType", bound=type)
"""A class."""
SelfType = TypeVar("SelfType")
"""The object that a method belongs to."""
ParamType = TypeVar("ParamType")
"""What a callable takes."""
ReturnType = TypeVar("ReturnType", covariant=True)
"""What a callable returns, or what its awaitable does."""
LocalReturnType = TypeVar("LocalReturnType", covariant=True)
"""What a callable returns, where `ReturnType` is taken already."""
NexusServiceType = TypeVar("NexusServiceType")
"""A Nexus service; there is no Nexus here."""
CallableType = TypeVar("CallableType", bound=Callable[..., Any])
"""Any callable."""
CallableAsyncType = TypeVar("CallableAsyncType", bound=Callable[..., Awaitable[Any]])
"""A callable that returns an awaitable."""
CallableSyncOrAsyncType = TypeVar("CallableSyncOrAsyncType", bound=Callable[..., Any | Awaitable[Any]])
"""A callable of either kind."""
CallableSyncOrAsyncReturnNoneType = TypeVar(
    "CallableSyncOrAsyncReturnNoneType", bound=Callable[..., Awaitable[None] | None]
)
"""A callable of either kind that returns nothing."""
MultiParamSpec = ParamSpec("MultiParamSpec")
"""All parameters of a callable."""

ProtocolParamType = TypeVar("ProtocolParamType", contravariant=True)
"""`ParamType`, for protocols."""
ProtocolReturnType = TypeVar("ProtocolReturnType", covariant=True)
"""`ReturnType`, for protocols."""
ProtocolSelfType = TypeVar("ProtocolSelfType", contravariant=True)
"""`SelfType`, for protocols."""


class CallableAsyncNoParam(Protocol[ProtocolReturnType]):
    """``async def f() -> R``"""

    def __call__(self) -> Awaitable[ProtocolReturnType]: ...


class CallableSyncNoParam(Protocol[ProtocolReturnType]):
    """``def f() -> R``"""

    def __call__(self) -> ProtocolReturnType: ...


class CallableAsyncSingleParam(Protocol[ProtocolParamType, ProtocolReturnType]):
    """``async def f(arg: P) -> R``"""

    def __call__(self, arg: ProtocolParamType, /) -> Awaitable[ProtocolReturnType]: ...


class CallableSyncSingleParam(Protocol[ProtocolParamType, ProtocolReturnType]):
    """``def f(arg: P) -> R``"""

    def __call__(self, arg: ProtocolParamType, /) -> ProtocolReturnType: ...


class MethodAsyncNoParam(Protocol[ProtocolSelfType, ProtocolReturnType]):
    """``async def f(self) -> R``, unbound"""

    def __call__(self, instance: ProtocolSelfType, /) -> Awaitable[ProtocolReturnType]: ...


class MethodSyncNoParam(Protocol[ProtocolSelfType, ProtocolReturnType]):
    """``def f(self) -> R``, unbound"""

    def __call__(self, instance: ProtocolSelfType, /) -> ProtocolReturnType: ...


class MethodAsyncSingleParam(Protocol[ProtocolSelfType, ProtocolParamType, ProtocolReturnType]):
    """``async def f(self, arg: P) -> R``, unbound"""

    def __call__(self, instance: ProtocolSelfType, arg: ProtocolParamType, /) -> Awaitable[ProtocolReturnType]: ...


class MethodSyncSingleParam(Protocol[ProtocolSelfType, ProtocolParamType, ProtocolReturnType]):
    """``def f(self, arg: P) -> R``, unbound"""

    def __call__(self, instance: ProtocolSelfType, arg: ProtocolParamType, /) -> ProtocolReturnType: ...


class MethodSyncOrAsyncNoParam(Protocol[ProtocolSelfType, ProtocolReturnType]):
    """``def f(self) -> R`` or ``async def f(self) -> R``, unbound"""

    def __call__(self, instance: ProtocolSelfType, /) -> ProtocolReturnType | Awaitable[ProtocolReturnType]: ...


class MethodSyncOrAsyncSingleParam(Protocol[ProtocolSelfType, ProtocolParamType, ProtocolReturnType]):
    """``def f(self, arg: P) -> R`` or ``async def f(self, arg: P) -> R``, unbound"""

    def __call__(
        self, instance: ProtocolSelfType, arg: ProtocolParamType, /
    ) -> ProtocolReturnType | Awaitable[ProtocolReturnType]: ...
