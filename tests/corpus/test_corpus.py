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
from durable.client import ActivityFailureError, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHistory
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

FIRST = "0.1.0"
LATER = [path for path in VERSIONS if path.name != FIRST]
"""With updates, children, runs that follow each other, search attributes, local and standalone activities …"""

_ENDS_OF_FIRST = {
    "broken": 14,
    "open-box": [8],
    "open-cancelled": "cancelled",
    "open-elsewhere": 12,
    "open-retry": 2,
    "open-sleep": 10,
    "open-unbegun": 110,
}
_ENDS = _ENDS_OF_FIRST | {
    "open-asked": "me",
    "open-child": "hello",
    "open-local": 2,
    "open-outside": "many",
    "open-parent": "hello",
    "open-paused": 2,
}


def ends(recorded: Path) -> dict[str, Any]:
    """What becomes of that which this version has left open."""
    return _ENDS_OF_FIRST if recorded.name == FIRST else _ENDS


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


def stored(recorded: Path) -> list[tuple[str, list[HistoryEvent]]]:
    return [(line["id"], codec.decode_history(map(base64.b64decode, line["rows"]))) for line in lines(recorded / ROWS)]


def started(events: list[HistoryEvent]) -> WorkflowExecutionStarted:
    assert isinstance(events[0], WorkflowExecutionStarted)
    return events[0]


def without_request_ids(events: Iterable[HistoryEvent]) -> list[HistoryEvent]:
    """JSON has no place for these, nor for the local activities that a workflow task asks for."""
    return [_as_json_has_it(each) for each in events]


def _as_json_has_it(event: HistoryEvent) -> HistoryEvent:
    if isinstance(event, WorkflowExecutionStarted):
        return msgspec.structs.replace(event, request_id="", consumed_request_ids=[])
    if isinstance(event, WorkflowExecutionCancelRequested):
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
    assert [(id, without_request_ids(events)) for id, events in stored(recorded)] == [
        (each.workflow_id, each.events) for each in histories(recorded)
    ]


async def test_a_history_whose_code_was_changed_does_not_replay(recorded: Path) -> None:
    begun = [each for each in histories(recorded) if any(isinstance(e, WorkflowTaskCompleted) for e in each.events)]
    changed = Replayer(workflows=[changed_workflow(name) for name in names()])

    results = await changed.replay_workflows(several(begun), raise_on_replay_failure=False)

    assert set(results.replay_failures) == {each.run_id for each in begun} and begun
    assert {type(failure) for failure in results.replay_failures.values()} == {NondeterminismError}


async def test_a_recorded_database_lists_shows_and_replays_its_runs(recorded: Path, client: Client) -> None:
    listed = {run.run_id: run async for run in client.list_workflows()}
    described = [await client.get_workflow_handle(run.id, run_id=id).describe() for id, run in listed.items()]
    replayed = await Replayer(workflows=flows.WORKFLOWS).replay_workflows(client.list_workflows().map_histories())

    assert {id: run.history_length for id, run in listed.items()} == {
        each.run_id: len(each.events) for each in histories(recorded)
    }
    assert {run.id for run in described if run.parked} == {BROKEN}
    assert {run.id for run in described if run.pending_messages} >= {"open-box", "open-cancelled", "open-sleep"}
    held = {"open-elsewhere", "open-local", "open-outside", "open-paused", "open-retry"}
    assert {run.id for run in described if run.pending_activities} == held & ends(recorded).keys()
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


