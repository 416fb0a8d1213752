"""Temporal's build id sets, by which its servers route work: as data. Databases route nothing: calls are refused."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from durable.service import RPCError, RPCStatusCode


class BuildIdOp(ABC):  # noqa: B024 - a name for its subclasses, as in Temporal
    """A change of a task queue's sets."""


@dataclass(frozen=True)
class BuildIdOpAddNewDefault(BuildIdOp):
    """A new build id in a set of its own, which is the default from then on."""

    build_id: str


@dataclass(frozen=True)
class BuildIdOpAddNewCompatible(BuildIdOp):
    """A new build id in the set of another one."""

    build_id: str
    existing_compatible_build_id: str
    promote_set: bool = False


@dataclass(frozen=True)
class BuildIdOpPromoteSetByBuildId(BuildIdOp):
    """The set of this build id becomes the default."""

    build_id: str


@dataclass(frozen=True)
class BuildIdOpPromoteBuildIdWithinSet(BuildIdOp):
    """This build id becomes the default of its set."""

    build_id: str


@dataclass(frozen=True)
class BuildIdOpMergeSets(BuildIdOp):
    """Two sets become one."""

    primary_build_id: str
    secondary_build_id: str


@dataclass(frozen=True)
class BuildIdVersionSet:
    """Build ids that can take each other's work; the last is the default."""

    build_ids: Sequence[str]

    def default(self) -> str:
        """The set's newest build id."""
        return self.build_ids[-1]


@dataclass(frozen=True)
class WorkerBuildIdVersionSets:
    """A task queue's sets; the last is the default."""

    version_sets: Sequence[BuildIdVersionSet]

    def default_set(self) -> BuildIdVersionSet:
        """The newest set."""
        return self.version_sets[-1]

    def default_build_id(self) -> str:
        """The newest build id of the newest set."""
        return self.default_set().default()


class TaskReachabilityType(Enum):
    """Which runs a build id may still be needed for. Values are Temporal's."""

    NEW_WORKFLOWS = 1
    EXISTING_WORKFLOWS = 2
    OPEN_WORKFLOWS = 3
    CLOSED_WORKFLOWS = 4


@dataclass(frozen=True)
class BuildIdReachability:
    """By task queue, what a build id may still be needed for."""

    task_queue_reachability: Mapping[str, Sequence[TaskReachabilityType]]
    unretrieved_task_queues: frozenset[str]


@dataclass(frozen=True)
class WorkerTaskReachability:
    """By build id, what it may still be needed for."""

    build_id_reachability: Mapping[str, BuildIdReachability]


def refused(call: str) -> RPCError:
    """What such a call raises."""
    return RPCError(
        f"{call}: durable routes no work by build id; change running workflows with workflow.patched, "
        "or give a new version a task queue of its own",
        RPCStatusCode.UNIMPLEMENTED,
    )
