"""Settings of Temporal's sandbox: what workflow code is refused can be lifted here, by its qualified name.

No module is imported again, so the settings of that (``passthrough…``, ``invalid_modules``, the notification policy)
are accepted without effect; and so are names that are not in `SandboxRestrictions.invalid_module_members_default`:
nothing notices their use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, ClassVar

from durable.exceptions import TemporalError
from durable.worker.restricted import REFUSED, RestrictedWorkflowAccessError
from durable.worker.runner import UnsandboxedWorkflowRunner, WorkflowRunner
from durable.workflow import SandboxImportNotificationPolicy

__all__ = [
    "RestrictedWorkflowAccessError",
    "SandboxMatcher",
    "SandboxRestrictions",
    "SandboxedWorkflowRunner",
    "UnintentionalPassthroughError",
]


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

    def matches(self, *path: str) -> bool:
        """Is what stands at the end of this path forbidden?"""
        if self.match_self or not path:
            return self.match_self
        name, *rest = path
        if name in self.exclude:
            return False
        if not {name, "*"}.isdisjoint(self.access | self.use):
            return True
        child = self.children.get(name)
        return child is not None and child.matches(*rest)

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


def _matching_all() -> SandboxMatcher:
    found = SandboxMatcher.none
    for qualified_name in REFUSED:
        *path, name = qualified_name.split(".")
        found |= SandboxMatcher.nested_child(path, SandboxMatcher(use=frozenset({name})))
    return found


@dataclass(frozen=True)
class SandboxRestrictions:
    """What workflow code is refused: of the names in ``invalid_module_members_default`` (run time's; `durable check`
    finds more) those that ``invalid_module_members`` still has. The rest is about importing modules again, which nobody
    does here: it is accepted, and has no effect.
    """

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
    invalid_module_members_default: ClassVar[SandboxMatcher] = _matching_all()
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
    """Workflow code is refused what the restrictions say."""

    restrictions: SandboxRestrictions = SandboxRestrictions.default
    runner_class: type[Any] = UnsandboxedWorkflowRunner

    @property
    def refused(self) -> frozenset[str]:
        forbidden = self.restrictions.invalid_module_members
        return frozenset(name for name in REFUSED if forbidden.matches(*name.split(".")))
