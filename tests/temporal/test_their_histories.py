"""Temporal's histories, in the JSON that its tools write, replay on the same code written for durable."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from temporalio.client import WorkflowHistory as TheirHistory
from temporalio.worker import Replayer as TheirReplayer
from temporalio.worker import UnsandboxedWorkflowRunner

from durable import workflow
from durable.client import WorkflowHistory
from durable.history import export
from durable.history.errors import CorruptHistory
from durable.history.events import WorkflowExecutionStarted
from durable.worker import Replayer
from durable.workflow import NondeterminismError
from tests.engine.histories import types
from tests.temporal import flows, recording
from tests.temporal.__main__ import RECORDED
from tests.temporal.recording import QUEUE, Recording
from tests.temporal.scenarios import ORDERS_ON_TWO_WORKERS, SCENARIOS
from tests.temporal.twins import of_temporal

RECORDINGS = [recording.order, recording.reminder, recording.sleeper, recording.declined, recording.renovated]


@workflow.defn(name="Orders")
class OtherOrders(flows.Orders):
    """Sleeps before it has anything done, not after it."""

    @workflow.run
    async def run(self, wanted: int) -> int:
        await workflow.sleep(0.01)
        return 0


@workflow.defn(name="Renovated")
class RenovatedAgain(flows.Renovated):
    """Asks for the deprecated patch no more."""

    @workflow.run
    async def run(self, number: int) -> int:
        for patch in ("floor", "roof"):
            assert workflow.patched(patch)
            number = await doubled(number)
        return number


async def doubled(number: int) -> int:
    return await workflow.execute_activity(flows.double, number, start_to_close_timeout=flows.SOON)


def server_recorded() -> dict[str, WorkflowHistory]:
    """What a Temporal server recorded, by workflow id."""
    read = [export.from_json(line) for line in RECORDED.read_text().splitlines()]
    return {
        events[0].workflow_id: WorkflowHistory(events[0].workflow_id, events)
        for events in read
        if isinstance(events[0], WorkflowExecutionStarted)
    }


def test_every_scenario_was_recorded_with_a_temporal_server() -> None:
    assert set(server_recorded()) == {*SCENARIOS, ORDERS_ON_TWO_WORKERS}


@pytest.mark.parametrize("id", [*SCENARIOS, ORDERS_ON_TWO_WORKERS])
async def test_what_a_temporal_server_recorded_replays(id: str) -> None:
    await Replayer(workflows=flows.WORKFLOWS).replay_workflow(server_recorded()[id])


def test_a_worker_that_went_away_left_a_workflow_task_that_timed_out() -> None:
    assert "WorkflowTaskTimedOut" in types(server_recorded()[ORDERS_ON_TWO_WORKERS])


@pytest.mark.parametrize("record", RECORDINGS, ids=lambda record: record.__name__)
async def test_a_history_made_of_temporals_messages_replays_here_and_there(record: Callable[[], Recording]) -> None:
    history = WorkflowHistory.from_json("order-7", record().json)

    await Replayer(workflows=flows.WORKFLOWS).replay_workflow(history)

    assert (history.run_id, len(history.events)) == (recording.RUN_ID, len(record().history.events))
    await TheirReplayer(workflows=of_temporal().WORKFLOWS, workflow_runner=UnsandboxedWorkflowRunner()).replay_workflow(
        TheirHistory.from_json("order-7", record().json)
    )


def as_old_tools_wrote_it(run: Recording) -> str:
    """Enums in the short form, ids as numbers, times without fractions, what nobody knows."""

    def short(found: re.Match[str]) -> str:
        return f'"{found[1].title().replace("_", "")}"'

    prefixes = "EVENT_TYPE|TASK_QUEUE_KIND|RETRY_STATE|TIMEOUT_TYPE|WORKFLOW_TASK_FAILED_CAUSE"
    text = re.sub(rf'"(?:{prefixes})_([A-Z_]+)"', short, run.json)
    text = re.sub(r'"eventId": "(\d+)"', r'"eventId": \1', text)
    text = re.sub(r'(T12:\d\d:\d\d)\.\d+Z"', r'\1Z"', text)
    return text.replace('"taskId"', '"whatNobodyKnows": [{}], "taskId"')


@pytest.mark.parametrize("record", RECORDINGS, ids=lambda record: record.__name__)
async def test_it_does_in_the_spelling_of_older_tools(record: Callable[[], Recording]) -> None:
    text = as_old_tools_wrote_it(record())

    await Replayer(workflows=flows.WORKFLOWS).replay_workflow(WorkflowHistory.from_json("order-7", text))


async def test_a_deprecated_patch_that_the_code_forgot_is_passed_over_with_what_temporal_notes_beside_it() -> None:
    history = WorkflowHistory.from_json("order-7", recording.renovated().json)

    await Replayer(workflows=[RenovatedAgain]).replay_workflow(history)


async def test_code_that_does_something_else_is_told_what_temporals_history_recorded() -> None:
    history = WorkflowHistory.from_json("order-7", recording.order().json)

    with pytest.raises(NondeterminismError) as raised:
        await Replayer(workflows=[OtherOrders]).replay_workflow(history)

    text = str(raised.value)
    assert "event 5 recorded nothing more of this task, but the code now starts a timer (timer id 1, 0.01 s)" in text
    assert f"{__file__}:" in text


@pytest.mark.parametrize("kind", ["nexus_operation_scheduled", "workflow_execution_options_updated"])
def test_an_event_that_this_version_does_not_have_is_refused_by_its_name(kind: str) -> None:
    run = Recording("Orders", 1)
    run.task(QUEUE)
    run.event(kind)

    with pytest.raises(
        CorruptHistory, match=f"event 5 of this history has the type 'EVENT_TYPE_{kind.upper()}', which"
    ):
        WorkflowHistory.from_json("order-7", run.json)


def test_a_payload_that_temporals_page_has_decoded_is_refused_by_its_place() -> None:
    history = json.loads(recording.order().json)
    history["events"][0]["workflowExecutionStartedEventAttributes"]["input"] = [2]

    with pytest.raises(CorruptHistory, match=r"event 1 of this history can't be read: input: expected an object"):
        WorkflowHistory.from_json("order-7", history)
