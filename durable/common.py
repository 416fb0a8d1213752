"""Values that authors and callers hand over: policies, priorities, raw payloads, and more kinds from their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import ClassVar, cast

from durable.history import values
from durable.history.values import IdConflictPolicy, IdReusePolicy, Payload
from durable.metrics import (
    MetricAttributes,
    MetricCommon,
    MetricCounter,
    MetricGauge,
    MetricGaugeFloat,
    MetricHistogram,
    MetricHistogramFloat,
    MetricHistogramTimedelta,
    MetricMeter,
)
from durable.search_attributes import (
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributes,
    SearchAttributeUpdate,
    SearchAttributeValue,
    SearchAttributeValues,
    SearchAttributeValueType,
    TypedSearchAttributes,
)
from durable.versions import (
    AutoUpgradeVersioningOverride,
    OneTimeVersioningOverride,
    PinnedVersioningOverride,
    VersioningBehavior,
    VersioningOverride,
    WorkerDeploymentVersion,
)

__all__ = [
    "ActivityIDConflictPolicy",
    "ActivityIDReusePolicy",
    "AutoUpgradeVersioningOverride",
    "HeaderCodecBehavior",
    "MetricAttributes",
    "MetricCommon",
    "MetricCounter",
    "MetricGauge",
    "MetricGaugeFloat",
    "MetricHistogram",
    "MetricHistogramFloat",
    "MetricHistogramTimedelta",
    "MetricMeter",
    "NexusOperationCancellationState",
    "NexusOperationExecutionStatus",
    "NexusOperationIDConflictPolicy",
    "NexusOperationIDReusePolicy",
    "OneTimeVersioningOverride",
    "PendingNexusOperationExecutionState",
    "PinnedVersioningOverride",
    "Priority",
    "QueryRejectCondition",
    "RawValue",
    "RetryPolicy",
    "SearchAttributeIndexedValueType",
    "SearchAttributeKey",
    "SearchAttributePair",
    "SearchAttributeUpdate",
    "SearchAttributeValue",
    "SearchAttributeValueType",
    "SearchAttributeValues",
    "SearchAttributes",
    "TypedSearchAttributes",
    "VersioningBehavior",
    "VersioningOverride",
    "WorkerDeploymentVersion",
    "WorkflowIDConflictPolicy",
    "WorkflowIDReusePolicy",
]

WorkflowIDReusePolicy = IdReusePolicy
WorkflowIDConflictPolicy = IdConflictPolicy

DEFAULT_TASK_QUEUE = "default"
"""Where workflows are started and worked on when nobody says otherwise."""

_MICROSECOND = timedelta(microseconds=1)


@dataclass
class RetryPolicy:
    """How often, and how far apart, an activity is tried again. Checked when it is used, not when it is made."""

    initial_interval: timedelta = timedelta(seconds=1)
    """The wait after the first failed attempt."""

    backoff_coefficient: float = 2.0
    """Each wait is this many times the one before."""

    maximum_interval: timedelta | None = None
    """No wait is longer; None means 100 times the initial interval."""

    maximum_attempts: int = 0
    """Attempts in all, the first included; 0 means no limit."""

    non_retryable_error_types: Sequence[str] | None = None
    """Types of ApplicationError (of a plain exception: its class's name) after which there is no other attempt."""

    def _validate(self) -> None:
        """Raise ValueError for a policy that makes no sense. One attempt is never refused: it has no waits."""
        if self.maximum_attempts == 1:
            return
        if self.initial_interval < timedelta():
            raise ValueError("Initial interval cannot be negative")
        if not self.backoff_coefficient >= 1:
            raise ValueError("Backoff coefficient cannot be less than 1")
        if self.maximum_interval is not None:
            if self.maximum_interval < timedelta():
                raise ValueError("Maximum interval cannot be negative")
            if self.maximum_interval < self.initial_interval:
                raise ValueError("Maximum interval cannot be less than initial interval")
        if self.maximum_attempts < 0:
            raise ValueError("Maximum attempts cannot be negative")

    def to_history(self) -> values.RetryPolicy:
        """The policy as events carry it. Raises ValueError when it makes no sense."""
        self._validate()
        return values.RetryPolicy(
            initial_interval_us=self.initial_interval // _MICROSECOND,
            backoff_coefficient=float(self.backoff_coefficient),
            maximum_interval_us=(self.maximum_interval or timedelta()) // _MICROSECOND,
            maximum_attempts=self.maximum_attempts,
            non_retryable_error_types=list(self.non_retryable_error_types or ()),
        )

    @classmethod
    def from_history(cls, policy: values.RetryPolicy) -> RetryPolicy:
        """The policy that a history holds."""
        return cls(
            initial_interval=timedelta(microseconds=policy.initial_interval_us),
            backoff_coefficient=policy.backoff_coefficient,
            maximum_interval=timedelta(microseconds=policy.maximum_interval_us) if policy.maximum_interval_us else None,
            maximum_attempts=policy.maximum_attempts,
            non_retryable_error_types=list(policy.non_retryable_error_types) or None,
        )


class ActivityIDReusePolicy(IntEnum):
    """May a closed activity's id be used again? Values are Temporal's."""

    UNSPECIFIED = 0
    ALLOW_DUPLICATE = 1
    ALLOW_DUPLICATE_FAILED_ONLY = 2
    REJECT_DUPLICATE = 3


class ActivityIDConflictPolicy(IntEnum):
    """What a start does when an activity of its id is running. Values are Temporal's."""

    UNSPECIFIED = 0
    FAIL = 1
    USE_EXISTING = 2


class QueryRejectCondition(IntEnum):
    """When a query is refused because of how its run stands. Values are Temporal's."""

    NONE = 1
    NOT_OPEN = 2
    NOT_COMPLETED_CLEANLY = 3


class HeaderCodecBehavior(IntEnum):
    """Whether a codec is applied to headers too. Values are Temporal's."""

    NO_CODEC = 1
    CODEC = 2
    WORKFLOW_ONLY_CODEC = 3


class NexusOperationIDReusePolicy(IntEnum):
    """`ActivityIDReusePolicy` for Nexus operations. Values are Temporal's."""

    UNSPECIFIED = 0
    ALLOW_DUPLICATE = 1
    ALLOW_DUPLICATE_FAILED_ONLY = 2
    REJECT_DUPLICATE = 3


class NexusOperationIDConflictPolicy(IntEnum):
    """`ActivityIDConflictPolicy` for Nexus operations. Values are Temporal's."""

    UNSPECIFIED = 0
    FAIL = 1
    USE_EXISTING = 2


class NexusOperationExecutionStatus(IntEnum):
    """Where a Nexus operation's life stands. Values are Temporal's."""

    UNSPECIFIED = 0
    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    CANCELED = 4
    TERMINATED = 5
    TIMED_OUT = 6


class PendingNexusOperationExecutionState(IntEnum):
    """Where a running Nexus operation stands. Values are Temporal's."""

    UNSPECIFIED = 0
    SCHEDULED = 1
    BACKING_OFF = 2
    STARTED = 3
    BLOCKED = 4


class NexusOperationCancellationState(IntEnum):
    """Where the cancellation of a Nexus operation stands. Values are Temporal's."""

    UNSPECIFIED = 0
    SCHEDULED = 1
    BACKING_OFF = 2
    SUCCEEDED = 3
    FAILED = 4
    TIMED_OUT = 5
    BLOCKED = 6


@dataclass(frozen=True)
class RawValue:
    """A value that stays unconverted: its payload as it was recorded."""

    payload: Payload = field(default_factory=Payload)

    def __reduce__(self) -> tuple[type[RawValue], tuple[Payload]]:
        return RawValue, (self.payload,)


@dataclass(frozen=True)
class Priority:
    """Who goes first within a task queue: 1 before 2 before 3. Raises TypeError or ValueError for other keys.

    There are five levels; greater keys count as 5, and none as 3. Fairness is recorded, and changes nothing.
    """

    priority_key: int | None = None
    fairness_key: str | None = None
    fairness_weight: float | None = None

    default: ClassVar[Priority]

    def __post_init__(self) -> None:
        key = cast("object", self.priority_key)
        if key is None:
            return
        if not isinstance(key, int) or isinstance(key, bool):
            raise TypeError(f"priority_key must be an integer, not {key!r}")
        if key < 1:
            raise ValueError(f"priority_key must be 1 or more, not {key}")

    def to_history(self) -> values.Priority | None:
        """As events carry it; None when it says nothing."""
        if self == Priority.default:
            return None
        return values.Priority(
            priority_key=self.priority_key or 0,
            fairness_key=self.fairness_key or "",
            fairness_weight=float(self.fairness_weight or 0.0),
        )

    @classmethod
    def from_history(cls, priority: values.Priority | None) -> Priority:
        """The priority that a history holds."""
        if priority is None:
            return cls.default
        return cls(
            priority_key=priority.priority_key or None,
            fairness_key=priority.fairness_key or None,
            fairness_weight=priority.fairness_weight or None,
        )


Priority.default = Priority()


def duration_us(name: str, duration: timedelta | None) -> int:
    """Microseconds; None is 0. TypeError for what is no timedelta, ValueError for a negative one: option ``name``."""
    if duration is None:
        return 0
    if not isinstance(duration, timedelta):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{name} must be a timedelta, not {type(duration).__name__}: timedelta(seconds={duration!r})?")
    if duration < timedelta(0):
        raise ValueError(f"{name} can't be negative: {duration}")
    return duration // timedelta(microseconds=1)
