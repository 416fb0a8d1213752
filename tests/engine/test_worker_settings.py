"""A worker takes all of Temporal's settings, refuses what it would leave out, and moves to another client."""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durable import Client, Worker, activity, workflow
from durable.common import WorkerDeploymentVersion
from durable.worker import (
    CustomSlotSupplier,
    FixedSizeSlotSupplier,
    PatchActivationInput,
    PollerBehaviorAutoscaling,
    Replayer,
    ReplayerConfig,
    ResourceBasedSlotConfig,
    SlotPermit,
    UnsandboxedWorkflowRunner,
    WorkerConfig,
    WorkerDeploymentConfig,
    WorkerTuner,
    WorkflowRunner,
)
from durable.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxMatcher, SandboxRestrictions
from tests.engine.conftest import LONG_LEASE, Execute, MakeWorker


@workflow.defn
class Greeting:
    @workflow.run
    async def run(self) -> str:
        return "new" if workflow.patched("politeness") else "old"


@workflow.defn
class Waiting:
    @workflow.run
    async def run(self) -> str:
        first = workflow.patched("politeness")
        await workflow.sleep(0.001)
        return f"{first} {workflow.patched('politeness')}"


@workflow.defn
async def deployed() -> tuple[object, bool]:
    info = workflow.info()
    return info.get_current_deployment_version(), info.is_target_worker_deployment_version_changed()


async def test_a_run_is_of_no_deployment_whatever_its_worker_says(client: Client, make_worker: MakeWorker) -> None:
    version = WorkerDeploymentConfig(WorkerDeploymentVersion("shop", "1"), use_worker_versioning=True)
    async with make_worker(deployed, deployment_config=version):
        assert await client.execute_workflow(deployed, id="w") == (None, False)


@activity.defn
async def nothing() -> None: ...


def test_the_config_dicts_have_the_keys_of_what_they_are_for() -> None:
    assert set(WorkerConfig.__annotations__) == set(inspect.signature(Worker).parameters)
    assert set(ReplayerConfig.__annotations__) == set(inspect.signature(Replayer).parameters)


async def test_a_worker_tells_what_it_was_made_with(client: Client) -> None:
    worker = Worker(client, task_queue="q", workflows=[Greeting], max_cached_workflows=7, build_id="b")
    config = worker.config()
    assert (config["task_queue"], config["max_cached_workflows"], config["build_id"]) == ("q", 7, "b")
    assert config == worker.config(active_config=True)
    config["task_queue"] = "other"
    assert (Worker(**config).task_queue, worker.task_queue) == ("other", "q")


async def test_a_worker_takes_what_is_meant_for_a_server(client: Client) -> None:
    async with Worker(
        client,
        workflows=[Greeting],
        lease=LONG_LEASE,
        workflow_runner=SandboxedWorkflowRunner(
            restrictions=SandboxRestrictions.default.with_passthrough_modules("numpy").with_passthrough_all_modules()
        ),
        unsandboxed_workflow_runner=UnsandboxedWorkflowRunner(),
        workflow_task_executor=ThreadPoolExecutor(1),
        deployment_config=WorkerDeploymentConfig(WorkerDeploymentVersion("shop", "1"), use_worker_versioning=True),
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        max_concurrent_workflow_tasks=2,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
    ):
        assert await client.execute_workflow(Greeting.run, id="g") == "new"


class Own(CustomSlotSupplier):
    async def reserve_slot(self, ctx: Any) -> SlotPermit:
        return SlotPermit()

    def try_reserve_slot(self, ctx: Any) -> SlotPermit | None:
        return None

    def mark_slot_used(self, ctx: Any) -> None: ...

    def release_slot(self, ctx: Any) -> None: ...


class OwnRunner(WorkflowRunner): ...


def composite(activities: Any) -> WorkerTuner:
    fixed = FixedSizeSlotSupplier(1)
    return WorkerTuner.create_composite(
        workflow_supplier=fixed, activity_supplier=activities, local_activity_supplier=fixed, nexus_supplier=fixed
    )


