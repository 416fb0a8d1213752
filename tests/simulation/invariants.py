"""The invariants of `durable.history`, read straight from the tables after every commit, whoever made it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from durable.history import codec
from durable.history.errors import HistoryError
from durable.history.events import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    ActivityTaskTimedOut,
    ClosingEvent,
    HistoryEvent,
    TimerFired,
    TimerStarted,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
)
from durable.history.messages import ActivityOutcome, CancelRequest, Message, Query, Signal, TimerDue
from durable.history.state import State, fold
from durable.history.values import RunStatus

OUTCOMES = (ActivityTaskCompleted, ActivityTaskFailed, ActivityTaskTimedOut, ActivityTaskCanceled)
TASK_ENDS = (WorkflowTaskCompleted, WorkflowTaskFailed)


class Violation(AssertionError):
    """An invariant does not hold."""


class RunRow(NamedTuple):
    run_id: str
    workflow_id: str
    status: int
    owner: str | None
    last_event_id: int
    history_bytes: int
    request_id: str
    parked: str | None


class TaskRow(NamedTuple):
    owner: str | None
    attempt: int
    lost: bool


class InboxRow(NamedTuple):
    run_id: str
    message: Message
    due_us: int


class Seen:
    """What the tables held when they were last looked at."""

    def __init__(self) -> None:
        self.history: list[tuple[Any, ...]] = []
        self.runs: dict[str, RunRow] = {}
        self.inbox: dict[int, InboxRow] = {}
        self.tasks: dict[tuple[str, int], TaskRow] = {}
        self.alive: set[str] = set()


class Watcher:
    """Looks at the tables of one database. `look` raises `Violation`; ``now_us`` is the store's clock."""

    def __init__(self, path: Path, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._db = sqlite3.connect(path, isolation_level=None)
        self._version = -1
        self._seen = Seen()
        self.events: dict[str, list[HistoryEvent]] = {}
        self.states: dict[str, State] = {}
        self.signals_sent: dict[str, list[str]] = {}
        """By workflow id, the request ids of its signals in the order in which they were sent."""
        self._acknowledged: dict[str, str] = {}
        self._started: dict[str, str] = {}
        self.looks = 0

    def close(self) -> None:
        self._db.close()

    # What callers were told. ------------------------------------------------------------------------------------------

    def acknowledge(self, run_id: str, request_id: str) -> None:
        """A signal or cancel request was acknowledged: it is there now, and stays (I5)."""
        self._acknowledged[request_id] = run_id
        self.look()
        self._check_acknowledged()

    def acknowledge_start(self, workflow_id: str, run_id: str, request_id: str) -> None:
        """A start was acknowledged: there is one run of that request (I5)."""
        self.look()
        runs = [run.run_id for run in self._seen.runs.values() if run.request_id == request_id]
        self._must(runs == [run_id], f"the start of {workflow_id} was acknowledged as run {run_id}; there are {runs}")
        before = self._started.setdefault(request_id, run_id)
        self._must(before == run_id, f"one request started {before} and {run_id}")

    def query_answered(self, run_id: str, numbers: list[int], told: int) -> None:
        """A query sees the signals in order, and at least those acknowledged before it was asked."""
        self._must(numbers == list(range(len(numbers))), f"a query of {run_id} saw signals {numbers}")
        terminated = self.states[run_id].status is RunStatus.TERMINATED
        self._must(len(numbers) >= told or terminated, f"a query of {run_id} saw {numbers}, not all {told} it must")

    def history_fetched(self, run_id: str, events: list[HistoryEvent]) -> None:
        """What a client reads is what is there, or was."""
        self.look()
        self._must(events == self.events[run_id][: len(events)], f"the history of {run_id} was read wrong")

    # Looking. ---------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Check what one commit has changed."""
        version = self._db.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return
        self._version = version
        self.looks += 1
        seen = self._read()
        fresh = self._append(seen)
        for run_id, events in fresh.items():
            self._check_new(run_id, events, seen)
        for run in seen.runs.values():
            self._check_run(run, seen)
        self._check_messages(seen)
        self._seen = seen
        self._check_acknowledged()

    def _read(self) -> Seen:
        db, seen, known = self._db, Seen(), self._seen.inbox
        db.execute("BEGIN")
        seen.history = db.execute("SELECT run_id, first_id, count, data FROM durable_history ORDER BY rowid").fetchall()
        fields = ", ".join(RunRow._fields)
        seen.runs = {row[0]: RunRow(*row) for row in db.execute(f"SELECT {fields} FROM durable_runs ORDER BY run_id")}
        for row in db.execute("SELECT id, run_id, body, due_us FROM durable_inbox ORDER BY id"):
            before = known.get(row[0])
            message = before.message if before is not None else codec.decode_message(row[2])
            seen.inbox[row[0]] = InboxRow(row[1], message, row[3])
        columns = "run_id, scheduled_event_id, owner, attempt, lost"
        for row in db.execute(f"SELECT {columns} FROM durable_activity_tasks"):
            seen.tasks[row[0], row[1]] = TaskRow(row[2], row[3], bool(row[4]))
        living = db.execute("SELECT worker_id FROM durable_workers WHERE dead_us IS NULL")
        seen.alive = {row[0] for row in living}
        db.execute("COMMIT")
        return seen

    def _append(self, seen: Seen) -> dict[str, list[HistoryEvent]]:
        """I1, I9: rows of history never change; new ones follow without a gap, and nothing follows the end."""
        known = len(self._seen.history)
        self._must(seen.history[:known] == self._seen.history, "committed history was changed")
        fresh: dict[str, list[HistoryEvent]] = {}
        for run_id, first_id, count, data in seen.history[known:]:
            events = codec.decode_events(data)
            self._must(len(events) == count and events[0].id == first_id, f"row {first_id} of {run_id} is mislabelled")
            try:
                self.states[run_id] = fold(self.states.get(run_id, State()), events)
            except HistoryError as error:
                raise Violation(f"run {run_id}: {error}") from error
            self.events.setdefault(run_id, []).extend(events)
            fresh.setdefault(run_id, []).extend(events)
        return fresh

    def _check_new(self, run_id: str, events: list[HistoryEvent], seen: Seen) -> None:
        before = self._seen.runs.get(run_id)
        history = self.events[run_id]
        last_us = history[-len(events) - 1].time_us if len(history) > len(events) else 0
        for event in events:
            self._must(event.time_us >= last_us, f"time goes back at event {event.id} of {run_id}")
            self._must(event.time_us <= self._now_us(), f"event {event.id} of {run_id} is in the future")
            last_us = event.time_us
            match event:
                case WorkflowTaskStarted(identity=worker):
                    # I2: whoever appends owned the run before, and was alive.
                    owner = worker if before is None else before.owner
                    self._must(owner == worker, f"{worker} moved run {run_id}, which belonged to {owner}")
                    alive = before is None or worker in self._seen.alive
                    self._must(alive, f"{worker}, which is dead, moved run {run_id}")
                case TimerFired(started_event_id=started_id):
                    self._check_timer(run_id, event, history[started_id - 1])
                case ActivityTaskStarted() if not self._came_as_message(run_id, event.scheduled_event_id):
                    self._check_attempt(run_id, event.scheduled_event_id, event.attempt)
                case WorkflowTaskFailed():
                    raise Violation(f"a workflow task of {run_id} failed: {event.failure.message}")
                case _:
                    pass
        self._check_tasks_of_history(run_id, history)

    def _check_timer(self, run_id: str, fired: TimerFired, started: HistoryEvent) -> None:
        """I6: never early."""
        assert isinstance(started, TimerStarted)
        due_us = started.time_us + started.start_to_fire_timeout_us
        early_us = due_us - min(fired.time_us, self._now_us())
        self._must(early_us <= 0, f"timer {started.id} of {run_id} fired {early_us} µs early")

    def _came_as_message(self, run_id: str, scheduled_event_id: int) -> bool:
        return (run_id, scheduled_event_id) not in self._seen.tasks

    def _check_attempt(self, run_id: str, scheduled_event_id: int, attempt: int) -> None:
        """I4: the outcome is that of the attempt that holds the task."""
        row = self._seen.tasks[run_id, scheduled_event_id]
        self._must(
            row.attempt == attempt, f"activity {scheduled_event_id} of {run_id}: attempt {attempt} told, {row} holds it"
        )

    def _check_tasks_of_history(self, run_id: str, history: list[HistoryEvent]) -> None:
        """Workflow tasks are triples: scheduled, started, and completed or failed right after."""
        pending = 0
        for event, following in zip(history, [*history[1:], None], strict=True):
            where = f"event {event.id} of {run_id}"
            match event:
                case WorkflowTaskScheduled():
                    self._must(pending == 0, f"{where}: two workflow tasks are pending")
                    pending = event.id
                case WorkflowTaskStarted():
                    self._must(event.scheduled_event_id == pending, f"{where} starts a task that is not pending")
                    self._must(isinstance(following, TASK_ENDS), f"{where}: its workflow task does not end")
                case WorkflowTaskCompleted() | WorkflowTaskFailed():
                    fits = event.scheduled_event_id == pending and event.started_event_id == event.id - 1
                    self._must(fits, f"{where} ends another workflow task")
                    pending = 0
                case _:
                    pass

    def _check_run(self, run: RunRow, seen: Seen) -> None:
        """A run's rows say what its history says: nothing is forgotten, nothing is left over."""
        state = self.states.get(run.run_id, State())
        run_id = run.run_id
        self._must(run.last_event_id == state.last_event_id, f"{run} does not have {state.last_event_id} events")
        self._must(run.status == state.status, f"{run} should be {state.status.name}")
        self._must(run.owner is None or run.owner in seen.alive, f"{run} belongs to somebody who is not alive")
        tasks = {event_id: row for (of, event_id), row in seen.tasks.items() if of == run_id}
        inbox = [row.message for row in seen.inbox.values() if row.run_id == run_id]
        if not state.is_open:
            left = [message for message in inbox if not isinstance(message, Query)]
            self._must(not tasks and not left, f"{run} is closed, and has left {tasks} {left}")
            return
        outcomes = [message.scheduled_event_id for message in inbox if isinstance(message, ActivityOutcome)]
        there = Counter([*tasks, *outcomes])
        pending = list(state.activities)
        self._must(there == Counter(pending), f"{run}: activities {dict(there)} are there, {pending} pending")
        for event_id, row in tasks.items():
            held = row.owner is None or row.owner in seen.alive or row.lost
            self._must(held, f"activity {event_id} of {run_id} belongs to somebody who is not alive: {row}")
        timers = Counter(message.started_event_id for message in inbox if isinstance(message, TimerDue))
        pending = list(state.timers)
        self._must(timers == Counter(pending), f"{run}: timers {dict(timers)} are set, {pending} pending")

    def _check_messages(self, seen: Seen) -> None:
        """I3: what has left an inbox is in the history."""
        for message_id, row in self._seen.inbox.items():
            if message_id not in seen.inbox and isinstance(row.message, Signal | CancelRequest):
                wanted = row.message.request_id
                self._must(wanted in self._requests(row.run_id), f"message {wanted} of {row.run_id} has vanished")

    def _check_acknowledged(self) -> None:
        waiting = {
            row.message.request_id
            for row in self._seen.inbox.values()
            if isinstance(row.message, Signal | CancelRequest)
        }
        for request_id, run_id in self._acknowledged.items():
            there = request_id in waiting or request_id in self._requests(run_id)
            self._must(there, f"message {request_id} for {run_id} was acknowledged, and is nowhere")

    def _requests(self, run_id: str) -> dict[str, None]:
        return self.states[run_id].request_ids

    # At the end. ------------------------------------------------------------------------------------------------------

    def check_end(self) -> None:
        """All runs are closed; signals came once each, in the order of sending."""
        self.look()
        for run_id, events in self.events.items():
            started = events[0]
            assert isinstance(started, WorkflowExecutionStarted)
            self._must(isinstance(events[-1], ClosingEvent), f"run {run_id} is open")
            ids = [each.request_id for each in events if isinstance(each, WorkflowExecutionSignaled)]
            sent = self.signals_sent.get(started.workflow_id, [])
            in_order = ids == [each for each in sent if each in ids]
            self._must(in_order, f"signals of {run_id} came as {ids}, sent: {sent}")
            cancels = [each.request_id for each in events if isinstance(each, WorkflowExecutionCancelRequested)]
            self._must(len(cancels) == len(set(cancels)), f"a cancel request of {run_id} came twice")
            self._check_outcomes(run_id, events)

    def _check_outcomes(self, run_id: str, events: list[HistoryEvent]) -> None:
        """One outcome per scheduled activity, and none only where the run ended without waiting for it."""
        scheduled = [event.id for event in events if isinstance(event, ActivityTaskScheduled)]
        outcomes = Counter(event.scheduled_event_id for event in events if isinstance(event, OUTCOMES))
        for event_id in scheduled:
            self._must(outcomes[event_id] <= 1, f"activity {event_id} of {run_id} has {outcomes[event_id]} outcomes")
        self._must(set(outcomes) <= set(scheduled), f"run {run_id} has outcomes of what it never scheduled")
        terminated = [event for event in events if isinstance(event, WorkflowExecutionTerminated)]
        self._must(len(terminated) <= 1, f"run {run_id} was terminated twice")

    def about(self, run_id: str) -> list[str]:
        """A run, for a person who looks for what went wrong with it."""
        seen = self._seen
        events = [f"  {event.id:3} {type(event).__name__} {event.time_us}" for event in self.events.get(run_id, [])]
        return [
            *events[-12:],
            f"  {seen.runs.get(run_id)}",
            *(f"  message {each}: {row}" for each, row in seen.inbox.items() if row.run_id == run_id),
            *(f"  activity {key[1]}: {row}" for key, row in seen.tasks.items() if key[0] == run_id),
            f"  alive: {sorted(seen.alive)}, now: {self._now_us()}",
        ]

    def rows(self) -> list[tuple[Any, ...]]:
        """Every row of every table, but for a worker's process id and host, which are this process's own."""
        tables = [row[0] for row in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")]
        found: list[tuple[Any, ...]] = []
        for table in tables:
            columns = [row[1] for row in self._db.execute(f"PRAGMA table_info({table})")]
            wanted = ", ".join(f'"{column}"' for column in columns if (table, column) not in OF_THIS_PROCESS)
            found += [(table, *row) for row in self._db.execute(f"SELECT {wanted} FROM {table} ORDER BY rowid")]
        return found

    def _must(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise Violation(otherwise)


OF_THIS_PROCESS = (("durable_workers", "pid"), ("durable_workers", "host"))
