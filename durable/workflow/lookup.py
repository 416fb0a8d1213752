"""What packages written for Temporal look up under private names, `workflow._Definition` and its like."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from durable.context import WorkflowContext, maybe_workflow, this_workflow
from durable.workflow.definition import WorkflowDefinition
from durable.workflow.handlers import HandlerDefinition, Kind, definition_of, handler_name

Handlers = Mapping[str | None, HandlerDefinition]


@dataclass(frozen=True)
class Definition:
    """A workflow as Temporal's ``workflow._Definition`` shows it. ``cls`` is None for a function workflow."""

    name: str
    cls: type[Any] | None
    run_fn: Callable[..., Awaitable[Any]]
    signals: Handlers
    queries: Handlers
    updates: Handlers
    failure_exception_types: Sequence[type[BaseException]]
    ret_type: Any

    @staticmethod
    def from_class(decorated: type[Any]) -> Definition | None:
        """That of a decorated class; None when it is none."""
        found = WorkflowDefinition.of(decorated)
        return None if found is None else _shown(found)

    @staticmethod
    def must_from_class(decorated: type[Any]) -> Definition:
        """That of a decorated class. ValueError when it is none."""
        return _shown(WorkflowDefinition.must_be(decorated))

    @staticmethod
    def from_run_fn(fn: Callable[..., Awaitable[Any]]) -> Definition | None:
        """That of a run method; None when it is none."""
        found = WorkflowDefinition.of(fn)
        return None if found is None else _shown(found)

    @staticmethod
    def must_from_run_fn(fn: Callable[..., Awaitable[Any]]) -> Definition:
        """That of a run method. ValueError when it is none."""
        return _shown(WorkflowDefinition.must_be(fn))

    @staticmethod
    def get_name_and_result_type(name_or_run_fn: str | Callable[..., Awaitable[Any]]) -> tuple[str, Any]:
        """The workflow's name, and the type of its result, which a name alone does not tell. ValueError for others."""
        if isinstance(name_or_run_fn, str):
            return name_or_run_fn, None
        found = WorkflowDefinition.must_be(name_or_run_fn)
        return found.name, found.signature.return_hint


class SignalDefinition:
    """Temporal's ``workflow._SignalDefinition``, as far as others look into it."""

    @staticmethod
    def from_fn(fn: Callable[..., Any]) -> HandlerDefinition | None:
        """That of a signal handler; None when it is none."""
        return definition_of(fn, Kind.SIGNAL)

    @staticmethod
    def must_name_from_fn_or_str(signal: str | Callable[..., Any]) -> str:
        """A signal's name. TypeError for what is no signal handler, RuntimeError for a dynamic one."""
        return handler_name(signal, Kind.SIGNAL)[0]


class QueryDefinition:
    """Temporal's ``workflow._QueryDefinition``, as far as others look into it."""

    @staticmethod
    def from_fn(fn: Callable[..., Any]) -> HandlerDefinition | None:
        """That of a query handler; None when it is none."""
        return definition_of(fn, Kind.QUERY)


class UpdateDefinition:
    """Temporal's ``workflow._UpdateDefinition``, as far as others look into it."""

    @staticmethod
    def get_name_and_result_type(name_or_update_fn: str | Callable[..., Any]) -> tuple[str, Any]:
        """An update's name, and the type of its result, which a name alone does not tell."""
        name, found = handler_name(name_or_update_fn, Kind.UPDATE)
        return name, None if found is None else found.signature.return_hint


class Runtime:
    """Temporal's ``workflow._Runtime``: the run whose code is running."""

    @staticmethod
    def current() -> WorkflowContext:
        """`NotInWorkflowError` elsewhere."""
        return this_workflow()

    @staticmethod
    def maybe_current() -> WorkflowContext | None:
        """None elsewhere."""
        return maybe_workflow()


def _shown(found: WorkflowDefinition) -> Definition:
    return Definition(
        name=found.name,
        cls=found.cls,
        run_fn=found.run,
        signals=found.handlers.get(Kind.SIGNAL, {}),
        queries=found.handlers.get(Kind.QUERY, {}),
        updates=found.handlers.get(Kind.UPDATE, {}),
        failure_exception_types=found.failure_exception_types,
        ret_type=found.signature.return_hint,
    )