@pytest.mark.parametrize(
    ("tuner", "slots"),
    [
        (WorkerTuner.create_fixed(activity_slots=3), 3),
        (WorkerTuner.create_fixed(), 1000),
        (
            WorkerTuner.create_resource_based(
                target_memory_usage=0.5,
                target_cpu_usage=0.5,
                activity_config=ResourceBasedSlotConfig(maximum_slots=9),
            ),
            9,
        ),
        (composite(FixedSizeSlotSupplier(4)), 4),
    ],
)
def test_a_tuner_says_how_many_activities_run_at_once(tuner: WorkerTuner, slots: int) -> None:
    assert tuner.activity_slots() == slots


async def test_a_tuners_slots_are_what_runs_at_once(client: Client, make_worker: MakeWorker) -> None:
    at_once: list[int] = []
    running = 0

    @activity.defn(name="nothing")
    async def counted() -> None:
        nonlocal running
        running += 1
        at_once.append(running)
        await some_turns()
        running -= 1

    async with make_worker(Six, counted, tuner=WorkerTuner.create_fixed(activity_slots=2)):
        await client.execute_workflow(Six.run, id="six")
    assert len(at_once) == 6 and max(at_once) == 2


async def test_a_worker_may_leave_activities_to_others(client: Client, make_worker: MakeWorker) -> None:
    ran: list[str] = []

    def noting(worker: str) -> Any:
        @activity.defn(name="nothing")
        async def noted() -> None:
            ran.append(worker)

        return noted

    async with make_worker(Six, noting("first"), no_remote_activities=True), make_worker(noting("second")):
        await client.execute_workflow(Six.run, id="six")
    assert ran == ["second"] * 6


