"""What any version has recorded, this one reads, replays, shows and brings to its end."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from durable import Client, Worker, workflow
from durable.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHistory
from durable.exceptions import ActivityError, ApplicationError, CancelledError
from durable.history import codec, export
from durable.history.events import (
    HistoryEvent,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionStarted,
    WorkflowTaskCompleted,
)
from durable.worker import Replayer
from durable.workflow import NondeterminismError
from durable.workflow.definition import WorkflowDefinition
from tests.corpus import flows
from tests.corpus.recorder import BROKEN, DATABASE, ELSEWHERE, HISTORIES, LEASE, PATIENCE, ROWS, record
from tests.engine.histories import assert_sound

VERSIONS = sorted(path.parent for path in Path(__file__).parent.glob(f"*/{HISTORIES}"))

SIZE_MAX = 100_000
"""Bytes that one version may add to the project."""

ENDS = {
    "broken": 14,
    "open-box": [8],
    "open-elsewhere": 12,
    "open-retry": 2,
    "open-sleep": 10,
    "open-unbegun": 110,
}
"""The results of what was left open; what is not here ends as cancelled."""


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def recorded(request: pytest.FixtureRequest) -> Path:
    """The directory of one version."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
async def client(recorded: Path, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a copy of that version's database."""
    path = tmp_path / "durable.db"
    path.write_bytes(gzip.decompress((recorded / DATABASE).read_bytes()))
    async with await Client.connect(f"sqlite:///{path}") as client:
        yield client


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def histories(recorded: Path) -> list[WorkflowHistory]:
    read = [export.from_json(line) for line in lines(recorded / HISTORIES)]
    return [WorkflowHistory(started(events).workflow_id, events) for events in read]


def stored(recorded: Path) -> dict[str, list[HistoryEvent]]:
    rows = {line["id"]: [base64.b64decode(row) for row in line["rows"]] for line in lines(recorded / ROWS)}
    return {id: codec.decode_history(each) for id, each in rows.items()}


def started(events: list[HistoryEvent]) -> WorkflowExecutionStarted:
    assert isinstance(events[0], WorkflowExecutionStarted)
    return events[0]


def without_request_ids(events: Iterable[HistoryEvent]) -> list[HistoryEvent]:
    """JSON has no place for these, nor for the local activities that a workflow task asks for."""
    return [_as_json_has_it(each) for each in events]


def _as_json_has_it(event: HistoryEvent) -> HistoryEvent:
    if isinstance(event, WorkflowExecutionStarted | WorkflowExecutionCancelRequested):
        return msgspec.structs.replace(event, request_id="")
    if isinstance(event, WorkflowTaskCompleted):
        return msgspec.structs.replace(event, local_activities=None)
    return event


async def several(them: Iterable[WorkflowHistory]) -> AsyncIterator[WorkflowHistory]:
    for each in them:
        yield each


def test_every_workflow_is_recorded() -> None:
    assert {started(list(each.events)).workflow_type for path in VERSIONS for each in histories(path)} == names()


async def test_every_recorded_history_replays(recorded: Path) -> None:
    kept = histories(recorded)

    results = await Replayer(workflows=flows.WORKFLOWS).replay_workflows(several(kept), raise_on_replay_failure=False)

    assert results.replay_failures == {}


async def test_the_stored_bytes_are_read_as_the_events_that_the_json_tells(recorded: Path) -> None:
    assert {id: without_request_ids(events) for id, events in stored(recorded).items()} == {
        each.workflow_id: each.events for each in histories(recorded)
    }


async def test_a_history_whose_code_was_changed_does_not_replay(recorded: Path) -> None:
    begun = [each for each in histories(recorded) if any(isinstance(e, WorkflowTaskCompleted) for e in each.events)]
    changed = Replayer(workflows=[changed_workflow(name) for name in names()])

    results = await changed.replay_workflows(several(begun), raise_on_replay_failure=False)

    assert set(results.replay_failures) == {each.run_id for each in begun} and begun
    assert {type(failure) for failure in results.replay_failures.values()} == {NondeterminismError}


async def test_a_recorded_database_lists_shows_and_replays_its_runs(recorded: Path, client: Client) -> None:
    listed = {run.id: run async for run in client.list_workflows()}
    described = [await client.get_workflow_handle(id).describe() for id in listed]
    replayed = await Replayer(workflows=flows.WORKFLOWS).replay_workflows(client.list_workflows().map_histories())

    assert {id: run.history_length for id, run in listed.items()} == {
        each.workflow_id: len(each.events) for each in histories(recorded)
    }
    assert {run.id for run in described if run.parked} == {BROKEN}
    assert {run.id for run in described if run.pending_messages} >= {"open-box", "open-cancelled", "open-sleep"}
    assert {run.id for run in described if run.pending_activities} == {"open-elsewhere", "open-retry"}
    assert replayed.replay_failures == {}


async def test_recorded_results_and_failures_are_read_as_they_were(client: Client) -> None:
    values = client.get_workflow_handle("values", result_type=tuple[flows.Order, list[flows.Line]])
    assert await values.result() == (flows.ORDER, flows.ORDER.lines)

    with pytest.raises(WorkflowFailureError) as raised:
        await client.get_workflow_handle("failure").result()

    no_money, activity = raised.value.cause, raised.value.cause.__cause__
    assert isinstance(no_money, ApplicationError) and isinstance(activity, ActivityError)
    declined = activity.cause
    assert isinstance(declined, ApplicationError)
    assert (no_money.type, list(no_money.details)) == ("NoMoney", [42])
    assert (activity.activity_type, activity.activity_id) == ("decline", "3")
    assert (declined.type, declined.non_retryable, list(declined.details)) == ("Declined", True, [{"card": "2"}])


async def test_what_a_recorded_database_has_left_open_goes_on_to_its_end(client: Client) -> None:
    left = [run.id async for run in client.list_workflows("ExecutionStatus = 'Running'")]

    async with AsyncExitStack() as workers:
        for queue in ("default", ELSEWHERE, BROKEN):
            worker = Worker(
                client, task_queue=queue, workflows=flows.WORKFLOWS, activities=flows.ACTIVITIES, lease=LEASE
            )
            await workers.enter_async_context(worker)
        box = client.get_workflow_handle("box")
        assert sorted(await box.query(flows.CorpusBox.so_far)) == [1, 4, 6, 8]
        ended = {id: await outcome(client, id) for id in left}

    assert ended == {id: ENDS.get(id, "cancelled") for id in (*ENDS, "open-cancelled")}
    for id in left:
        run = await client.get_workflow_handle(id).describe()
        assert run.status is not WorkflowExecutionStatus.RUNNING and not run.pending_messages
        assert_sound((await client.get_workflow_handle(id).fetch_history()).events)


async def test_this_version_records_a_corpus_like_that_of_the_last_one(tmp_path: Path) -> None:
    await record(tmp_path / "new")

    assert {each.workflow_id for each in histories(tmp_path / "new")} >= {
        each.workflow_id for each in histories(VERSIONS[-1])
    }
    assert stored(tmp_path / "new").keys() == {each.workflow_id for each in histories(tmp_path / "new")}
    assert sum(file.stat().st_size for file in (tmp_path / "new").iterdir()) < SIZE_MAX


def test_what_a_version_has_recorded_is_never_recorded_anew() -> None:
    command = [sys.executable, "-m", "tests.corpus"]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)

    assert ended.returncode == 1 and "is there: what a version has recorded is never recorded anew" in ended.stderr


async def outcome(client: Client, id: str) -> Any:
    try:
        return await client.get_workflow_handle(id).result(rpc_timeout=PATIENCE)
    except WorkflowFailureError as error:
        return "cancelled" if isinstance(error.cause, CancelledError) else error.cause


def names() -> set[str]:
    return {WorkflowDefinition.must_be(each).name for each in flows.WORKFLOWS}


def changed_workflow(name: str) -> Any:
    """A workflow of this name that does what none of them did."""

    @workflow.defn(name=name)
    async def changed(*_: Any) -> None:
        await workflow.execute_activity("was_never_called", schedule_to_close_timeout=PATIENCE)

    return changed
