"""Slots: how many tasks of a kind a worker runs at once, in the words of Temporal's tuners.

Activities keep to them. Workflow tasks run one after the other on a thread of their own, so their slots mean nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, Protocol, TypeAlias, runtime_checkable

DEFAULT_SLOTS = 1000
"""So many activities run at once unless somebody says otherwise."""

SLOT_KEYS = (
    "max_concurrent_workflow_tasks",
    "max_concurrent_activities",
    "max_concurrent_local_activities",
    "max_concurrent_nexus_tasks",
)


@dataclass(frozen=True)
class FixedSizeSlotSupplier:
    """So many slots, and no more."""

    num_slots: int


@dataclass(frozen=True)
class ResourceBasedTunerConfig:
    """How much of the machine's memory and processors may be in use, between 0 and 1."""

    target_memory_usage: float
    target_cpu_usage: float


@dataclass(frozen=True)
class ResourceBasedSlotConfig:
    """The limits of slots that depend on the machine's load."""

    minimum_slots: int | None = None
    maximum_slots: int | None = None
    ramp_throttle: timedelta | None = None


@dataclass(frozen=True)
class ResourceBasedSlotSupplier:
    """Slots that depend on the machine's load. Here the load is not looked at: there are ``maximum_slots``."""

    slot_config: ResourceBasedSlotConfig
    tuner_config: ResourceBasedTunerConfig


class SlotPermit:
    """What a `CustomSlotSupplier` gives for a slot."""


class SlotReserveContext(Protocol):
    """For what a slot is wanted."""

    slot_type: Literal["workflow", "activity", "local-activity", "nexus"]
    task_queue: str
    worker_identity: str
    worker_build_id: str
    worker_deployment_version: object | None
    is_sticky: bool


@runtime_checkable
class WorkflowSlotInfo(Protocol):
    """What runs in a slot: a workflow task."""

    workflow_type: str
    is_sticky: bool


@runtime_checkable
class ActivitySlotInfo(Protocol):
    """What runs in a slot: an activity."""

    activity_type: str


@runtime_checkable
class LocalActivitySlotInfo(Protocol):
    """What runs in a slot: a local activity."""

    activity_type: str


@runtime_checkable
class NexusSlotInfo(Protocol):
    """What runs in a slot: a Nexus operation."""

    service: str
    operation: str


SlotInfo: TypeAlias = WorkflowSlotInfo | ActivitySlotInfo | LocalActivitySlotInfo | NexusSlotInfo
"""What runs in a slot."""


@dataclass(frozen=True)
class SlotMarkUsedContext(Protocol):
    """A slot is put to use."""

    slot_info: SlotInfo
    permit: SlotPermit


@dataclass(frozen=True)
class SlotReleaseContext:
    """A slot is free again."""

    slot_info: SlotInfo | None
    permit: SlotPermit


class CustomSlotSupplier(ABC):
    """Slots by the program's own rules. A worker of durable refuses them: it does not ask for each slot."""

    @abstractmethod
    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        """Wait for a slot."""

    @abstractmethod
    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        """A slot if there is one."""

    @abstractmethod
    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        """What was reserved runs now."""

    @abstractmethod
    def release_slot(self, ctx: SlotReleaseContext) -> None:
        """What ran is over, or what was reserved is not needed."""


SlotSupplier: TypeAlias = FixedSizeSlotSupplier | ResourceBasedSlotSupplier | CustomSlotSupplier


class WorkerTuner(ABC):
    """Slots for each kind of task. Made by its class methods, or by a class of the program's own."""

    @classmethod
    def create_fixed(
        cls,
        *,
        workflow_slots: int | None = None,
        activity_slots: int | None = None,
        local_activity_slots: int | None = None,
        nexus_slots: int | None = None,
    ) -> WorkerTuner:
        """So many of each; None is the default."""
        slots = (workflow_slots, activity_slots, local_activity_slots, nexus_slots)
        return _Composite(*(FixedSizeSlotSupplier(DEFAULT_SLOTS if n is None else n) for n in slots))

    @classmethod
    def create_resource_based(
        cls,
        *,
        target_memory_usage: float,
        target_cpu_usage: float,
        workflow_config: ResourceBasedSlotConfig | None = None,
        activity_config: ResourceBasedSlotConfig | None = None,
        local_activity_config: ResourceBasedSlotConfig | None = None,
        nexus_config: ResourceBasedSlotConfig | None = None,
    ) -> WorkerTuner:
        """As `ResourceBasedSlotSupplier` says, for each kind."""
        tuner = ResourceBasedTunerConfig(target_memory_usage, target_cpu_usage)
        configs = (workflow_config, activity_config, local_activity_config, nexus_config)
        return _Composite(*(ResourceBasedSlotSupplier(each or ResourceBasedSlotConfig(), tuner) for each in configs))

    @classmethod
    def create_composite(
        cls,
        *,
        workflow_supplier: SlotSupplier,
        activity_supplier: SlotSupplier,
        local_activity_supplier: SlotSupplier,
        nexus_supplier: SlotSupplier,
    ) -> WorkerTuner:
        """A supplier for each kind."""
        return _Composite(workflow_supplier, activity_supplier, local_activity_supplier, nexus_supplier)

    @abstractmethod
    def _get_workflow_task_slot_supplier(self) -> SlotSupplier: ...

    @abstractmethod
    def _get_activity_task_slot_supplier(self) -> SlotSupplier: ...

    @abstractmethod
    def _get_local_activity_task_slot_supplier(self) -> SlotSupplier: ...

    @abstractmethod
    def _get_nexus_slot_supplier(self) -> SlotSupplier: ...

    def activity_slots(self) -> int:
        """How many activities may run at once. ValueError when a supplier of the program's own would have to say."""
        match self._get_activity_task_slot_supplier():
            case FixedSizeSlotSupplier(num_slots):
                return num_slots
            case ResourceBasedSlotSupplier(slot_config):
                return slot_config.maximum_slots or DEFAULT_SLOTS
            case _:
                raise ValueError(
                    "a worker of durable asks no CustomSlotSupplier: use FixedSizeSlotSupplier(n) for activities"
                )


class _Composite(WorkerTuner):
    def __init__(
        self, workflow: SlotSupplier, activity: SlotSupplier, local: SlotSupplier, nexus: SlotSupplier
    ) -> None:
        self._workflow, self._activity, self._local, self._nexus = workflow, activity, local, nexus

    def _get_workflow_task_slot_supplier(self) -> SlotSupplier:
        return self._workflow

    def _get_activity_task_slot_supplier(self) -> SlotSupplier:
        return self._activity

    def _get_local_activity_task_slot_supplier(self) -> SlotSupplier:
        return self._local

    def _get_nexus_slot_supplier(self) -> SlotSupplier:
        return self._nexus
