"""What a workflow is: `defn` on an async function, or on a class with a `run` method."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast, overload

from durable.signature import Signature
from durable.workflow.handlers import HandlerDefinition, Kind, definition_of

C = TypeVar("C", bound="type[Any] | Callable[..., Any]")
F = TypeVar("F", bound=Callable[..., Any])

HandlersByName = dict[str | None, HandlerDefinition]

_DEFINITION = "__temporal_workflow_definition"
_RUN = "__temporal_workflow_run"
_INIT = "__temporal_workflow_init"


@dataclass(frozen=True)
class WorkflowDefinition:
    """A workflow as the worker and the client know it. ``cls`` is None for a function workflow.

    ``run`` is the function, or the class's run method, unbound. ``handlers`` are the class's, by kind and name; None is
    the name of a dynamic one.
    """

    name: str
    run: Callable[..., Awaitable[Any]]
    signature: Signature
    cls: type[Any] | None = None
    init_takes_arguments: bool = False
    handlers: dict[Kind, HandlersByName] = field(default_factory=dict[Kind, HandlersByName])
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


def init(init_fn: F) -> F:
    """On ``__init__``: it gets the arguments of the run, and has the run method's parameters.

    Raises ValueError on any other function.
    """
    if init_fn.__name__ != "__init__":
        raise ValueError("@workflow.init may only be used on the __init__ method")
    setattr(init_fn, _INIT, True)
    return init_fn


def _of_class(cls: type[Any], name: str, failures: tuple[type[BaseException], ...]) -> WorkflowDefinition:
    if _DEFINITION in vars(cls):
        raise ValueError(f"Class {cls.__qualname__} is a workflow already")
    issues: list[str] = []
    run_fn = _run_of(cls, issues)
    handlers = {kind: _handlers(cls, kind, issues) for kind in Kind}
    takes_arguments = bool(getattr(cls.__init__, _INIT, False))
    if run_fn is not None:
        _check_init(cls, run_fn, takes_arguments, issues)
    if issues or run_fn is None:
        if len(issues) == 1:
            raise ValueError(f"Invalid workflow class: {issues[0]}")
        raise ValueError(f"Invalid workflow class {cls.__qualname__} for {len(issues)} reasons: {'; '.join(issues)}")
    return WorkflowDefinition(
        name=name,
        run=run_fn,
        signature=Signature.of(run_fn, skip_first=True),
        cls=cls,
        init_takes_arguments=takes_arguments,
        handlers=handlers,
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


def _check_init(cls: type[Any], run_fn: Callable[..., Any], takes_arguments: bool, issues: list[str]) -> None:
    if cls.__init__ is object.__init__:
        return
    signature = Signature.of(cls.__init__, skip_first=True)
    if takes_arguments:
        if signature.shape != Signature.of(run_fn, skip_first=True).shape:
            issues.append(
                "@workflow.init and @workflow.run method parameters do not match: they must be the same but for their "
                "names"
            )
        return
    parameters = [
        p
        for p in list(inspect.signature(cls.__init__).parameters.values())[1:]
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.default is p.empty
    ]
    if parameters:
        issues.append(
            f"__init__ takes {', '.join(p.name for p in parameters)}, but it is called without arguments; decorated "
            "with @workflow.init it gets those of run"
        )


def _handlers(cls: type[Any], kind: Kind, issues: list[str]) -> HandlersByName:
    """The handlers of a class by name: an override in a subclass must be decorated as well."""
    found: HandlersByName = {}
    for member_name, member in inspect.getmembers(cls):
        definition = definition_of(member, kind)
        if definition is None:
            if any(definition_of(vars(base).get(member_name), kind) for base in cls.__mro__[1:]):
                issues.append(f"@workflow.{kind} defined on a base's {member_name}, but not on its override")
            continue
        if definition.name in found:
            issues.append(f"Multiple {kind} methods found for {definition.name or '<dynamic>'}")
        if definition.validator is not None:
            shape = Signature.of(definition.validator, skip_first=True).shape
            if shape != definition.signature.shape:
                issues.append(
                    f"Update validator method {_name(definition.validator)} parameters do not match "
                    f"update method {_name(definition.fn)} parameters"
                )
        found[definition.name] = definition
    return found


def _name(target: object) -> str:
    return getattr(target, "__qualname__", repr(target))
