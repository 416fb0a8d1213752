"""Which worker's version a run keeps to: Temporal's types, as data. Nothing here is routed by them yet."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from enum import IntEnum


class VersioningBehavior(IntEnum):
    """What happens to an open run when a new version of its worker is deployed. Values are Temporal's."""

    UNSPECIFIED = 0
    PINNED = 1
    AUTO_UPGRADE = 2


@dataclass(frozen=True)
class WorkerDeploymentVersion:
    """A version of a deployment: its name, and the id of the build."""

    deployment_name: str
    build_id: str

    def to_canonical_string(self) -> str:
        """``name.build``"""
        return f"{self.deployment_name}.{self.build_id}"

    @staticmethod
    def from_canonical_string(canonical: str) -> WorkerDeploymentVersion:
        """From ``name.build``; the name ends at the first dot. ValueError without a dot."""
        name, dot, build_id = canonical.partition(".")
        if not dot:
            raise ValueError(f"{canonical!r} is no version: write <deployment_name>.<build_id>")
        return WorkerDeploymentVersion(name, build_id)


class VersioningOverride(ABC):  # noqa: B024 - a name for its subclasses, as in Temporal
    """A run's own rule, instead of its workflow's behaviour."""


@dataclass(frozen=True)
class PinnedVersioningOverride(VersioningOverride):
    """The run keeps to this version."""

    version: WorkerDeploymentVersion


@dataclass(frozen=True)
class AutoUpgradeVersioningOverride(VersioningOverride):
    """The run moves to each new version."""


@dataclass(frozen=True)
class OneTimeVersioningOverride(VersioningOverride):
    """The run moves to this version once."""

    target_version: WorkerDeploymentVersion
