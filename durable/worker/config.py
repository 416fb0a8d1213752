"""What a worker is made from, as a dict that can be changed and handed on; and the settings that are types."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Required, TypeAlias, TypedDict

from durable.client import Client
from durable.common import VersioningBehavior, WorkerDeploymentVersion
from durable.worker.interceptor import Interceptor
from durable.worker.patches import PatchActivationInput
from durable.worker.plugins import Plugin
from durable.worker.runner import WorkflowRunner
from durable.worker.shared_state import SharedStateManager
from durable.worker.tuning import WorkerTuner


@dataclass(frozen=True)
class PollerBehaviorSimpleMaximum:
    """How many polls of a server are under way at most. A worker of durable asks its database by rules of its own."""

    maximum: int = 5


@dataclass(frozen=True)
class PollerBehaviorAutoscaling:
    """Between which numbers the polls of a server vary. A worker of durable asks its database by rules of its own."""

    minimum: int = 1
    maximum: int = 100
    initial: int = 5


PollerBehavior: TypeAlias = PollerBehaviorSimpleMaximum | PollerBehaviorAutoscaling
"""How many polls of a server are under way; without effect."""


@dataclass
class WorkerDeploymentConfig:
    """Which version of a deployment a worker is. Nothing is routed by it."""

    version: WorkerDeploymentVersion
    use_worker_versioning: bool
    default_versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED


class WorkerConfig(TypedDict, total=False):
    """What `Worker.config` gives, and `Worker` takes, which says what it means."""

    client: Required[Client]
    task_queue: Required[str]
    activities: Sequence[Callable[..., Any]]
    nexus_service_handlers: Sequence[Any]
    workflows: Sequence[Any]
    activity_executor: Executor | None
    workflow_task_executor: ThreadPoolExecutor | None
    nexus_task_executor: ThreadPoolExecutor | None
    workflow_runner: WorkflowRunner
    unsandboxed_workflow_runner: WorkflowRunner
    plugins: Sequence[Plugin]
    interceptors: Sequence[Interceptor]
    build_id: str | None
    identity: str | None
    max_cached_workflows: int
    max_concurrent_workflow_tasks: int | None
    max_concurrent_activities: int | None
    max_concurrent_local_activities: int | None
    max_concurrent_nexus_tasks: int | None
    tuner: WorkerTuner | None
    max_concurrent_workflow_task_polls: int | None
    nonsticky_to_sticky_poll_ratio: float
    max_concurrent_activity_task_polls: int | None
    no_remote_activities: bool
    max_activities_per_second: float | None
    max_task_queue_activities_per_second: float | None
    disable_eager_activity_execution: bool
    shared_state_manager: SharedStateManager | None
    on_fatal_error: Callable[[BaseException], Awaitable[None]] | None
    max_heartbeat_throttle_interval: timedelta
    default_heartbeat_throttle_interval: timedelta
    sticky_queue_schedule_to_start_timeout: timedelta
    max_eager_activity_reservations_per_workflow_task: int
    graceful_shutdown_timeout: timedelta
    plugin_shutdown_timeout: timedelta | None
    workflow_failure_exception_types: Sequence[type[BaseException]]
    debug_mode: bool
    use_worker_versioning: bool
    disable_safe_workflow_eviction: bool
    deployment_config: WorkerDeploymentConfig | None
    patch_activation_callback: Callable[[PatchActivationInput], bool] | None
    workflow_task_poller_behavior: PollerBehavior
    activity_task_poller_behavior: PollerBehavior
    nexus_task_poller_behavior: PollerBehavior
    disable_payload_error_limit: bool
    max_workflow_task_external_storage_concurrency: int
    lease: timedelta
    activity_threads: int


def check(config: WorkerConfig) -> None:
    """ValueError for what a worker would otherwise leave out in silence, or what contradicts itself."""
    if config.get("nexus_service_handlers"):
        raise ValueError("durable has no Nexus: leave nexus_service_handlers out, and call the workflow instead")
    for key in ("workflow_runner", "unsandboxed_workflow_runner"):
        runner = config.get(key)
        if runner is not None and not type(runner).__module__.startswith("durable."):
            raise ValueError(f"{key} can't be a {type(runner).__name__}: workflow code runs in one way only")
    if config.get("use_worker_versioning") and not config.get("build_id"):
        raise ValueError("build_id must be specified with use_worker_versioning")
    if config.get("deployment_config") and (config.get("build_id") or config.get("use_worker_versioning")):
        raise ValueError("deployment_config replaces build_id and use_worker_versioning: give either")
