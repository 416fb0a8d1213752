"""Settings of Temporal's sandbox: accepted so that programs port. No module is imported again here.

What guards workflow code instead (the deterministic loop, the replay check) has no settings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, ClassVar

from durable.exceptions import TemporalError
from durable.worker.runner import UnsandboxedWorkflowRunner, WorkflowRunner
from durable.workflow import SandboxImportNotificationPolicy
from durable.workflow.errors import NondeterminismError

__all__ = [
    "RestrictedWorkflowAccessError",
    "SandboxMatcher",
    "SandboxRestrictions",
    "SandboxedWorkflowRunner",
    "UnintentionalPassthroughError",
]


class RestrictedWorkflowAccessError(NondeterminismError):
    """Workflow code used something that Temporal's sandbox forbids."""

    def __init__(self, qualified_name: str, *, override_message: str | None = None) -> None:
        super().__init__(override_message or self.default_message(qualified_name))
        self.qualified_name = qualified_name

    @staticmethod
    def default_message(qualified_name: str) -> str:
        """What is said of a forbidden name."""
        return (
            f"{qualified_name} can't be used in workflow code: its result may differ when history is replayed; "
            "do it in an activity"
        )


class UnintentionalPassthroughError(TemporalError):
    """A module was handed to workflow code without being named for it."""

    def __init__(self, qualified_name: str) -> None:
        super().__init__(f"module {qualified_name} is passed through to workflow code, and nobody asked for it")
        self.qualified_name = qualified_name


@dataclass(frozen=True)
class SandboxMatcher:
    """A tree of names: what may not be looked at (``access``) or used (``use``); "*" is every name."""

    access: AbstractSet[str] = frozenset()
    use: AbstractSet[str] = frozenset()
    children: Mapping[str, SandboxMatcher] = field(default_factory=dict[str, "SandboxMatcher"])
    match_self: bool = False
    only_runtime: bool = False
    leaf_message: str | None = None
    leaf_warning: type[Warning] | None = None
    exclude: AbstractSet[str] = frozenset()

    all: ClassVar[SandboxMatcher]
    all_runtime: ClassVar[SandboxMatcher]
    none: ClassVar[SandboxMatcher]
    all_uses: ClassVar[SandboxMatcher]
    all_uses_runtime: ClassVar[SandboxMatcher]

    @classmethod
    def nested_child(cls, path: Sequence[str], child: SandboxMatcher) -> SandboxMatcher:
        """A matcher with ``child`` at the end of ``path``."""
        for name in reversed(path):
            child = cls(children={name: child})
        return child

    def child_matcher(self, *child_path: str) -> SandboxMatcher | None:
        """The matcher at the end of the path; None when there is none."""
        found: SandboxMatcher | None = self
        for name in child_path:
            found = found.children.get(name) if found is not None else None
        return found

    def with_child_unrestricted(self, *child_path: str) -> SandboxMatcher:
        """The same without what is at the end of the path."""
        name, *rest = child_path
        if rest:
            child = self.children.get(name)
            changed = {} if child is None else {name: child.with_child_unrestricted(*rest)}
            return dataclasses.replace(self, children={**self.children, **changed})
        return dataclasses.replace(
            self,
            access=self.access - {name},
            use=self.use - {name},
            children={key: child for key, child in self.children.items() if key != name},
        )

    def __or__(self, other: SandboxMatcher) -> SandboxMatcher:
        """What either of them matches."""
        if self.only_runtime != other.only_runtime:
            raise ValueError("a matcher that is for run time only can't be joined with one that is not")
        children = dict(self.children)
        for name, child in other.children.items():
            children[name] = children[name] | child if name in children else child
        return SandboxMatcher(
            access=self.access | other.access,
            use=self.use | other.use,
            children=children,
            match_self=self.match_self or other.match_self,
            only_runtime=self.only_runtime,
            leaf_message=self.leaf_message or other.leaf_message,
            leaf_warning=self.leaf_warning or other.leaf_warning,
            exclude=self.exclude | other.exclude,
        )


SandboxMatcher.all = SandboxMatcher(match_self=True)
SandboxMatcher.all_runtime = SandboxMatcher(match_self=True, only_runtime=True)
SandboxMatcher.none = SandboxMatcher()
SandboxMatcher.all_uses = SandboxMatcher(use=frozenset("*"))
SandboxMatcher.all_uses_runtime = SandboxMatcher(use=frozenset("*"), only_runtime=True)


@dataclass(frozen=True)
class SandboxRestrictions:
    """What Temporal's sandbox would forbid, and which modules it would not import again."""

    passthrough_modules: AbstractSet[str]
    invalid_modules: SandboxMatcher
    invalid_module_members: SandboxMatcher
    import_notification_policy: SandboxImportNotificationPolicy = SandboxImportNotificationPolicy.WARN_ON_DYNAMIC_IMPORT
    passthrough_all_modules: bool = False
    disable_lazy_sys_module_passthrough: bool = False

    passthrough_modules_minimum: ClassVar[AbstractSet[str]] = frozenset()
    passthrough_modules_with_temporal: ClassVar[AbstractSet[str]] = frozenset()
    passthrough_modules_maximum: ClassVar[AbstractSet[str]] = frozenset()
    passthrough_modules_default: ClassVar[AbstractSet[str]] = frozenset()
    invalid_module_members_default: ClassVar[SandboxMatcher] = SandboxMatcher.none
    default: ClassVar[SandboxRestrictions]

    def with_passthrough_modules(self, *modules: str) -> SandboxRestrictions:
        """The same, and these modules pass through."""
        return dataclasses.replace(self, passthrough_modules=self.passthrough_modules | set(modules))

    def with_passthrough_all_modules(self) -> SandboxRestrictions:
        """The same, and all modules pass through."""
        return dataclasses.replace(self, passthrough_all_modules=True)

    def with_import_notification_policy(self, policy: SandboxImportNotificationPolicy) -> SandboxRestrictions:
        """The same, with another policy for imports."""
        return dataclasses.replace(self, import_notification_policy=policy)


SandboxRestrictions.default = SandboxRestrictions(
    SandboxRestrictions.passthrough_modules_default,
    SandboxMatcher.none,
    SandboxRestrictions.invalid_module_members_default,
)


@dataclass(frozen=True)
class SandboxedWorkflowRunner(WorkflowRunner):
    """Workflow code in Temporal's sandbox: accepted, and run as all workflow code is here."""

    restrictions: SandboxRestrictions = SandboxRestrictions.default
    runner_class: type[Any] = UnsandboxedWorkflowRunner
