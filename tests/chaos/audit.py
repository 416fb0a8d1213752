"""Holds the tables against what was asked for, what the clients were answered, and what the activities noted.

`read` reads them; `audit` is pure.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from durable.converter import DataConverter
from durable.history import codec
from durable.history.events import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    ActivityTaskTimedOut,
    HistoryEvent,
    TimerFired,
    TimerStarted,
    WorkflowExecutionCompleted,
    WorkflowExecutionSignaled,
    WorkflowTaskFailed,
    WorkflowTaskStarted,
)
from durable.history.rules import DEATHS_MAX
from durable.history.values import ApplicationFailureInfo, RunStatus
from durable.worker.step import WorkersDied
from tests.chaos.flows import LOST, STEPS, Note
from tests.chaos.places import Place
from tests.engine.histories import assert_sound

Ended = ActivityTaskCompleted | ActivityTaskFailed | ActivityTaskTimedOut | ActivityTaskCanceled

LEFT_OVER = ("durable_inbox", "durable_activity_tasks")


@dataclass(frozen=True)
class Record:
    """A run as the tables have it. ``rows`` are (first event id, count) of its rows of history, in order."""

    workflow_id: str
    status: int
    owner: str | None
    rows: Sequence[tuple[int, int]]
    events: Sequence[HistoryEvent]


@dataclass(frozen=True)
class Tables:
    """All that is left when everything is over. ``left_over`` counts rows of queues, by their table."""

    records: Sequence[Record]
    left_over: dict[str, int]
    dead: int
    """How many workers were declared dead."""


@dataclass
class Report:
    """``problems`` is whatever is wrong, a line each; ``figures`` is for the curious."""

    problems: list[str] = field(default_factory=list[str])
    figures: dict[str, Any] = field(default_factory=dict[str, Any])


async def read(place: Place) -> Tables:
    rows: defaultdict[str, list[Sequence[Any]]] = defaultdict(list)
    for row in await place.ask("SELECT run_id, first_id, count, data FROM durable_history ORDER BY run_id, first_id"):
        rows[row[0]].append(row)
    return Tables(
        records=[
            Record(
                workflow_id=workflow_id,
                status=status,
                owner=owner,
                rows=[(row[1], row[2]) for row in rows[run_id]],
                events=codec.decode_history(bytes(row[3]) for row in rows[run_id]),
            )
            for run_id, workflow_id, status, owner in await place.ask(
                "SELECT run_id, workflow_id, status, owner FROM durable_runs ORDER BY run_id"
            )
        ],
        left_over={name: (await place.ask(f"SELECT count(*) FROM {name}"))[0][0] for name in LEFT_OVER},
        dead=(await place.ask("SELECT count(*) FROM durable_workers WHERE dead_us IS NOT NULL"))[0][0],
    )


def audit(workflows: int, results: dict[int, Any], tables: Tables, ledger: Sequence[Note]) -> Report:
    """Trips 0, 1, 2 … must each be there once, as they must be; ``results`` are what clients were told."""
    report = Report()
    problems = report.problems
    runs = Counter(record.workflow_id for record in tables.records)
    wanted = {f"trip-{number}" for number in range(workflows)}
    problems += [f"{id}: {runs[id]} runs instead of one" for id in sorted(wanted | runs.keys()) if runs[id] != 1]
    problems += [f"{count} rows are left over in {name}" for name, count in tables.left_over.items() if count]
    notes: defaultdict[str, list[Note]] = defaultdict(list)
    for line in ledger:
        notes[line.workflow_id].append(line)
    for record in tables.records:
        number = int(record.workflow_id.removeprefix("trip-"))
        told = results.get(number)
        problems += [
            f"{record.workflow_id}: {problem}"
            for problem in _of_run(number, record, told, notes[record.workflow_id], tables.dead)
        ]
    report.figures |= _figures(tables, ledger)
    return report


def _of_run(number: int, record: Record, told: Any, notes: Sequence[Note], dead: int) -> list[str]:
    if record.status != RunStatus.COMPLETED or not isinstance(record.events[-1], WorkflowExecutionCompleted):
        last = [type(event).__name__ for event in record.events[-3:]]
        return [f"is {RunStatus(record.status).name}; its owner is {record.owner}, its last events are {last}"]
    return [
        *_of_history(record, dead),
        *_of_signals(number, record),
        *_of_activities(record, notes),
        *_of_result(number, record, told),
    ]


def _of_history(record: Record, dead: int) -> list[str]:
    problems: list[str] = []
    next_id = 1
    for first_id, count in record.rows:
        if first_id != next_id:
            problems.append(f"a row of history begins with event {first_id}, not {next_id}")
        next_id = first_id + count
    try:
        assert_sound(record.events)
    except AssertionError as error:
        problems.append(f"its history is not sound: {error}")
    timers = Counter(type(event) for event in record.events if isinstance(event, TimerStarted | TimerFired))
    if timers[TimerStarted] != timers[TimerFired]:
        problems.append(f"{timers[TimerStarted]} timers were started, {timers[TimerFired]} have fired")
    problems += [
        f"event {event.id}: a workflow task failed: {event.failure.message}"
        for event in record.events
        if isinstance(event, WorkflowTaskFailed) and not is_unlucky(event, dead)
    ]
    return problems


def is_unlucky(failed: WorkflowTaskFailed, dead: int) -> bool:
    """Its workers were killed one after the other before they had stepped it: it is parked for a while, as it must be.

    The code of these workflows kills nobody, but who only sees the deaths can't know that.
    ``dead`` is how many workers were declared dead at all: with fewer than it takes, nothing may be parked so.
    """
    info = failed.failure.info
    is_parked = isinstance(info, ApplicationFailureInfo) and info.type == WorkersDied.__name__
    return is_parked and dead >= DEATHS_MAX


def _of_signals(number: int, record: Record) -> list[str]:
    """It was sent once or often, and is there once."""
    requests = [event.request_id for event in record.events if isinstance(event, WorkflowExecutionSignaled)]
    return [] if requests == [f"signal-{number}"] else [f"its signals are {requests}"]


def _of_activities(record: Record, notes: Sequence[Note]) -> list[str]:
    """Each has one outcome, which comes of an attempt that it may have had."""
    problems: list[str] = []
    begun = Counter((each.step, each.attempt) for each in notes if not each.done)
    done = {(each.step, each.attempt) for each in notes if each.done}
    problems += [f"attempt {attempt} of {step} was begun {n} times" for (step, attempt), n in begun.items() if n > 1]
    for step, scheduled, started, ended in _activities(record.events):
        if len(started) != 1 or len(ended) != 1:
            problems.append(f"{step} (event {scheduled.id}) has {len(ended)} outcomes of {len(started)} attempts")
            continue
        attempts_max = STEPS[step].attempts_max
        highest = max([started[0].attempt, *(attempt for each, attempt in begun if each == step)])
        if attempts_max and highest > attempts_max:
            problems.append(f"{step} may have {attempts_max} attempts, and had {highest}")
        match ended[0]:
            case ActivityTaskCompleted():
                if (step, started[0].attempt) not in done:
                    problems.append(
                        f"{step} completed with attempt {started[0].attempt}, which has not come to its end"
                    )
            case ActivityTaskTimedOut():
                if not attempts_max or started[0].attempt != attempts_max:
                    problems.append(f"{step} was given up after attempt {started[0].attempt}")
            case other:
                problems.append(f"{step} ended as {type(other).__name__}")
    return problems


def _of_result(number: int, record: Record, told: Any) -> list[str]:
    """What the client was told is what is recorded, and that is what the outcomes of the activities make."""
    completed = record.events[-1]
    assert isinstance(completed, WorkflowExecutionCompleted)
    (recorded,) = DataConverter.default.from_payloads(completed.result, [list[int]])
    lost = {
        step
        for step, _, _, ended in _activities(record.events)
        if any(isinstance(each, ActivityTaskTimedOut) for each in ended)
    }
    right = [LOST if name in lost else number + step.adds for name, step in ORDERED] + [number]
    problems: list[str] = []
    if recorded != right:
        problems.append(f"its result is {recorded}, not {right}")
    if told != recorded:
        problems.append(f"its client was told {told}, but {recorded} is recorded")
    return problems


ORDERED = [(name, STEPS[name]) for name in ("begin", "fail_first", "in_thread", "only_once", "finish")]
Activity = tuple[str, ActivityTaskScheduled, list[ActivityTaskStarted], list[Ended]]


def _activities(events: Sequence[HistoryEvent]) -> list[Activity]:
    """Each activity with its attempts and its outcomes: one of each, if all is well."""
    found = {each.id: (each.activity_type, each, [], []) for each in events if isinstance(each, ActivityTaskScheduled)}
    activities: dict[int, Activity] = dict(found)
    for event in events:
        match event:
            case ActivityTaskStarted():
                activities[event.scheduled_event_id][2].append(event)
            case ActivityTaskCompleted() | ActivityTaskFailed() | ActivityTaskTimedOut() | ActivityTaskCanceled():
                activities[event.scheduled_event_id][3].append(event)
            case _:
                pass
    return list(activities.values())


def _figures(tables: Tables, ledger: Sequence[Note]) -> dict[str, Any]:
    steps = Counter((each.workflow_id, each.step) for each in ledger if each.done)
    taken_over = 0
    for record in tables.records:
        owners = [event.identity for event in record.events if isinstance(event, WorkflowTaskStarted)]
        taken_over += sum(one != other for one, other in itertools.pairwise(owners))
    given_up = sum(isinstance(event, ActivityTaskTimedOut) for record in tables.records for event in record.events)
    return {
        "workers declared dead": tables.dead,
        "runs taken over": taken_over,
        "attempts begun": sum(not each.done for each in ledger),
        "activities given up": given_up,
        "effects": len(steps),
        "effects repeated": sum(n - 1 for n in steps.values()),
        "events": sum(len(record.events) for record in tables.records),
    }