async def some_turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@workflow.defn
class Six:
    @workflow.run
    async def run(self) -> None:
        await asyncio.gather(*(nothing() for _ in range(6)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workflows": []}, "At least one activity or workflow"),
        ({"workflows": [Greeting, Greeting]}, "More than one workflow named Greeting"),
        ({"activities": [nothing, nothing]}, "More than one activity named nothing"),
        ({"task_queue": ""}, "task_queue can't be empty"),
        ({"tuner": WorkerTuner.create_fixed(), "max_concurrent_activities": 3}, "when also specifying tuner"),
        ({"tuner": composite(Own())}, "asks no CustomSlotSupplier"),
        ({"nexus_service_handlers": [object()]}, "durable has no Nexus"),
        ({"workflow_runner": OwnRunner()}, "can't be a OwnRunner"),
        ({"use_worker_versioning": True}, "build_id must be specified"),
        (
            {"build_id": "1", "deployment_config": WorkerDeploymentConfig(WorkerDeploymentVersion("a", "b"), True)},
            "deployment_config replaces build_id",
        ),
    ],
)
async def test_what_can_not_be_kept_is_refused(client: Client, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Worker(client, **{"workflows": [Greeting], **options})


async def test_a_worker_moves_to_another_database(client: Client, make_worker: MakeWorker, tmp_path: Path) -> None:
    async with make_worker(Greeting) as worker, await Client.connect(f"sqlite:///{tmp_path / 'new.db'}") as other:
        assert await client.execute_workflow(Greeting.run, id="g") == "new"
        worker.client = other
        assert await other.execute_workflow(Greeting.run, id="g") == "new"
        assert worker.is_running and worker.client is other


async def test_another_client_on_the_same_connection_disturbs_nothing(client: Client, make_worker: MakeWorker) -> None:
    async with make_worker(Greeting) as worker:
        life = worker._life
        worker.client = Client(**client.config())
        assert worker._life is life and worker.config()["client"] is worker.client
        assert await client.execute_workflow(Greeting.run, id="g") == "new"


# patch_activation_callback. -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("allow", "found"), [(True, "True True"), (False, "False False")])
async def test_a_patch_is_activated_when_the_callback_says_so(
    client: Client, make_worker: MakeWorker, max_cached: int, allow: bool, found: str
) -> None:
    asked: list[PatchActivationInput] = []

    def callback(input: PatchActivationInput) -> bool:
        asked.append(input)
        return allow

    async with make_worker(Waiting, max_cached_workflows=max_cached, patch_activation_callback=callback):
        handle = await client.start_workflow(Waiting.run, id="w")
        assert await handle.result() == found
    assert [(each.patch_id, each.workflow_info.workflow_id) for each in asked] == [("politeness", "w")]
    await Replayer(workflows=[Waiting]).replay_workflow(await handle.fetch_history())


async def test_a_patch_that_is_recorded_is_not_asked_for_again(client: Client, make_worker: MakeWorker) -> None:
    @workflow.defn
    class Late:
        @workflow.run
        async def run(self) -> bool:
            first = workflow.patched("politeness")
            await workflow.sleep(0.001)
            return first and workflow.patched("politeness")

    def refuse(_: PatchActivationInput) -> bool:
        raise AssertionError("asked again")

    handle = await client.start_workflow("Late", id="late")
    async with make_worker(Late):
        assert await handle.result() is True
    async with make_worker(Late, patch_activation_callback=refuse):
        assert await handle.query("__stack_trace") == ""


async def test_a_callback_may_change_nothing(client: Client, make_worker: MakeWorker) -> None:
    def meddle(_: PatchActivationInput) -> bool:
        return workflow.random().random() > 2

    async with make_worker(Greeting, patch_activation_callback=meddle):
        handle = await client.start_workflow(Greeting.run, id="g")
        await anext(handle.fetch_history_events(wait_new_event=True))
        while (parked := (await handle.describe()).parked) is None:
            pass
    assert "While in read-only function" in parked


# The sandbox's names. -------------------------------------------------------------------------------------------------


def test_matchers_are_joined_and_looked_into() -> None:
    both = SandboxMatcher.nested_child(["os", "path"], SandboxMatcher.all) | SandboxMatcher(
        use={"open"}, children={"os": SandboxMatcher(use={"system"})}
    )
    assert both.use == {"open"}
    os_matcher = both.child_matcher("os")
    assert os_matcher is not None and os_matcher.use == {"system"}
    assert both.child_matcher("os", "path") == SandboxMatcher.all
    assert both.child_matcher("os", "none", "deeper") is None
    lifted = both.with_child_unrestricted("os", "path").with_child_unrestricted("open")
    assert lifted.child_matcher("os", "path") is None and lifted.use == set()
    with pytest.raises(ValueError, match="run time"):
        SandboxMatcher.all | SandboxMatcher.all_runtime


def sandbox_facts() -> list[Any]:
    return [
        workflow.unsafe.in_sandbox(),
        workflow.unsafe.is_sandbox_unrestricted(),
        workflow.unsafe.is_imports_passed_through(),
        workflow.unsafe.current_import_notification_policy_override(),
    ]


def test_outside_of_workflow_code_the_sandboxes_blocks_do_nothing_and_are_remembered() -> None:
    policy = workflow.SandboxImportNotificationPolicy.SILENT
    with (
        workflow.unsafe.sandbox_unrestricted(),
        workflow.unsafe.imports_passed_through(),
        workflow.unsafe.sandbox_import_notification_policy(policy),
    ):
        assert sandbox_facts() == [False, True, True, policy]
    assert sandbox_facts() == [False, False, False, None]


@workflow.defn
async def replaying() -> list[bool]:
    first = workflow.unsafe.is_replaying_history_events()
    await workflow.sleep(0.001)
    return [first, workflow.unsafe.is_replaying_history_events()]


async def test_history_is_not_replayed_when_it_is_made(execute: Execute, max_cached: int) -> None:
    assert await execute(replaying) == [max_cached == 0, False]
