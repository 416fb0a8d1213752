"""Names to definitions: what a worker can run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from durable.activity import ActivityDefinition
from durable.after_crash import Verify
from durable.history.standalone import is_standalone
from durable.workflow.definition import WorkflowDefinition
from durable.workflow.standalone import DEFINITION as STANDALONE


class RegisteredActivity(Struct, frozen=True):
    """An activity and what to call: its function, with the object that its method is bound to.

    ``reference`` is what was registered: it does the same, and other processes can be told of it. ``verify`` is what
    its ``after_crash`` calls, if that is a function; of a method, with the same object.
    """

    definition: ActivityDefinition
    fn: Callable[..., Any]
    reference: Callable[..., Any]
    verify: Callable[..., Any] | None = None


class Registry:
    """The workflows and activities of a worker, by name.

    ``dynamic_workflow`` is the one that takes every other type, ``dynamic_activity`` every other name. ValueError for
    doubles and for what is neither, TypeError for a class in the place of its object and for a second dynamic one.
    """

    def __init__(self, workflows: Iterable[Any], activities: Iterable[Any]) -> None:
        self.workflows: dict[str, WorkflowDefinition] = {}
        self.activities: dict[str, RegisteredActivity] = {}
        self.dynamic_workflow: WorkflowDefinition | None = None
        self.dynamic_activity: RegisteredActivity | None = None
        for workflow in workflows:
            definition = WorkflowDefinition.must_be(workflow)
            if definition.dynamic:
                if self.dynamic_workflow is not None:
                    names = f"{self.dynamic_workflow.name} and {definition.name}"
                    raise TypeError(f"More than one dynamic workflow: {names}")
                self.dynamic_workflow = definition
                continue
            if definition.name in self.workflows:
                raise ValueError(f"More than one workflow named {definition.name}")
            self.workflows[definition.name] = definition
        for activity in activities:
            found = _registered(activity)
            if found.definition.dynamic:
                if self.dynamic_activity is not None:
                    raise TypeError("More than one dynamic activity")
                self.dynamic_activity = found
                continue
            if found.definition.name in self.activities:
                raise ValueError(f"More than one activity named {found.definition.name}")
            self.activities[found.definition.name] = found
        if not self.has_workflows and not self.all_activities:
            raise ValueError("At least one activity or workflow must be specified")

    @property
    def has_workflows(self) -> bool:
        return bool(self.workflows) or self.dynamic_workflow is not None

    def workflow(self, workflow_type: str) -> WorkflowDefinition | None:
        """The workflow that takes this type, if any does; the engine's own is on every worker."""
        if is_standalone(workflow_type):
            return STANDALONE
        return self.workflows.get(workflow_type) or self.dynamic_workflow

    @property
    def all_activities(self) -> list[RegisteredActivity]:
        """Those with a name, and the dynamic one."""
        dynamic = [] if self.dynamic_activity is None else [self.dynamic_activity]
        return [*self.activities.values(), *dynamic]

    def activity(self, name: str) -> RegisteredActivity | None:
        """What runs activities of this name, be it the dynamic one."""
        return self.activities.get(name, self.dynamic_activity)

    @property
    def has_sync_activities(self) -> bool:
        return any(not found.definition.is_async for found in self.all_activities)

    def missing_workflow(self, name: str) -> str:
        return f"Workflow {name} is not registered on this worker, available workflows: {_names(self.workflows)}"

    def why_missing(self, name: str) -> str | None:
        """What is wrong with an activity's name; None when one takes it."""
        return None if self.activity(name) is not None else self.missing_activity(name)

    def missing_activity(self, name: str) -> str:
        names = _names(self.activities)
        return f"Activity function {name} is not registered on this worker, available activities: {names}"


def _registered(activity: Any) -> RegisteredActivity:
    definition = ActivityDefinition.must_be(activity)
    if inspect.isclass(activity):
        name = activity.__qualname__
        raise TypeError(f"Activity {name} is a class instead of an object: register one, as in activities=[{name}()]")
    if definition.is_class:
        return RegisteredActivity(definition, activity.__call__, activity, _verify(definition, activity))
    if not definition.is_method:
        return RegisteredActivity(definition, definition.fn, activity, _verify(definition))
    if not inspect.ismethod(activity):
        name = definition.fn.__qualname__
        raise ValueError(
            f"Activity {name} is a method: register it on an object, as in "
            f"activities=[object.{name.rpartition('.')[2]}]"
        )
    bound_to = activity.__self__
    fn = functools.partial(definition.fn, bound_to)
    return RegisteredActivity(definition, fn, activity, _verify(definition, bound_to))


def _verify(definition: ActivityDefinition, *bound_to: Any) -> Callable[..., Any] | None:
    rule = definition.after_crash
    if not isinstance(rule, Verify):
        return None
    return functools.partial(rule.fn, *bound_to) if bound_to else rule.fn


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
