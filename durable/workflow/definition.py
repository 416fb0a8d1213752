"""What a workflow is: `defn` on an async function, or on a class with a `run` method."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast, get_args, overload

from durable.common import RawValue
from durable.converter import DataConverter
from durable.history.values import Payload
from durable.signature import Signature
from durable.versions import VersioningBehavior
from durable.workflow.handlers import HandlerDefinition, Kind, definition_of

C = TypeVar("C", bound="type[Any] | Callable[..., Any]")
F = TypeVar("F", bound=Callable[..., Any])

HandlersByName = dict[str | None, HandlerDefinition]

_DEFINITION = "__temporal_workflow_definition"
_RUN = "__temporal_workflow_run"
_INIT = "__temporal_workflow_init"
_DYNAMIC_CONFIG = "__temporal_workflow_dynamic_config"


@dataclass(frozen=True)
class DynamicWorkflowConfig:
    """What a function decorated with `dynamic_config` returns: settings of `defn`, for the workflow type at hand.

    ``failure_exception_types`` None leaves those of `defn`. ``versioning_behavior`` is taken for compatibility.
    """

    failure_exception_types: Sequence[type[BaseException]] | None = None
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED


@dataclass(frozen=True)
class WorkflowDefinition:
    """A workflow as the worker and the client know it. ``cls`` is None for a function workflow.

    ``run`` is the function, or the class's run method, unbound. ``handlers`` are the class's, by kind and name; None is
    the name of a dynamic one. A ``dynamic`` workflow takes every type that no other one of its worker takes; its name
    is for people. ``config`` is its method decorated with `dynamic_config`, unbound. ``sandboxed`` False lifts what its
    code is refused.
    """

    name: str
    run: Callable[..., Awaitable[Any]]
    signature: Signature
    cls: type[Any] | None = None
    init_takes_arguments: bool = False
    handlers: dict[Kind, HandlersByName] = field(default_factory=dict[Kind, HandlersByName])
    failure_exception_types: tuple[type[BaseException], ...] = ()
    dynamic: bool = False
    config: Callable[[Any], DynamicWorkflowConfig] | None = None
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED
    sandboxed: bool = True

    def arguments(self, converter: DataConverter, payloads: Sequence[Payload]) -> tuple[list[Any], dict[str, Any]]:
        """What to call it with, the object of its class apart. Raises TypeError when the payloads do not fit."""
        if self.dynamic:
            return [[RawValue(payload) for payload in payloads]], {}
        return self.signature.decode(converter, payloads)

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

    @staticmethod
    def to_invoke(reference: object) -> WorkflowDefinition:
        """Like `must_be`, to start it by its name; ValueError for a dynamic one, which has none of its own."""
        found = WorkflowDefinition.must_be(reference)
        if found.dynamic:
            raise ValueError(f"Cannot invoke dynamic workflow explicitly: give the name that {found.name} is to get")
        return found


@overload
def defn(cls: C, /) -> C: ...


@overload
def defn(
    *,
    name: str | None = None,
    sandboxed: bool = True,
    dynamic: bool = False,
    failure_exception_types: Sequence[type[BaseException]] = (),
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED,
) -> Callable[[C], C]: ...


def defn(
    cls: Any = None,
    /,
    *,
    name: str | None = None,
    sandboxed: bool = True,
    dynamic: bool = False,
    failure_exception_types: Sequence[type[BaseException]] = (),
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED,
) -> Any:
    """A workflow: on a plain ``async def`` function, or on a class with one `run` method.

    ``name`` is what the database and other programs know it by; the default is the function's or class's own name.
    ``failure_exception_types`` fail the workflow, besides `FailureError` and `asyncio.TimeoutError`, when they escape;
    any other exception fails the workflow *task*: the run stays open, and goes on when the code is mended.
    ``dynamic`` makes it the one that takes every type that no other workflow of its worker takes: it is called with
    one ``Sequence[RawValue]``, and finds the type in ``workflow.info().workflow_type``.
    ``sandboxed=False`` lifts what workflow code is refused (I/O, the clock, chance): its code must see to it by itself
    that a replay does the same. ``versioning_behavior`` is taken for compatibility.

    Raises ValueError "Invalid workflow class: …" with everything that is wrong, TypeError for a dynamic one with other
    parameters, RuntimeError for a dynamic one with a name.
    """
    if name is not None and dynamic:
        raise RuntimeError("Cannot provide name and dynamic boolean")

    def decorate(target: Any) -> Any:
        settings = _Settings(
            name or target.__name__, tuple(failure_exception_types), dynamic, versioning_behavior, sandboxed
        )
        if inspect.isclass(target):
            found = _of_class(target, settings)
            setattr(target, _DEFINITION, found)
            setattr(found.run, _DEFINITION, found)
            return target
        if not inspect.iscoroutinefunction(target):
            raise ValueError(
                f"Invalid workflow: {_name(target)} must be an async function, or a class with @workflow.run"
            )
        if hasattr(target, _DEFINITION):
            raise ValueError(f"{_name(target)} is a workflow already")
        setattr(target, _DEFINITION, settings.definition(target, Signature.of(target)))
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


def dynamic_config(fn: F) -> F:
    """The method of a dynamic workflow that says, per type, what `defn` says for all: a `DynamicWorkflowConfig`.

    Sync, with ``self`` only; called once a run, after ``__init__`` and before the code runs, and allowed to change
    nothing. An exception of its fails the workflow task. Raises ValueError for an async function.
    """
    if inspect.iscoroutinefunction(fn):
        raise ValueError("Workflow dynamic_config method must be synchronous")
    setattr(fn, _DYNAMIC_CONFIG, True)
    return fn


def init(init_fn: F) -> F:
    """On ``__init__``: it gets the arguments of the run, and has the run method's parameters.

    Raises ValueError on any other function.
    """
    if init_fn.__name__ != "__init__":
        raise ValueError("@workflow.init may only be used on the __init__ method")
    setattr(init_fn, _INIT, True)
    return init_fn


@dataclass(frozen=True)
class _Settings:
    """What `defn` was told."""

    name: str
    failures: tuple[type[BaseException], ...]
    dynamic: bool
    versioning_behavior: VersioningBehavior
    sandboxed: bool

    def definition(self, fn: Callable[..., Any], signature: Signature, **of_class: Any) -> WorkflowDefinition:
        if self.dynamic and not _takes_raw_values(signature):
            raise TypeError(
                f"Dynamic workflow must accept a single Sequence[durable.common.RawValue]: {_name(fn)} does not"
            )
        return WorkflowDefinition(
            name=self.name,
            run=fn,
            signature=signature,
            failure_exception_types=self.failures,
            dynamic=self.dynamic,
            versioning_behavior=self.versioning_behavior,
            sandboxed=self.sandboxed,
            **of_class,
        )


def _takes_raw_values(signature: Signature) -> bool:
    if signature.positional_count != 1 or signature.takes_rest:
        return False
    try:
        (hint,) = signature.positional_hints
    except TypeError:  # it names what is not defined yet
        return True
    return hint is None or get_args(hint) == (RawValue,)


def _of_class(cls: type[Any], settings: _Settings) -> WorkflowDefinition:
    if _DEFINITION in vars(cls):
        raise ValueError(f"Class already contains workflow definition: {cls.__qualname__}")
    issues: list[str] = []
    run_fn = _run_of(cls, issues)
    handlers = {kind: _handlers(cls, kind, issues) for kind in Kind}
    config = _config_of(cls, settings.dynamic, issues)
    takes_arguments = bool(getattr(cls.__init__, _INIT, False))
    if run_fn is not None:
        _check_init(cls, run_fn, takes_arguments, issues)
    if issues or run_fn is None:
        if len(issues) == 1:
            raise ValueError(f"Invalid workflow class: {issues[0]}")
        raise ValueError(f"Invalid workflow class for {len(issues)} reasons: {', '.join(issues)}")
    return settings.definition(
        run_fn,
        Signature.of(run_fn, skip_first=True),
        cls=cls,
        init_takes_arguments=takes_arguments,
        handlers=handlers,
        config=config,
    )


def _run_of(cls: type[Any], issues: list[str]) -> Callable[..., Awaitable[Any]] | None:
    """The run method: the class's own, not an inherited one nor another workflow's."""
    found: Any = None
    for name, member in inspect.getmembers(cls):
        if not hasattr(member, _RUN):
            if any(hasattr(vars(base).get(name), _RUN) for base in cls.__mro__[1:]):
                issues.append(_not_on_override("run", cls, name))
        elif name not in vars(cls) or hasattr(member, _DEFINITION):
            issues.append(f"@workflow.run method {name} must be defined on {cls.__qualname__}")
        elif found is not None:
            issues.append(f"Multiple @workflow.run methods found (at least on {name} and {found.__name__})")
        else:
            found = member
    if found is None and not issues:
        issues.append(f"Missing @workflow.run method on {cls.__qualname__}")
    return cast("Callable[..., Awaitable[Any]] | None", found)


def _config_of(cls: type[Any], dynamic: bool, issues: list[str]) -> Callable[[Any], DynamicWorkflowConfig] | None:
    found = [member for _, member in inspect.getmembers(cls) if hasattr(member, _DYNAMIC_CONFIG)]
    if found and not dynamic:
        issues.append(
            f"@workflow.dynamic_config can only be used in dynamic workflows, but {cls.__qualname__} is not dynamic"
        )
    if len(found) > 1:
        issues.append("@workflow.dynamic_config can only be defined once per workflow")
    return found[0] if found else None


def _not_on_override(decorator: str, cls: type[Any], name: str) -> str:
    base = next(base for base in cls.__mro__[1:] if name in vars(base))
    return f"@workflow.{decorator} defined on {base.__qualname__}.{name} but not on the override"


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
                issues.append(_not_on_override(str(kind), cls, member_name))
            continue
        if (other := found.get(definition.name)) is not None:
            issues.append(
                f"Multiple {kind} methods found for {definition.name or '<dynamic>'} "
                f"(at least on {definition.fn.__name__} and {other.fn.__name__})"
            )
        if definition.validator is not None:
            shape = Signature.of(definition.validator, skip_first=True).shape
            if shape != definition.signature.shape:
                issues.append(
                    f"Update validator method {definition.validator.__name__} parameters do not match "
                    f"update method {definition.fn.__name__} parameters"
                )
        found[definition.name] = definition
    return found


def _name(target: object) -> str:
    return getattr(target, "__qualname__", repr(target))
