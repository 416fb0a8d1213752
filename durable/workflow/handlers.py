"""What a workflow is told and asked by: signal, query and update handlers, as methods or set at run time."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload, runtime_checkable

from durable.common import RawValue
from durable.context import maybe_workflow, this_workflow
from durable.converter import DataConverter
from durable.history.values import Payload
from durable.signature import Signature

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class HandlerUnfinishedPolicy(Enum):
    """What is said when a run closes while the handler is still at work: a warning, or nothing."""

    WARN_AND_ABANDON = 1
    ABANDON = 2


class UnfinishedSignalHandlersWarning(RuntimeWarning):
    """A workflow ended while signal handlers of it were at work."""


class UnfinishedUpdateHandlersWarning(RuntimeWarning):
    """A workflow ended while update handlers of it were at work."""


class Kind(Enum):
    """The kinds of handlers; the value is the attribute of a decorated function that holds its definition."""

    SIGNAL = "__temporal_signal_definition"
    QUERY = "__temporal_query_definition"
    UPDATE = "__temporal_update_definition"

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class HandlerDefinition:
    """A handler: its name (None: it takes what no other handler takes), its function, its typed call.

    ``fn`` and ``validator`` take the workflow's object first if ``is_method``.
    """

    name: str | None
    fn: Callable[..., Any]
    signature: Signature
    is_method: bool = True
    description: str | None = None
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON
    validator: Callable[..., None] | None = None

    def arguments(
        self, converter: DataConverter, name: str, payloads: Sequence[Payload]
    ) -> tuple[Sequence[Any], dict[str, Any]]:
        """What to call it with, the workflow's object apart. Raises TypeError when the payloads do not fit."""
        if self.name is not None:
            return self.signature.decode(converter, payloads)
        if self.signature.takes_rest:
            return [name, *converter.from_payloads(payloads)], {}
        return [name, [RawValue(payload) for payload in payloads]], {}

    def bound(self, instance: Any) -> Callable[..., Any]:
        """The function as it may be called."""
        return cast("Callable[..., Any]", self.fn.__get__(instance)) if self.is_method else self.fn


def encode(definition: HandlerDefinition | None, converter: DataConverter, values: Sequence[Any]) -> list[Payload]:
    """The payloads of a handler's call; None: of one that is known by its name only."""
    if definition is None:
        return converter.to_payloads(values)
    return definition.signature.encode(converter, values, {})


def definition_of(reference: object, kind: Kind) -> HandlerDefinition | None:
    found = getattr(reference, kind.value, None)
    return found if isinstance(found, HandlerDefinition) else None


def handler_name(reference: object, kind: Kind) -> tuple[str, HandlerDefinition | None]:
    """The name of a handler given as a string, or as its decorated method."""
    if isinstance(reference, str):
        return reference, None
    definition = definition_of(reference, kind)
    if definition is None:
        raise TypeError(f"{_name(reference)} is no {kind}: give its name, or a method decorated with @workflow.{kind}")
    if definition.name is None:
        raise RuntimeError(f"Cannot invoke dynamic {kind} definition {_name(reference)}: give the name it is to get")
    return definition.name, definition


@overload
def signal(fn: F, /) -> F: ...


