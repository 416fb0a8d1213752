"""Which build of the code did which workflow task: recorded in the history, and known to the code on every replay."""

from __future__ import annotations

from durable import Client, workflow
from durable.client import WorkflowHistory
from durable.history.events import WorkflowTaskCompleted
from tests.engine.conftest import MakeWorker
from tests.engine.histories import assert_replays, of_type


@workflow.defn
class Deployed:
    def __init__(self) -> None:
        self.builds: list[str] = []
        self.steps = 0

    @workflow.run
    async def run(self) -> list[str]:
        for step in range(3):
            await workflow.wait_condition(lambda step=step: self.steps >= step)  # type: ignore[misc]
            self.builds.append(workflow.info().get_current_build_id())
        return self.builds

    @workflow.signal
    def step(self) -> None:
        self.steps += 1

    @workflow.query
    def so_far(self) -> list[str]:
        return self.builds


async def test_each_workflow_task_names_the_build_that_did_it_and_code_sees_the_same_on_a_replay(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    handle = await client.start_workflow(Deployed.run, id="d")
    async with make_worker(Deployed, max_cached_workflows=max_cached, build_id="1.0"):
        assert await handle.query(Deployed.so_far) == ["1.0"]
    async with make_worker(Deployed, max_cached_workflows=max_cached):
        await handle.signal(Deployed.step)
        assert await handle.query(Deployed.so_far) == ["1.0", ""]
    async with make_worker(Deployed, max_cached_workflows=max_cached, build_id="2.0"):
        await handle.signal(Deployed.step)
        assert await handle.result() == ["1.0", "", "2.0"]
    history = await handle.fetch_history()
    completed = of_type(history, WorkflowTaskCompleted)
    assert [each.worker_version and each.worker_version.build_id for each in completed] == ["1.0", None, "2.0"]
    exported = history.to_json_dict()
    assert exported["events"][3]["workflowTaskCompletedEventAttributes"]["workerVersion"] == {"buildId": "1.0"}
    read = of_type(WorkflowHistory.from_json("d", exported), WorkflowTaskCompleted)
    assert [each.worker_version for each in read] == [each.worker_version for each in completed]
    await assert_replays(Deployed, history)
