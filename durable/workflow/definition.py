"""What a workflow is: `defn` on an async function or on a class with `run`, `signal` and `query` methods."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast, overload

from durable.signature import Signature

C = TypeVar("C", bound="type[Any] | Callable[..., Any]")
F = TypeVar("F", bound=Callable[..., Any])

_DEFINITION = "__temporal_workflow_definition"
_RUN = "__temporal_workflow_run"
_SIGNAL = "__temporal_signal_definition"
_QUERY = "__temporal_query_definition"


@dataclass(frozen=True)
class HandlerDefinition:
    """A signal or query handler of a class workflow: its name, its function (unbound), its typed call."""

    name: str
    fn: Callable[..., Any]
    signature: Signature
    description: str | None = None


@dataclass(frozen=True)
class WorkflowDefinition:
    """A workflow as the worker and the client know it. ``cls`` is None for a function workflow.

    ``run`` is the function, or the class's run method, unbound.
    """

    name: str
    run: Callable[..., Awaitable[Any]]
    signature: Signature
    cls: type[Any] | None = None
    signals: dict[str, HandlerDefinition] = field(default_factory=dict[str, HandlerDefinition])
    queries: dict[str, HandlerDefinition] = field(default_factory=dict[str, HandlerDefinition])
    failure_exception_types: tuple[type[BaseException], ...] = ()

    @staticmethod
    def of(reference: object) -> WorkflowDefinition | None:
        """The definition behind a decorated class, its run method, or a decorated function; None when there is none."""
        found = (
            vars(reference).get(_DEFINITION) if inspect.isclass(reference) else getattr(reference, _DEFINITION, None)
        )
        return found if isinstance(found, WorkflowDefinition) else None

    @staticmethod
    def must_be(reference: object) -> WorkflowDefinition:
        """Like `of`; ValueError when there is none."""
        found = WorkflowDefinition.of(reference)
        if found is None:
            name = getattr(reference, "__qualname__", repr(reference))
            raise ValueError(f"{name} is not a workflow: decorate it with @workflow.defn")
        return found


@overload
def defn(cls: C, /) -> C: ...


@overload
def defn(
    *,
    name: str | None = None,
    sandboxed: bool = True,
    failure_exception_types: Sequence[type[BaseException]] = (),
) -> Callable[[C], C]: ...


def defn(
    cls: Any = None,
    /,
    *,
    name: str | None = None,
    sandboxed: bool = True,
    failure_exception_types: Sequence[type[BaseException]] = (),
) -> Any:
    """A workflow: on a plain ``async def`` function, or on a class with one `run` method.

    ``name`` is what the database and other programs know it by; the default is the function's or class's own name.
    ``failure_exception_types`` fail the workflow, besides `FailureError` and `asyncio.TimeoutError`, when they escape;
    any other exception fails the workflow *task*: the run stays open, and goes on when the code is mended.
    ``sandboxed`` is taken for compatibility; there is no sandbox that imports modules again.

    Raises ValueError "Invalid workflow class: …" with everything that is wrong.
    """

    def decorate(target: Any) -> Any:
        failures = tuple(failure_exception_types)
        if inspect.isclass(target):
            found = _of_class(target, name or target.__name__, failures)
            setattr(target, _DEFINITION, found)
            setattr(found.run, _DEFINITION, found)
            return target
        if not inspect.iscoroutinefunction(target):
            raise ValueError(
                f"Invalid workflow: {_name(target)} must be an async function, or a class with @workflow.run"
            )
        if hasattr(target, _DEFINITION):
            raise ValueError(f"{_name(target)} is a workflow already")
        definition = WorkflowDefinition(
            name=name or target.__name__,
            run=target,
            signature=Signature.of(target),
            failure_exception_types=failures,
        )
        setattr(target, _DEFINITION, definition)
        return target

    return decorate if cls is None else decorate(cls)


def run(fn: F) -> F:
    """The method that is the workflow: ``async``, exactly one in a class, defined on the decorated class itself."""
    if not inspect.iscoroutinefunction(fn):
        raise ValueError("Workflow run method must be an async function")
    if "<locals>" in fn.__qualname__.rpartition(".")[0].rpartition(".")[2]:
        raise ValueError("@workflow.run belongs on a method of a class; a function workflow needs only @workflow.defn")
    setattr(fn, _RUN, True)
    return fn


@overload
def signal(fn: F, /) -> F: ...


@overload
def signal(*, name: str | None = None, description: str | None = None) -> Callable[[F], F]: ...


def signal(fn: Any = None, /, *, name: str | None = None, description: str | None = None) -> Any:
    """A signal handler: a method, sync or async, that is called with the signal's arguments, in order of arrival.

    ``name`` defaults to the method's name.
    """
    return _handler(_SIGNAL, fn, name, description)


@overload
def query(fn: F, /) -> F: ...


@overload
def query(*, name: str | None = None, description: str | None = None) -> Callable[[F], F]: ...


def query(fn: Any = None, /, *, name: str | None = None, description: str | None = None) -> Any:
    """A query handler: a sync method that answers a question and changes nothing. ``name`` defaults to its name."""
    return _handler(_QUERY, fn, name, description)


def _handler(attribute: str, fn: Any, name: str | None, description: str | None) -> Any:
    def decorate(target: Any) -> Any:
        if attribute == _QUERY and inspect.iscoroutinefunction(target):
            raise ValueError(f"query {_name(target)} must be a plain method: an answer can't wait for anything")
        if hasattr(target, attribute):
            raise ValueError(f"{_name(target)} is decorated twice")
        definition = HandlerDefinition(
            name=name or target.__name__,
            fn=target,
            signature=Signature.of(target, skip_first=True),
            description=description,
        )
        setattr(target, attribute, definition)
        return target

    return decorate if fn is None else decorate(fn)


def _of_class(cls: type[Any], name: str, failures: tuple[type[BaseException], ...]) -> WorkflowDefinition:
    if _DEFINITION in vars(cls):
        raise ValueError(f"Class {cls.__qualname__} is a workflow already")
    issues: list[str] = []
    run_fn = _run_of(cls, issues)
    signals = _handlers(cls, _SIGNAL, "signal", issues)
    queries = _handlers(cls, _QUERY, "query", issues)
    parameters = [
        p
        for p in list(inspect.signature(cls.__init__).parameters.values())[1:]
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.default is p.empty
    ]
    if parameters and cls.__init__ is not object.__init__:
        issues.append(f"__init__ takes {', '.join(p.name for p in parameters)}, but it is called without arguments")
    if issues or run_fn is None:
        if len(issues) == 1:
            raise ValueError(f"Invalid workflow class: {issues[0]}")
        raise ValueError(f"Invalid workflow class {cls.__qualname__} for {len(issues)} reasons: {'; '.join(issues)}")
    return WorkflowDefinition(
        name=name,
        run=run_fn,
        signature=Signature.of(run_fn, skip_first=True),
        cls=cls,
        signals=signals,
        queries=queries,
        failure_exception_types=failures,
    )


def _run_of(cls: type[Any], issues: list[str]) -> Callable[..., Awaitable[Any]] | None:
    own = [member for member in vars(cls).values() if getattr(member, _RUN, False)]
    if len(own) > 1:
        issues.append(f"Multiple @workflow.run methods found on {cls.__qualname__}")
    elif not own:
        inherited = [m for _, m in inspect.getmembers(cls) if getattr(m, _RUN, False)]
        if inherited:
            issues.append(
                f"@workflow.run method {inherited[0].__qualname__} must be defined on {cls.__qualname__} itself"
            )
        else:
            issues.append(f"Missing @workflow.run method on {cls.__qualname__}")
    return cast("Callable[..., Awaitable[Any]]", own[0]) if len(own) == 1 else None


def _handlers(cls: type[Any], attribute: str, kind: str, issues: list[str]) -> dict[str, HandlerDefinition]:
    """The handlers of a class by name: an override in a subclass must be decorated as well."""
    found: dict[str, HandlerDefinition] = {}
    for member_name, member in inspect.getmembers(cls):
        definition = getattr(member, attribute, None)
        if definition is None:
            if any(getattr(vars(base).get(member_name), attribute, None) for base in cls.__mro__[1:]):
                issues.append(f"@workflow.{kind} defined on a base's {member_name}, but not on its override")
            continue
        if definition.name in found:
            issues.append(f"Multiple {kind} methods found for {definition.name}")
        found[definition.name] = definition
    return found


def _name(target: object) -> str:
    return getattr(target, "__qualname__", repr(target))


def handler_name(reference: object, kind: str) -> tuple[str, HandlerDefinition | None]:
    """The name of a signal or query given as a string, or as its decorated method."""
    if isinstance(reference, str):
        return reference, None
    definition = getattr(reference, _SIGNAL if kind == "signal" else _QUERY, None)
    if not isinstance(definition, HandlerDefinition):
        raise TypeError(f"{_name(reference)} is no {kind}: give its name, or a method decorated with @workflow.{kind}")
    return definition.name, definition
