"""hello_cron and workflow_retry: runs that follow each other, each knowing what the one before has come to."""

from __future__ import annotations

from collections.abc import Callable

from durable.history.events import WorkflowExecutionFailed
from hello_cron import ReadGauge
from tests.samples.conftest import Folder, ReplayOnTemporal
from workflow_retry import PlanTrip


async def test_each_run_of_a_schedule_goes_on_with_what_the_one_before_returned(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("hello_cron")

    assert said == "rain so far: [4, 8]\n"
    histories = await folder.histories()
    replay(histories, ReadGauge)
    await replay_on_temporal(histories, "hello_cron")


async def test_a_workflow_that_fails_begins_anew_until_it_does_not(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("workflow_retry")

    assert said == "flight in week 32, at attempt 3\n"
    histories = await folder.histories()
    assert [isinstance(each.events[-1], WorkflowExecutionFailed) for each in histories] == [True, True, False]
    replay(histories, PlanTrip)
    await replay_on_temporal(histories, "workflow_retry")
