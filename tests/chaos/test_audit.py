"""The audit finds what it is there to find: one thing at a time is spoilt in what a sound run has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from durable import Client, Worker
from durable.converter import DataConverter
from durable.history.events import (
    ActivityTaskCompleted,
    ActivityTaskStarted,
    HistoryEvent,
    TimerStarted,
    WorkflowExecutionCompleted,
    WorkflowExecutionSignaled,
    WorkflowTaskFailed,
)
from durable.history.values import RunStatus, TaskFailedCause
from durable.worker.step import WorkersDied
from tests.chaos.audit import Record, Tables, audit, is_unlucky, read
from tests.chaos.flows import ACTIVITIES, LEDGER, LOST, WORKFLOWS, Note, Trip, read_ledger
from tests.chaos.places import SqlitePlace


@dataclass(frozen=True)
class Left:
    """What a run has left, everywhere."""

    results: dict[int, Any]
    tables: Tables
    ledger: Sequence[Note]

    @property
    def record(self) -> Record:
        return self.tables.records[0]

    def with_record(self, *records: Record) -> Left:
        return replace(self, tables=replace(self.tables, records=records))

    def changing(self, kind: type[HistoryEvent], **fields: Any) -> Left:
        """The first event of that type is another one."""
        events = list(self.record.events)
        index = next(index for index, event in enumerate(events) if isinstance(event, kind))
        events[index] = msgspec.structs.replace(events[index], **fields)
        return self.with_record(replace(self.record, events=events))

    def noting(self, *notes: Note) -> Left:
        return replace(self, ledger=[*self.ledger, *notes])

    def problems(self) -> list[str]:
        return audit(1, self.results, self.tables, self.ledger).problems


async def live(folder: Path) -> Left:
    place = SqlitePlace(folder / "durable.db")
    async with (
        await Client.connect(place.address) as client,
        Worker(client, workflows=WORKFLOWS, activities=ACTIVITIES),
    ):
        handle = await client.start_workflow(Trip.run, 0, id="trip-0")
        await handle.signal(Trip.hear, 0, request_id="signal-0")
        result = await handle.result()
    return Left({0: result}, await read(place), read_ledger(folder / "ledger"))


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    folder = tmp_path_factory.mktemp("audit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LEDGER, str(folder / "ledger"))
        yield asyncio.run(live(folder))


def test_a_sound_run_has_no_problems(left: Left) -> None:
    assert left.problems() == []


def twice_begun(left: Left) -> Left:
    return left.noting(Note("trip-0", "begin", 1, 1, False))


def signalled_twice(left: Left) -> Left:
    (signal,) = [event for event in left.record.events if isinstance(event, WorkflowExecutionSignaled)]
    events = [*left.record.events[:-1], signal, left.record.events[-1]]
    return left.with_record(replace(left.record, events=events))


def with_two_outcomes(left: Left) -> Left:
    outcome = next(event for event in left.record.events if isinstance(event, ActivityTaskCompleted))
    events = [*left.record.events[:-1], outcome, left.record.events[-1]]
    return left.with_record(replace(left.record, events=events))


SPOILT: dict[str, tuple[Callable[[Left], Left], str]] = {
    "lost": (lambda left: left.with_record(), "trip-0: 0 runs instead of one"),
    "twice": (lambda left: left.with_record(left.record, left.record), "trip-0: 2 runs instead of one"),
    "unread": (
        lambda left: replace(left, tables=replace(left.tables, left_over={"durable_inbox": 2})),
        "2 rows are left over in durable_inbox",
    ),
    "open": (lambda left: left.with_record(replace(left.record, status=RunStatus.RUNNING)), "is RUNNING"),
    "gap": (
        lambda left: left.with_record(replace(left.record, rows=[*left.record.rows[:1], *left.record.rows[2:]])),
        "a row of history begins with event",
    ),
    "unsound": (lambda left: left.changing(TimerStarted, id=1), "its history is not sound"),
    "no signal": (lambda left: left.changing(WorkflowExecutionSignaled, request_id="?"), "its signals are ['?']"),
    "two signals": (signalled_twice, "its signals are ['signal-0', 'signal-0']"),
    "begun twice": (twice_begun, "attempt 1 of begin was begun 2 times"),
    "two outcomes": (with_two_outcomes, "begin (event 5) has 2 outcomes of 1 attempts"),
    "too often": (
        lambda left: left.noting(Note("trip-0", "only_once", 2, 1, False)),
        "only_once may have 1 attempts, and had 2",
    ),
    "out of nowhere": (
        lambda left: left.changing(ActivityTaskStarted, attempt=3),
        "begin completed with attempt 3, which has not come to its end",
    ),
    "told wrong": (lambda left: replace(left, results={0: [LOST]}), "its client was told [-1]"),
    "wrong": (
        lambda left: left.changing(WorkflowExecutionCompleted, result=DataConverter.default.to_payloads([[7]])),
        "its result is [7], not",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_the_audit_finds(left: Left, name: str) -> None:
    spoil, problem = SPOILT[name]

    assert any(problem in each for each in spoil(left).problems())


@pytest.mark.parametrize(
    ("why", "dead", "is_problem"),
    [
        (WorkersDied("3 in a row"), 3, False),
        (WorkersDied("3 in a row"), 2, True),
        (RuntimeError("broken"), 3, True),
    ],
)
def test_only_a_run_whose_workers_were_killed_one_after_the_other_may_be_parked(
    why: Exception, dead: int, is_problem: bool
) -> None:
    failed = WorkflowTaskFailed(
        id=4,
        time_us=0,
        scheduled_event_id=2,
        started_event_id=3,
        cause=TaskFailedCause.WORKFLOW_WORKER_UNHANDLED_FAILURE,
        failure=DataConverter.default.to_failure(why),
    )

    assert is_unlucky(failed, dead) is not is_problem
