"""The invariants of `durable.history`, read straight from the tables after every commit, whoever made it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from durable.history import codec, errands
from durable.history.errors import HistoryError
from durable.history.events import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    ActivityTaskTimedOut,
    ClosingEvent,
    ExternalWorkflowExecutionSignaled,
    HistoryEvent,
    MarkerRecorded,
    SignalExternalWorkflowExecutionFailed,
    TimerFired,
    TimerStarted,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
    successor_of,
)
from durable.history.local_activities import is_local
from durable.history.messages import (
    ActivityOutcome,
    CancelRequest,
    ErrandsDue,
    Message,
    Query,
    RunTimeout,
    Signal,
    TimerDue,
    WorkflowTaskDue,
)
from durable.history.rules import DEATHS_MAX
from durable.history.state import KnownUpdate, State, fold
from durable.history.values import CanceledFailureInfo, Failure, RunStatus
from durable.worker.local_activities import data_of

OUTCOMES = (ActivityTaskCompleted, ActivityTaskFailed, ActivityTaskTimedOut, ActivityTaskCanceled)
TASK_ENDS = (WorkflowTaskCompleted, WorkflowTaskFailed)
LOOKS_BETWEEN_PROOFS = 16


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
    deaths: int


class TaskRow(NamedTuple):
    owner: str | None
    attempt: int
    lost: bool


class InboxRow(NamedTuple):
    run_id: str
    message: Message
    due_us: int


class RowsOfRun(NamedTuple):
    """A run, the messages in its inbox, and its tasks by their scheduled event ids."""

    run: RunRow
    inbox: list[Message]
    tasks: dict[int, TaskRow]


class Seen:
    """What the tables held when they were last looked at; history apart, of which only what is new is read."""

    def __init__(self) -> None:
        self.runs: dict[str, RowsOfRun] = {}
        self.inbox: dict[int, InboxRow] = {}
        self.alive: dict[str, int] = {}
        """When each living worker renewed its lease."""

    def task(self, run_id: str, scheduled_event_id: int) -> TaskRow | None:
        return self.runs[run_id].tasks.get(scheduled_event_id) if run_id in self.runs else None


class Watcher:
    """Looks at a database through ``db``. `look` raises `Violation`; ``highest_us`` the latest that clocks showed."""

    def __init__(self, db: sqlite3.Connection, highest_us: Callable[[], int]) -> None:
        self._highest_us = highest_us
        self._db = db
        self._version = -1
        self._seen = Seen()
        self._history: list[tuple[Any, ...]] = []
        self._last_rowid = 0
        self._pending_tasks: dict[str, int] = {}
        self.events: dict[str, list[HistoryEvent]] = {}
        self.states: dict[str, State] = {}
        self.signals_sent: dict[str, list[str]] = {}
        """By workflow id, the request ids of its signals in the order in which they were sent."""
        self._acknowledged: dict[str, str] = {}
        """Requests that are not in the history yet, and their runs."""
        self._started: dict[str, str] = {}
        self.looks = 0

    # What callers were told. ------------------------------------------------------------------------------------------

    def acknowledge(self, run_id: str, request_id: str) -> None:
        """A signal or cancel request was acknowledged: it is there now, and stays (I5)."""
        self._acknowledged[request_id] = run_id
        self.look()
        self._check_acknowledged()

    def acknowledge_start(self, workflow_id: str, run_id: str, request_id: str) -> None:
        """A start was acknowledged: there is one run of that request (I5)."""
        self.look()
        runs = [run_id for run_id, rows in self._seen.runs.items() if rows.run.request_id == request_id]
        self._must(runs == [run_id], f"the start of {workflow_id} was acknowledged as run {run_id}; there are {runs}")
        before = self._started.setdefault(request_id, run_id)
        self._must(before == run_id, f"one request started {before} and {run_id}")

    def query_answered(self, run_id: str, numbers: list[int], told: int) -> None:
        """A query sees the signals in order, and at least those acknowledged before it was asked."""
        self._must(numbers == list(range(len(numbers))), f"a query of {run_id} saw signals {numbers}")
        cut_short = self._last(run_id).status in (RunStatus.TERMINATED, RunStatus.TIMED_OUT)
        self._must(len(numbers) >= told or cut_short, f"a query of {run_id} saw {numbers}, not all {told} it must")

    def update_answered(self, run_id: str, update_id: str, is_right: bool) -> None:
        """Its outcome is in the history, once, and the one that was told."""
        self._must(is_right, f"update {update_id} of {run_id} was answered wrong")
        self.look()
        known = self._update(run_id, update_id)
        self._must(
            known is not None and known.completed, f"update {update_id} of {run_id} was answered, and is not over"
        )

    def update_failed(self, run_id: str, update_id: str, why: str | None, is_rejected: bool) -> None:
        """It was turned away, without a trace; or its run is closed, and it was not over."""
        self.look()
        known = self._update(run_id, update_id)
        if is_rejected:
            self._must(why == "ValueError" and known is None, f"update {update_id} of {run_id} was rejected: {why}")
        else:
            cut_short = known is not None and not known.completed and not self.states[run_id].is_open
            is_right = why == "AcceptedUpdateCompletedWorkflow" and cut_short
            self._must(is_right, f"update {update_id} of {run_id} failed: {why}")

    def update_unread(self, run_id: str, update_id: str) -> None:
        """The run is closed, and has never read it."""
        self.look()
        state = self._last(run_id)
        is_right = not state.is_open and update_id not in state.updates
        self._must(is_right, f"update {update_id} of {run_id} was not found")

    def history_fetched(self, run_id: str, events: list[HistoryEvent]) -> None:
        """What a client reads is what is there, or was."""
        self.look()
        is_right = any(events == self.events[each][: len(events)] for each in self.chain(run_id))
        self._must(is_right, f"the history of {run_id} was read wrong")

    # Runs that follow one another. ------------------------------------------------------------------------------------

    def chain(self, run_id: str) -> list[str]:
        """A run, and those that continue it."""
        found = [run_id]
        while (ended := self.states[found[-1]].ended) is not None and successor_of(ended):
            found.append(successor_of(ended))
        return found

    def has_not_begun(self, run_id: str) -> bool:
        """Was a run, or the last one that continues it, ended before any of its code could run?"""
        self.look()
        events = self.events[self.chain(run_id)[-1]]
        return isinstance(events[-1], ClosingEvent) and not any(isinstance(e, WorkflowTaskCompleted) for e in events)

    def _last(self, run_id: str) -> State:
        return self.states[self.chain(run_id)[-1]]

    def _update(self, run_id: str, update_id: str) -> KnownUpdate | None:
        known = [self.states[each].updates.get(update_id) for each in self.chain(run_id)]
        return next((each for each in known if each is not None and each.completed), None) or next(
            (each for each in known if each is not None), None
        )

    # Looking. ---------------------------------------------------------------------------------------------------------

    def look(self, now_us: int | None = None) -> None:
        """Check what one commit has changed; ``now_us`` is what the clock of its process shows."""
        version = self._db.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return
        self._version = version
        self.looks += 1
        alive = dict(self._db.execute(READ_ALIVE))
        if alive != self._seen.alive and alive.keys() == self._seen.alive.keys():
            self._seen.alive = alive
            return  # a renewal is all that such a commit does; if it were more, the next look would find it
        self._db.execute("BEGIN")
        if self.looks % LOOKS_BETWEEN_PROOFS == 0:
            self._prove_history()
        seen, fresh = self._read(alive), self._read_history()
        self._db.execute("COMMIT")
        for run_id, events in fresh.items():
            self._check_new(run_id, events, self._highest_us() if now_us is None else now_us)
        for run_id, rows in seen.runs.items():
            if run_id in fresh or rows != self._seen.runs.get(run_id) or alive.keys() != self._seen.alive.keys():
                self._check_run(rows, alive)
        self._check_messages(seen)
        self._seen = seen
        self._check_acknowledged()

    def _read(self, alive: dict[str, int]) -> Seen:
        db, seen, known = self._db, Seen(), self._seen.inbox
        seen.alive = alive
        for row in db.execute(READ_RUNS):
            seen.runs[row[0]] = RowsOfRun(RunRow(*row), [], {})
        for message_id, run_id, body, due_us in db.execute(READ_INBOX):
            before = known.get(message_id)
            message = before.message if before is not None else codec.decode_message(body)
            seen.inbox[message_id] = InboxRow(run_id, message, due_us)
            self._must(run_id in seen.runs, f"message {message_id} is for {run_id}, which is no run")
            seen.runs[run_id].inbox.append(message)
        for run_id, event_id, owner, attempt, lost in db.execute(READ_TASKS):
            self._must(run_id in seen.runs, f"activity {event_id} is of {run_id}, which is no run")
            seen.runs[run_id].tasks[event_id] = TaskRow(owner, attempt, bool(lost))
        return seen

    def _prove_history(self) -> None:
        """I1: rows of history never change. All of them are read again, now and then."""
        rows = self._db.execute(READ_HISTORY, (0,)).fetchall()
        known = len(self._history)
        self._must(rows[:known] == self._history, "committed history was changed")

    def _read_history(self) -> dict[str, list[HistoryEvent]]:
        """I1, I9: what is new follows without a gap, and nothing follows the end."""
        rows = self._db.execute(READ_HISTORY, (self._last_rowid,)).fetchall()
        self._history += rows
        fresh: dict[str, list[HistoryEvent]] = {}
        for rowid, run_id, first_id, count, data in rows:
            self._last_rowid = rowid
            events = codec.decode_events(data)
            self._must(len(events) == count and events[0].id == first_id, f"row {first_id} of {run_id} is mislabelled")
            try:
                self.states[run_id] = fold(self.states.get(run_id, State()), events)
            except HistoryError as error:
                raise Violation(f"run {run_id}: {error}") from error
            self.events.setdefault(run_id, []).extend(events)
            fresh.setdefault(run_id, []).extend(events)
        return fresh

    def _check_new(self, run_id: str, events: list[HistoryEvent], now_us: int) -> None:
        before = self._seen.runs.get(run_id)
        history = self.events[run_id]
        last_us = history[-len(events) - 1].time_us if len(history) > len(events) else 0
        highest_us = self._highest_us()
        for event in events:
            self._must(event.time_us >= last_us, f"time goes back at event {event.id} of {run_id}")
            self._must(event.time_us <= highest_us, f"event {event.id} of {run_id} is in the future")
            last_us = event.time_us
            match event:
                case WorkflowTaskStarted(identity=worker):
                    # I2: whoever appends owned the run before, and was alive.
                    owner = worker if before is None else before.run.owner
                    self._must(owner == worker, f"{worker} moved run {run_id}, which belonged to {owner}")
                    alive = before is None or worker in self._seen.alive
                    self._must(alive, f"{worker}, which is dead, moved run {run_id}")
                case TimerFired(started_event_id=started_id):
                    self._check_timer(run_id, event, history[started_id - 1], now_us)
                case WorkflowExecutionTimedOut():
                    self._check_run_timeout(run_id, event, now_us)
                case ActivityTaskStarted():
                    self._check_attempt(run_id, event.scheduled_event_id, event.attempt)
                case WorkflowTaskFailed():
                    # The code of these workflows is sound: only whoever sees its workers die may think otherwise.
                    taken_for_fatal = before is not None and before.run.deaths >= DEATHS_MAX
                    self._must(taken_for_fatal, f"a workflow task of {run_id} failed: {event.failure.message}")
                case _:
                    pass
        self._check_workflow_tasks(run_id, events)

    def _check_timer(self, run_id: str, fired: TimerFired, started: HistoryEvent, now_us: int) -> None:
        """I6: never early."""
        assert isinstance(started, TimerStarted)
        due_us = started.time_us + started.start_to_fire_timeout_us
        early_us = due_us - min(fired.time_us, now_us)
        self._must(early_us <= 0, f"timer {started.id} of {run_id} fired {early_us} µs early")

    def _check_run_timeout(self, run_id: str, ended: WorkflowExecutionTimedOut, now_us: int) -> None:
        """I6: never early."""
        early_us = self._deadline_us(run_id) - min(ended.time_us, now_us)
        self._must(early_us <= 0, f"run {run_id} was timed out {early_us} µs early")

    def _deadline_us(self, run_id: str) -> int:
        started = self.events[run_id][0]
        assert isinstance(started, WorkflowExecutionStarted)
        return started.time_us + started.workflow_run_timeout_us if started.workflow_run_timeout_us else 0

    def _check_attempt(self, run_id: str, scheduled_event_id: int, attempt: int) -> None:
        """I4: the outcome is that of the attempt that holds the task."""
        row = self._seen.task(run_id, scheduled_event_id)
        told = row is None or row.attempt == attempt  # no row: it came as a message, checked when that was sent
        self._must(told, f"activity {scheduled_event_id} of {run_id}: attempt {attempt} told, {row} holds it")

    def _check_workflow_tasks(self, run_id: str, events: list[HistoryEvent]) -> None:
        """Workflow tasks are triples: scheduled, started, and completed or failed right after."""
        pending = self._pending_tasks.get(run_id, 0)
        for event, following in zip(events, [*events[1:], None], strict=True):
            match event:
                case WorkflowTaskScheduled():
                    self._must(pending == 0, f"event {event.id} of {run_id}: two workflow tasks are pending")
                    pending = event.id
                case WorkflowTaskStarted():
                    fits = event.scheduled_event_id == pending
                    self._must(fits, f"event {event.id} of {run_id} starts a task that is not pending")
                    self._must(isinstance(following, TASK_ENDS), f"event {event.id} of {run_id}: its task does not end")
                case WorkflowTaskCompleted() | WorkflowTaskFailed():
                    fits = event.scheduled_event_id == pending and event.started_event_id == event.id - 1
                    self._must(fits, f"event {event.id} of {run_id} ends another workflow task")
                    pending = 0
                case _:
                    pass
        self._pending_tasks[run_id] = pending

    def _check_run(self, rows: RowsOfRun, alive: dict[str, int]) -> None:
        """A run's rows say what its history says: nothing is forgotten, nothing is left over."""
        run, inbox, tasks = rows
        state = self.states.get(run.run_id, State())
        keys = {message.key for message in inbox if isinstance(message, ErrandsDue)}
        wanted = errands.keys(state)
        if not (keys == wanted if state.is_open else keys <= wanted):
            raise Violation(f"{run} is reminded of {keys}, and has {wanted} to do")
        if run.last_event_id != state.last_event_id:
            raise Violation(f"{run} does not have {state.last_event_id} events")
        if run.status != state.status:
            raise Violation(f"{run} should be {state.status.name}")
        if run.owner is not None and run.owner not in alive:
            raise Violation(f"{run} belongs to somebody who is not alive")
        if not state.is_open:
            left = [message for message in inbox if not isinstance(message, Query | ErrandsDue)]
            if tasks or left:
                raise Violation(f"{run} is closed, and has left {tasks} {left}")
            return
        outcomes = [message.scheduled_event_id for message in inbox if isinstance(message, ActivityOutcome)]
        begun = [key for key in [*tasks, *outcomes] if not is_local(key)]
        if sorted(begun) != sorted(state.activities):
            raise Violation(f"{run}: activities {[*tasks]} and outcomes {outcomes}, pending {[*state.activities]}")
        held = [
            each.scheduled_event_id
            for message in inbox
            if isinstance(message, WorkflowTaskDue)
            for each in message.held
        ]
        local = [key for key in [*tasks, *outcomes, *held] if is_local(key)]
        if len(set(local)) != len(local) or not set(local).isdisjoint(-seq for seq in self._recorded(run.run_id)):
            raise Violation(
                f"{run}: local activities {local} are there twice, or recorded: {self._recorded(run.run_id)}"
            )
        for event_id, row in tasks.items():
            if row.owner is not None and row.owner not in alive and not row.lost:
                raise Violation(f"activity {event_id} of {run} belongs to somebody who is not alive: {row}")
        limits = [message for message in inbox if isinstance(message, RunTimeout)]
        if len(limits) != bool(self._deadline_us(run.run_id)):
            raise Violation(f"{run} has {len(limits)} messages that end it")
        timers = [message.started_event_id for message in inbox if isinstance(message, TimerDue)]
        if sorted(timers) != sorted(state.timers):
            raise Violation(f"{run}: timers {timers} are set, {[*state.timers]} pending")

    def _recorded(self, run_id: str) -> list[int]:
        """The local activities whose outcome is in the history, unless the code has cancelled them: then a task may be
        there that does not know it yet."""
        events = [event for event in self.events.get(run_id, ()) if isinstance(event, MarkerRecorded)]
        told = [(data_of(event), event.failure) for event in events]
        return [data.seq for data, failure in told if data is not None and not _is_cancelled(failure)]

    def _check_messages(self, seen: Seen) -> None:
        """I3: what has left an inbox is in the history."""
        for message_id, row in self._seen.inbox.items():
            if message_id not in seen.inbox and isinstance(row.message, Signal | CancelRequest):
                wanted = row.message.request_id
                self._must(wanted in self._requests(row.run_id), f"message {wanted} of {row.run_id} has vanished")

    def _check_acknowledged(self) -> None:
        """I5: what was acknowledged waits in the inbox, or is in the history, which does not change."""
        if not self._acknowledged:
            return
        inbox = [row.message for row in self._seen.inbox.values()]
        waiting = {message.request_id for message in inbox if isinstance(message, Signal | CancelRequest)}
        for request_id, run_id in list(self._acknowledged.items()):
            if request_id in self._requests(run_id):
                del self._acknowledged[request_id]
            elif request_id not in waiting:
                raise Violation(f"message {request_id} for {run_id} was acknowledged, and is nowhere")

    def _requests(self, run_id: str) -> dict[str, None]:
        return {request_id: None for each in self.chain(run_id) for request_id in self.states[each].request_ids}

    # At the end. ------------------------------------------------------------------------------------------------------

    def check_end(self) -> None:
        """All runs are closed; signals came once each, in the order of sending."""
        self.look()
        self._prove_history()
        for run_id, events in self.events.items():
            started = events[0]
            assert isinstance(started, WorkflowExecutionStarted)
            self._must(isinstance(events[-1], ClosingEvent), f"run {run_id} is open")
            self._check_outcomes(run_id, events)
            if started.continued_execution_run_id:
                continue
            events = [event for each in self.chain(run_id) for event in self.events[each]]
            ids = [
                each.request_id
                for each in events
                if isinstance(each, WorkflowExecutionSignaled) and each.external_workflow_execution is None
            ]
            sent = self.signals_sent.get(started.workflow_id, [])
            in_order = ids == [each for each in sent if each in ids]
            self._must(in_order, f"signals of {run_id} came as {ids}, sent: {sent}")
            cancels = [each.request_id for each in events if isinstance(each, WorkflowExecutionCancelRequested)]
            self._must(len(cancels) == len(set(cancels)), f"a cancel request of {run_id} came twice")
        self._check_pokes()

    def is_done(self) -> bool:
        """Is every run closed, and has none anything left to do at another?"""
        self.look()
        if any(rows.run.status == RunStatus.RUNNING for rows in self._seen.runs.values()):
            return False
        return not any(isinstance(row.message, ErrandsDue) for row in self._seen.inbox.values())

    def _check_pokes(self) -> None:
        """What one workflow sends to another arrives once, if it says so, and else never."""
        came = Counter(
            each.request_id
            for events in self.events.values()
            for each in events
            if isinstance(each, WorkflowExecutionSignaled) and each.external_workflow_execution is not None
        )
        for request_id, times in came.items():
            self._must(times == 1, f"signal {request_id} came {times} times")
        for run_id, events in self.events.items():
            for each in events:
                if isinstance(each, ExternalWorkflowExecutionSignaled | SignalExternalWorkflowExecutionFailed):
                    request_id = errands.request_id(run_id, each.initiated_event_id)
                    wanted = isinstance(each, ExternalWorkflowExecutionSignaled)
                    self._must(came[request_id] == wanted, f"signal {request_id}: {type(each).__name__}, came {came}")

    def _check_outcomes(self, run_id: str, events: list[HistoryEvent]) -> None:
        """One outcome per scheduled activity, and none only where the run ended without waiting for it."""
        scheduled = [event.id for event in events if isinstance(event, ActivityTaskScheduled)]
        outcomes = Counter(event.scheduled_event_id for event in events if isinstance(event, OUTCOMES))
        for event_id in scheduled:
            self._must(outcomes[event_id] <= 1, f"activity {event_id} of {run_id} has {outcomes[event_id]} outcomes")
        self._must(set(outcomes) <= set(scheduled), f"run {run_id} has outcomes of what it never scheduled")
        recorded = self._recorded(run_id)
        self._must(len(set(recorded)) == len(recorded), f"a local activity of {run_id} is recorded twice: {recorded}")
        terminated = [event for event in events if isinstance(event, WorkflowExecutionTerminated)]
        self._must(len(terminated) <= 1, f"run {run_id} was terminated twice")

    def about(self, run_id: str) -> list[str]:
        """A run, for a person who looks for what went wrong with it."""
        seen = self._seen
        events = [f"  {event.id:3} {type(event).__name__} {event.time_us}" for event in self.events.get(run_id, [])]
        return [
            *events[-12:],
            f"  {seen.runs.get(run_id)}",
            f"  alive: {sorted(seen.alive)}, clocks show up to {self._highest_us()}",
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


def _is_cancelled(failure: Failure | None) -> bool:
    cause = failure.cause if failure is not None else None
    return cause is not None and isinstance(cause.info, CanceledFailureInfo)


OF_THIS_PROCESS = (("durable_workers", "pid"), ("durable_workers", "host"))
READ_RUNS = f"SELECT {', '.join(RunRow._fields)} FROM durable_runs ORDER BY run_id"
READ_INBOX = "SELECT id, run_id, body, due_us FROM durable_inbox ORDER BY id"
READ_TASKS = "SELECT run_id, scheduled_event_id, owner, attempt, lost FROM durable_activity_tasks"
READ_ALIVE = "SELECT worker_id, renewed_us FROM durable_workers WHERE dead_us IS NULL"
READ_HISTORY = "SELECT rowid, run_id, first_id, count, data FROM durable_history WHERE rowid > ? ORDER BY rowid"