@overload
def signal(
    *,
    name: str | None = None,
    dynamic: bool | None = False,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> Callable[[F], F]: ...


def signal(
    fn: Any = None,
    /,
    *,
    name: str | None = None,
    dynamic: bool | None = False,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> Any:
    """A signal handler: sync or async, called with the signal's arguments, in order of arrival.

    On a method of a workflow class; or on a function inside the workflow's code, which then takes signals from there
    on, those that have come before included. ``name`` defaults to the function's. ``dynamic`` takes the signals that no
    other handler takes, as ``(name, args: Sequence[RawValue])``. ``unfinished_policy`` is about a run that ends while
    the handler is at work.
    """
    return _handler(Kind.SIGNAL, fn, name, bool(dynamic), description, unfinished_policy)


@overload
def query(fn: F, /) -> F: ...


@overload
def query(*, name: str | None = None, dynamic: bool = False, description: str | None = None) -> Callable[[F], F]: ...


def query(fn: Any = None, /, *, name: str | None = None, dynamic: bool = False, description: str | None = None) -> Any:
    """A query handler: answers a question, and changes nothing. Where it may stand, and the parameters: see `signal`.

    An ``async def`` that awaits nothing is taken, with a DeprecationWarning.
    """
    return _handler(Kind.QUERY, fn, name, dynamic, description, HandlerUnfinishedPolicy.WARN_AND_ABANDON)


@runtime_checkable
class UpdateMethodMultiParam(Protocol[P, R_co]):
    """An update handler, decorated: ``@handler.validator`` makes a function the judge of its calls."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co | Awaitable[R_co]: ...

    def validator(self, vfunc: Callable[P, None], /) -> Callable[P, None]:
        """Decorates the function that may refuse the update: it gets the same arguments, and raises."""
        ...


class _Decorator(Protocol):
    def __call__(self, fn: Callable[P, R], /) -> UpdateMethodMultiParam[P, R]: ...


@overload
def update(fn: Callable[P, Awaitable[R]], /) -> UpdateMethodMultiParam[P, R]: ...


@overload
def update(fn: Callable[P, R], /) -> UpdateMethodMultiParam[P, R]: ...


@overload
def update(
    *,
    name: str | None = None,
    dynamic: bool = False,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> _Decorator: ...


def update(
    fn: Any = None,
    /,
    *,
    name: str | None = None,
    dynamic: bool = False,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> Any:
    """An update handler: called like a signal's, and its result, or its failure, goes back to the caller.

    ``@handler.validator`` on a function of the same parameters rejects calls by raising, before they are accepted: a
    rejected update leaves no trace in the history. Where handlers may stand, and the parameters: see `signal`.
    """
    return _handler(Kind.UPDATE, fn, name, dynamic, description, unfinished_policy)


def _handler(
    kind: Kind,
    fn: Any,
    name: str | None,
    dynamic: bool,
    description: str | None,
    unfinished_policy: HandlerUnfinishedPolicy,
) -> Any:
    if name is not None and dynamic:
        raise RuntimeError("Cannot provide name and dynamic boolean")

    def decorate(target: Any) -> Any:
        if definition_of(target, kind) is not None:
            raise ValueError(f"{_name(target)} is decorated twice")
        run = maybe_workflow()
        first = next(iter(inspect.signature(target).parameters), "")
        is_method = run is None or first == "self"
        definition = define(
            kind,
            None if dynamic else name or target.__name__,
            target,
            is_method=is_method,
            description=description,
            unfinished_policy=unfinished_policy,
        )
        setattr(target, kind.value, definition)
        if run is not None and not is_method:
            run.set_handler(kind, definition.name, definition)
        if kind is Kind.UPDATE:
            target.validator = _Validator(target)
            target._defn = definition
        return target

    return decorate if fn is None else decorate(fn)


def define(
    kind: Kind,
    name: str | None,
    fn: Any,
    *,
    is_method: bool = False,
    description: str | None = None,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    validator: Callable[..., None] | None = None,
) -> HandlerDefinition:
    """The definition of a handler, checked. ``name`` None is a dynamic one. RuntimeError for one that can't be."""
    signature = Signature.of(fn, skip_first=is_method)
    if kind is Kind.QUERY and inspect.iscoroutinefunction(fn):
        warnings.warn("Queries as async def functions are deprecated", DeprecationWarning, stacklevel=4)
    if name is None:
        if signature.takes_rest and kind is not Kind.UPDATE:
            warnings.warn(
                f"Dynamic {kind} with vararg third param is deprecated, use Sequence[RawValue]",
                DeprecationWarning,
                stacklevel=4,
            )
        elif signature.positional_count != 2 or signature.takes_rest:
            raise RuntimeError(
                f"Dynamic {kind} handler {_name(fn)} must take {'self, ' if is_method else ''}a string name and the "
                "arguments as Sequence[RawValue]"
            )
    return HandlerDefinition(name, fn, signature, is_method, description, unfinished_policy, validator)


class _Validator(Generic[P]):
    """``@handler.validator``."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def __call__(self, vfunc: Callable[P, None], /) -> Callable[P, None]:
        definition = definition_of(self._handler, Kind.UPDATE)
        assert definition is not None
        if definition.validator is not None:
            raise RuntimeError(f"Validator already set for update {definition.name}")
        definition = replace(definition, validator=vfunc)
        setattr(self._handler, Kind.UPDATE.value, definition)
        self._handler._defn = definition
        run = maybe_workflow()
        if run is not None and not definition.is_method:
            run.set_handler(Kind.UPDATE, definition.name, definition)
        return vfunc


def get_signal_handler(name: str) -> Callable[..., Any] | None:
    """The handler that takes signals of this name, or None."""
    return _get(Kind.SIGNAL, name)


def set_signal_handler(name: str, handler: Callable[..., Any] | None) -> None:
    """Have signals of this name handled by a plain function from here on, those that wait included; None: by nobody."""
    _set(Kind.SIGNAL, name, handler)


def get_dynamic_signal_handler() -> Callable[..., Any] | None:
    """The handler that takes what no other signal handler takes, or None."""
    return _get(Kind.SIGNAL, None)


def set_dynamic_signal_handler(handler: Callable[..., Any] | None) -> None:
    """Have signals without a handler of their own handled by ``handler(name, args)``, those that wait included."""
    _set(Kind.SIGNAL, None, handler)


def get_query_handler(name: str) -> Callable[..., Any] | None:
    """The handler that answers queries of this name, or None."""
    return _get(Kind.QUERY, name)


def set_query_handler(name: str, handler: Callable[..., Any] | None) -> None:
    """Have queries of this name answered by a plain function from here on; None: by nobody."""
    _set(Kind.QUERY, name, handler)


def get_dynamic_query_handler() -> Callable[..., Any] | None:
    """The handler that answers what no other query handler answers, or None."""
    return _get(Kind.QUERY, None)


def set_dynamic_query_handler(handler: Callable[..., Any] | None) -> None:
    """Have queries without a handler of their own answered by ``handler(name, args)``."""
    _set(Kind.QUERY, None, handler)


def get_update_handler(name: str) -> Callable[..., Any] | None:
    """The handler that takes updates of this name, or None."""
    return _get(Kind.UPDATE, name)


def set_update_handler(
    name: str, handler: Callable[..., Any] | None, *, validator: Callable[..., None] | None = None
) -> None:
    """Have updates of this name handled by a plain function from here on, if ``validator`` does not raise."""
    _set(Kind.UPDATE, name, handler, validator)


def get_dynamic_update_handler() -> Callable[..., Any] | None:
    """The handler that takes what no other update handler takes, or None."""
    return _get(Kind.UPDATE, None)


def set_dynamic_update_handler(
    handler: Callable[..., Any] | None, *, validator: Callable[..., None] | None = None
) -> None:
    """Have updates without a handler of their own handled by ``handler(name, args)``."""
    _set(Kind.UPDATE, None, handler, validator)


def _get(kind: Kind, name: str | None) -> Callable[..., Any] | None:
    return this_workflow().get_handler(kind, name)


def _set(
    kind: Kind, name: str | None, handler: Callable[..., Any] | None, validator: Callable[..., None] | None = None
) -> None:
    definition = None if handler is None else define(kind, name, handler, validator=validator)
    this_workflow().set_handler(kind, name, definition)


def _name(target: object) -> str:
    return getattr(target, "__qualname__", repr(target))