async def test_what_a_recorded_database_has_left_open_goes_on_to_its_end(recorded: Path, client: Client) -> None:
    left = [run.id async for run in client.list_workflows("ExecutionStatus = 'Running'")]

    async with AsyncExitStack() as workers:
        for queue in ("default", ELSEWHERE, BROKEN):
            worker = Worker(
                client, task_queue=queue, workflows=flows.WORKFLOWS, activities=flows.ACTIVITIES, lease=LEASE
            )
            await workers.enter_async_context(worker)
        box = client.get_workflow_handle("box")
        assert sorted(await box.query(flows.CorpusBox.so_far)) == [1, 4, 6, 8]
        if recorded.name != FIRST:
            await client.get_workflow_handle("open-child").signal("word", "hello")
            await client.get_workflow_handle("open-paused").unpause_activity("1")
            await client.get_async_activity_handle(workflow_id="open-outside", activity_id="1").complete("many")
            asked = client.get_workflow_handle("open-asked")
            await asked.signal(flows.CorpusAsked.say, "me")
            assert await asked.get_update_handle("asked").result() == "who? me"
            assert await client.get_activity_handle("open-standalone", result_type=int).result() == 18
        ended = {id: await outcome(client, id) for id in left}

    assert ended == ends(recorded)
    for id in left:
        run = await client.get_workflow_handle(id).describe()
        assert run.status is not WorkflowExecutionStatus.RUNNING and not run.pending_messages
        assert_sound((await client.get_workflow_handle(id).fetch_history()).events)


@pytest.mark.parametrize("recorded", LATER, ids=lambda path: path.name, indirect=True)
async def test_recorded_runs_that_follow_each_other_are_read_as_they_were(client: Client) -> None:
    runs = [(run.id, run.status.name) async for run in client.list_workflows()][::-1]
    chains = {id: [status for each, status in runs if each == id] for id in ("counter", "carried", "tried-again")}

    assert chains == {
        "counter": ["CONTINUED_AS_NEW", "COMPLETED"],
        "carried": ["CONTINUED_AS_NEW", "CONTINUED_AS_NEW", "COMPLETED"],
        "tried-again": ["FAILED", "COMPLETED"],
    }
    assert await client.get_workflow_handle("counter").result() == 6
    assert await client.get_workflow_handle("carried").result() == ["one", "two", "three"]
    assert await client.get_workflow_handle("tried-again").result() == [2, 8, "Passing: not yet"]
    assert [status for id, status in runs if id == "scheduled"][:2] == ["COMPLETED", "COMPLETED"]
    assert runs.count(("timed-out", "TIMED_OUT")) == 1


@pytest.mark.parametrize("recorded", LATER, ids=lambda path: path.name, indirect=True)
async def test_recorded_memos_attributes_and_activities_are_read_as_they_were(client: Client) -> None:
    described = await client.get_workflow_handle("described").describe()
    standalone = client.get_activity_handle("standalone-21", result_type=int)

    assert dict(await described.memo()) == {"parts": [1, 2], "shelf": 7}
    assert {pair.key: pair.value for pair in described.typed_search_attributes} == {
        flows.STATE: "done",
        flows.PLACES: ["here", "there"],
    }
    assert (await described.static_summary(), await described.static_details()) == ("a box", "of *parts*")
    assert await client.get_workflow_handle("described").result() == "10, [1, 2]"
    assert await client.get_workflow_handle("outside").result() == "many"
    assert await client.get_workflow_handle("anything").result() == "corpus_whatever 6"
    assert await client.get_workflow_handle("local").result() == [2, 4, 6, None, "ApplicationError", 3]
    assert await standalone.result() == 42
    with pytest.raises(ActivityFailureError) as raised:
        await client.get_activity_handle("standalone-6").result()
    assert isinstance(raised.value.cause, ApplicationError) and raised.value.cause.type == "Declined"


async def test_this_version_records_a_corpus_like_that_of_the_last_one(tmp_path: Path) -> None:
    await record(tmp_path / "new")

    assert {each.workflow_id for each in histories(tmp_path / "new")} >= {
        each.workflow_id for each in histories(VERSIONS[-1])
    }
    assert [id for id, _ in stored(tmp_path / "new")] == [each.workflow_id for each in histories(tmp_path / "new")]
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
    """Of all recorded types: "corpus_whatever" is the one that nothing but the dynamic workflow takes."""
    found = [WorkflowDefinition.must_be(each) for each in flows.WORKFLOWS]
    return {each.name for each in found if not each.dynamic} | {"corpus_whatever"}


def changed_workflow(name: str) -> Any:
    """A workflow of this name that does what none of them did."""

    @workflow.defn(name=name)
    async def changed(*_: Any) -> None:
        await workflow.execute_activity("was_never_called", schedule_to_close_timeout=PATIENCE)

    return changed
