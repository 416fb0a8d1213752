"""The store that is a SQLite file: one writer lane, one for renewing leases, one for reading.

The pure part of a commit is in `plan`, the statements are in `sql`; here is only what SQLite does its own way.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Text, bindparam, func, select
from sqlalchemy.dialects import sqlite as dialects

from durable.history import attempts
from durable.history.errors import WorkerDead
from durable.history.host import Host, Lane, Machine
from durable.history.stores import plan, signs
from durable.history.stores.sql import (
    RUN_COLUMNS,
    Statements,
    WorkerRow,
    activity_task,
    run_info,
    stored_message,
    worker_row,
)
from durable.history.stores.sqlite_file import READ_PULSE, Connection, Counters, explained, prepare
from durable.history.stores.tables import activity_tasks, runs
from durable.history.transition import (
    ActivityReport,
    ActivityTask,
    AttemptToken,
    Beat,
    Claim,
    Claimed,
    ClaimedRun,
    Committed,
    Outcome,
    Refusal,
    Refused,
    Renewal,
    RunInfo,
    Send,
    StoredMessage,
    Transition,
    WorkerInfo,
    Write,
)
from durable.history.values import RunStatus

T = TypeVar("T")
Indexed = tuple[int, Write]

BAD_DATA = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    TypeError,
    ValueError,
)
"""What SQLite and its driver raise when a value is at fault, and not the database."""

OVERDUE_MAX = 1000
KEEP_DEAD_US = 3600 * 1_000_000
REPLIES_SWEPT_EVERY = 60
CLOCK_ERROR_US = 20_000


def _among(column: ColumnElement[str] | ColumnElement[int], name: str) -> ColumnElement[bool]:
    each = func.json_each(bindparam(name, type_=Text())).table_valued("value")
    return column.in_(select(each.c.value))


class SqliteStatements(Statements):
    """What only SQLite is asked, beside what every database is."""

    def __init__(self) -> None:
        super().__init__(dialects.dialect(paramstyle="qmark"), _among)
        run_columns = ", ".join(f"r.{column.name}" for column in RUN_COLUMNS)
        # CROSS JOIN makes SQLite begin with the short list of what is wanted.
        self.latest_runs = (
            f"SELECT {run_columns} FROM json_each(?1) AS wanted CROSS JOIN {runs.name} AS r "
            "ON r.namespace = ?2 AND r.workflow_id = wanted.value AND r.generation = "
            f"(SELECT max(o.generation) FROM {runs.name} AS o WHERE o.namespace = ?2 AND o.workflow_id = wanted.value)"
        )
        self.held_by_key = (
            "SELECT t.run_id, t.scheduled_event_id, t.owner, t.attempt, t.cancel_requested, t.namespace, "
            f"t.workflow_task_queue FROM json_each(?1) AS wanted CROSS JOIN {activity_tasks.name} AS t "
            "ON t.run_id = json_extract(wanted.value, '$[0]') "
            "AND t.scheduled_event_id = json_extract(wanted.value, '$[1]')"
        )
        self.wall_clock_us = "SELECT CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) * 1000"


@cache
def statements() -> SqliteStatements:
    """They are compiled when the first store is made."""
    return SqliteStatements()


class SqliteStore:
    """Runs in a SQLite file; ``path`` None: in a temporary one, fast, gone when the store is closed."""

    def __init__(
        self, path: str | None, host: Host, *, steal_after_us: int = 10_000_000, busy_timeout_s: float = 10.0
    ) -> None:
        self.counters = Counters()
        """What the database was asked by the writer lane: commits, and the statements of commits and claims."""
        self._host = host
        self._steal_after_us = steal_after_us
        self._busy_timeout_s = busy_timeout_s
        self._named = None if path is None else Path(path)
        self._sql = statements()
        self._signs: dict[str, signs.Sign] = {}
        self._renewals: dict[str, deque[int]] = {}
        self._sweeps = 0

    # Opening and closing. -----------------------------------------------------------------------------------------

    async def __aenter__(self) -> SqliteStore:
        self._lanes: list[Lane] = [self._host.lane(f"durable-{name}") for name in ("writer", "renewal", "reader")]
        self._writing, self._renewing, self._reading = self._lanes
        self._connections: list[Connection] = []
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        try:
            await self._writing.run(self._open)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        lanes, self._lanes = self._lanes, []
        for lane in reversed(lanes):
            await lane.run(_nothing)  # what was handed over before is done now
        if lanes:
            await lanes[0].run(self._close)
        for lane in lanes:
            lane.close()

    def _open(self) -> None:
        synchronous = "FULL"
        if self._named is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="durable-")
            path, synchronous = Path(self._temporary.name) / "durable.db", "OFF"
        else:
            path = self._named.absolute()
        self._sign_directory = Path(f"{path}-workers")
        prepare(path, synchronous=synchronous, busy_timeout_s=self._busy_timeout_s)
        self._db = self._connect(path, self.counters, synchronous)
        self._lease_db = self._connect(path, Counters(), synchronous)
        self._read_db = self._connect(path, Counters(), synchronous, read_only=True)
        self._watch_db = self._connect(path, Counters(), synchronous, read_only=True)
        self._version = self._data_version()
        self._foreign: int = self._watch_db.one(READ_PULSE)

    def _connect(self, path: Path, counters: Counters, synchronous: str, *, read_only: bool = False) -> Connection:
        connection = Connection(
            path, counters, synchronous=synchronous, busy_timeout_s=self._busy_timeout_s, read_only=read_only
        )
        self._connections.append(connection)
        return connection

    def _close(self) -> None:
        for sign in self._signs.values():
            sign.close()
        self._signs.clear()
        while self._connections:
            self._connections.pop().close()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def now_us(self) -> int:
        return self._host.now_us()

    def new_id(self) -> str:
        return self._host.uuid7()

    # Commit. ------------------------------------------------------------------------------------------------------

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        if not writes:
            return []
        return await self._writing.run(lambda: self._commit(writes))

    def _commit(self, writes: Sequence[Write]) -> list[Outcome]:
        # Transitions, then reports, then sends: as if they had come in this order, whatever a bisection does.
        ordered = sorted(enumerate(writes), key=_turn)
        outcomes: dict[int, Outcome] = {}
        with self._db.writing():
            self._apply(ordered, outcomes)
            if any(_concerns_others(write, outcomes[place]) for place, write in ordered):
                self._db.add_pulse()
        return [outcomes[place] for place in range(len(writes))]

    def _apply(self, writes: Sequence[Indexed], outcomes: dict[int, Outcome]) -> None:
        """Write all that hold; a data error halves the batch, until its culprit is alone."""
        db = self._db
        db.read("SAVEPOINT batch")
        try:
            self._write_all(writes, outcomes)
        except BAD_DATA as error:
            db.read("ROLLBACK TO batch")
            db.read("RELEASE batch")
            if len(writes) == 1:
                outcomes[writes[0][0]] = Refused(reason=Refusal.INVALID, detail=f"{type(error).__name__}: {error}")
                return
            middle = len(writes) // 2
            self._apply(writes[:middle], outcomes)
            self._apply(writes[middle:], outcomes)
        else:
            db.read("RELEASE batch")

    def _write_all(self, writes: Sequence[Indexed], outcomes: dict[int, Outcome]) -> None:
        transitions = [(place, write) for place, write in writes if isinstance(write, Transition)]
        reports = [(place, write) for place, write in writes if isinstance(write, ActivityReport)]
        sends = [(place, write) for place, write in writes if isinstance(write, Send)]
        if transitions:
            outcomes.update(_answers(transitions, self._write_transitions([write for _, write in transitions])))
        if reports:
            outcomes.update(_answers(reports, self._write_reports([write for _, write in reports])))
        if sends:
            outcomes.update(_answers(sends, self._write_sends([write for _, write in sends])))

    def _write_transitions(self, transitions: Sequence[Transition]) -> list[Outcome]:
        outcomes, rows = plan.decide(transitions, self._see(plan.needs(transitions)))
        db, sql = self._db, self._sql
        db.write_many(sql.update_run, rows.moved_runs)
        db.write_many(sql.insert_run, rows.new_runs)
        db.write_many(sql.insert_history, rows.history)
        db.write_many(sql.delete_message, rows.consumed)
        db.write_many(sql.delete_task, rows.finished)
        db.write_many(sql.delete_inbox, rows.closed)
        db.write_many(sql.delete_tasks, rows.closed)
        db.write_many(sql.delete_timer, rows.timers)
        db.write_many(sql.insert_task, rows.tasks)
        for run, run_id, scheduled_event_id, outcome in rows.cancels:
            held = db.read(sql.task_owner, (run_id, scheduled_event_id)).fetchone()
            if held is None:
                continue  # it is over: its outcome is in the inbox, or in this very transition
            if held[0] is not None:
                db.write(sql.ask_cancel, (run_id, scheduled_event_id))
            else:
                db.write(sql.delete_task, (run_id, scheduled_event_id))
                rows.messages.append(plan.message_row(outcome, run.namespace, run.task_queue, run_id))
        db.write_many(sql.insert_message, rows.messages)
        db.write_many(sql.delete_reply, [row[:1] for row in rows.replies])
        db.write_many(sql.insert_reply, rows.replies)
        return outcomes

    def _see(self, wanted: plan.Needs) -> plan.Seen:
        db, sql = self._db, self._sql
        seen = plan.Seen(now_us=self.now_us())
        if wanted.runs:
            seen.runs = self._runs_by_id(db, wanted.runs)
        for namespace, workflow_ids in wanted.starts.items():
            for row in db.read(sql.latest_runs, (_listed(workflow_ids), namespace)):
                seen.latest[namespace, row[2]] = run_info(row)
        if wanted.requests:
            for run in map(run_info, db.read(sql.runs_by_request, (_listed(wanted.requests),))):
                seen.requests[run.namespace, run.workflow_id, run.request_id] = run
        if wanted.messages:
            for message_id, run_id, due_us in db.read(sql.messages_by_id, (_listed(wanted.messages),)):
                seen.messages[message_id] = (run_id, due_us)
        if wanted.attempts:
            held = self._held(wanted.attempts)
            seen.attempts = {key: (task.owner, task.attempt) for key, task in held.items()}
        if wanted.closing:
            for run_id, message_id in db.read(sql.unread, (_listed(wanted.closing), seen.now_us)):
                seen.unread.setdefault(run_id, []).append(message_id)
        if wanted.workers:
            seen.alive = self._alive()
        return seen

    def _write_reports(self, reports: Sequence[ActivityReport]) -> list[Outcome]:
        db, sql = self._db, self._sql
        keys = [(report.token.run_id, report.token.scheduled_event_id) for report in reports]
        outcomes, rows = plan.decide_reports(reports, self._held(keys), self.now_us())
        db.write_many(sql.beat, rows.beats)
        db.write_many(sql.retry, rows.retries)
        db.write_many(sql.delete_task, rows.finished)
        db.write_many(sql.insert_message, rows.messages)
        return outcomes

    def _write_sends(self, sends: Sequence[Send]) -> list[Outcome]:
        named = self._runs_by_id(self._db, [send.run_id for send in sends if send.run_id is not None])
        latest: dict[tuple[str, str], RunInfo] = {}
        by_namespace: dict[str, list[str]] = {}
        for send in sends:
            if send.run_id is None:
                by_namespace.setdefault(send.namespace, []).append(send.workflow_id)
        for namespace, workflow_ids in by_namespace.items():
            for row in self._db.read(self._sql.latest_runs, (_listed(workflow_ids), namespace)):
                latest[namespace, row[2]] = run_info(row)
        outcomes: list[Outcome] = []
        rows: list[plan.Row] = []
        for send in sends:
            key = (send.namespace, send.workflow_id)
            run = latest.get(key) if send.run_id is None else named.get(send.run_id)
            verdict = plan.decide_send(send, run)
            if isinstance(verdict, tuple):
                rows.append(verdict)
                verdict = Committed(run_id=str(verdict[2]))
            outcomes.append(verdict)
        self._db.write_many(self._sql.insert_message, rows)
        return outcomes

    def _held(self, keys: Sequence[plan.TaskKey]) -> dict[plan.TaskKey, plan.HeldTask]:
        rows = self._db.read(self._sql.held_by_key, (_listed(keys),))
        return {
            (run_id, event_id): plan.HeldTask(owner, attempt, bool(cancel_requested), namespace, queue)
            for run_id, event_id, owner, attempt, cancel_requested, namespace, queue in rows
        }

    def _runs_by_id(self, db: Connection, run_ids: Sequence[str]) -> dict[str, RunInfo]:
        if not run_ids:
            return {}
        return {row[0]: run_info(row) for row in db.read(self._sql.runs_by_id, (_listed(run_ids),))}

    def _alive(self) -> set[str]:
        return {row[0] for row in self._db.read(self._sql.alive)}

    # Claim. -------------------------------------------------------------------------------------------------------

    async def claim(self, claim: Claim) -> Claimed:
        return await self._writing.run(lambda: self._claim(claim))

    def _claim(self, claim: Claim) -> Claimed:
        """Look first, without a write transaction; begin one only when there is something to take."""
        db = self._db
        with db.reading():
            found = self._look(claim)
            if not found.not_mine and not found.tasks:
                return self._load(claim, found, [])
        with db.writing():
            found = self._look(claim)
            db.write_many(self._sql.take_run, [(claim.worker_id, run_id) for run_id in found.not_mine])
            begun = [attempts.begun(activity_task(row), claim.worker_id, found.now_us) for row in found.tasks]
            db.write_many(self._sql.take_task, [_taken(task) for task in begun])
        with db.reading():
            return self._load(claim, found, begun)

    def _look(self, claim: Claim) -> _Found:
        found = _Found(now_us=self.now_us(), alive=self._alive())
        if claim.worker_id not in found.alive:
            raise WorkerDead(
                f"worker {claim.worker_id} is not among the living any more: another worker has declared it dead, or "
                "it has handed everything back; drop all that it holds and register a new one"
            )
        for queue in claim.workflow_queues:
            self._look_for_runs(claim, queue, found)
        for queue in claim.activity_queues:
            self._look_for_tasks(claim, queue, found)
        return found

    def _look_for_runs(self, claim: Claim, queue: str, found: _Found) -> None:
        """Due messages, oldest first, for as long as runs are wanted: what is not wanted is not read."""
        now_us, seen = found.now_us, found.run_ids
        rows = self._db.read(self._sql.due_messages, (claim.namespace, queue, now_us))
        for run_id, due_us, owner in rows:
            if run_id in seen:
                continue
            if run_id in claim.busy:
                found.busy[run_id] = None
                continue
            steal_us = due_us + self._steal_after_us
            if owner is not None and owner != claim.worker_id and owner in found.alive and steal_us > now_us:
                found.later_us.append(steal_us)
                continue
            if len(seen) >= claim.max_runs:
                found.more = claim.max_runs > 0  # who has no room at all need not ask again at once
                break
            seen[run_id] = None
            if owner != claim.worker_id:
                found.not_mine.append(run_id)
        rows.close()

    def _look_for_tasks(self, claim: Claim, queue: str, found: _Found) -> None:
        room = claim.max_activities - len(found.tasks)
        if room <= 0:
            return
        now_us = found.now_us
        values = (claim.namespace, queue, now_us, now_us, room + 1)
        rows = self._db.read(self._sql.due_tasks, values).fetchall()
        found.tasks.extend(rows[:room])
        found.more = found.more or len(rows) > room

    def _load(self, claim: Claim, found: _Found, begun: list[ActivityTask]) -> Claimed:
        overdue: list[ActivityTask] = []
        for queue in claim.workflow_queues:
            values = (claim.namespace, queue, found.now_us, OVERDUE_MAX)
            overdue.extend(map(activity_task, self._db.read(self._sql.overdue_tasks, values)))
        cancelled = self._tokens(self._db, self._sql.cancelled_tasks, claim.worker_id)
        claimed_runs = self._load_runs(claim, found)
        return Claimed(
            runs=claimed_runs,
            activities=begun,
            overdue=overdue,
            cancelled=cancelled,
            waiting=list(found.busy),
            next_due_us=self._next_due_us(claim, found),
            more=found.more or len(overdue) >= OVERDUE_MAX,
        )

    def _load_runs(self, claim: Claim, found: _Found) -> list[ClaimedRun]:
        if not found.run_ids:
            return []
        rows = self._runs_by_id(self._db, list(found.run_ids))
        mine = [rows[run_id] for run_id in found.run_ids if run_id in rows and rows[run_id].owner == claim.worker_id]
        unknown = [run.run_id for run in mine if claim.cached.get(run.run_id) != run.last_event_id]
        histories: dict[str, list[bytes]] = {run_id: [] for run_id in unknown}
        if unknown:
            for run_id, data in self._db.read(self._sql.histories, (_listed(unknown),)):
                histories[run_id].append(data)
        loaded: list[ClaimedRun] = []
        for run in mine:
            values = (run.run_id, found.now_us, claim.max_messages_per_run)
            messages = [stored_message(row) for row in self._db.read(self._sql.due_inbox, values)]
            if messages:
                loaded.append(ClaimedRun(run=run, messages=messages, history=histories.get(run.run_id)))
        return loaded

    def _next_due_us(self, claim: Claim, found: _Found) -> int | None:
        sql, later = self._sql, found.later_us
        asked = [(sql.next_message, queue) for queue in claim.workflow_queues]
        asked += [(sql.next_deadline, queue) for queue in claim.workflow_queues]
        asked += [(sql.next_task, queue) for queue in claim.activity_queues]
        for statement, queue in asked:
            due_us = self._db.one(statement, (claim.namespace, queue, found.now_us))
            if due_us is not None:
                later.append(due_us)
        return min(later, default=None)

    def _tokens(self, db: Connection, statement: str, worker_id: str) -> list[AttemptToken]:
        return [
            AttemptToken(run_id=run_id, scheduled_event_id=event_id, owner=worker_id, attempt=attempt)
            for run_id, event_id, attempt in db.read(statement, (worker_id,))
        ]

    # Workers. -----------------------------------------------------------------------------------------------------

    async def register(self, worker: WorkerInfo) -> None:
        await self._renewing.run(lambda: self._register(worker))

    def _register(self, worker: WorkerInfo) -> None:
        self._measure_time()
        try:
            with explained(self._lease_db.path):
                sign = signs.Sign(self._sign_directory, worker.worker_id)
        except BlockingIOError as error:
            raise _taken_id(worker) from error
        now_us = self.now_us()
        try:
            with self._lease_db.writing():
                self._lease_db.write(self._sql.insert_worker, worker_row(worker, now_us))
        except sqlite3.IntegrityError as error:
            sign.close()
            raise _taken_id(worker) from error
        except BaseException:
            sign.remove()
            raise
        self._signs[worker.worker_id] = sign
        self._renewals[worker.worker_id] = deque([now_us], maxlen=2)
        self._bury(worker, [row for row in self._workers() if self._is_gone(worker, row)])

    async def renew(self, worker: WorkerInfo) -> Renewal:
        return await self._renewing.run(lambda: self._renew(worker))

    def _renew(self, worker: WorkerInfo) -> Renewal:
        self._measure_time()
        db, now_us = self._lease_db, self.now_us()
        if not db.write_alone(self._sql.renew, (now_us, worker.worker_id)):
            return Renewal(alive=False, attempts=[], died=[])
        on_time = self._on_time(worker)
        with explained(db.path):
            rows = self._workers()
            booked = self._tokens(db, self._sql.booked, worker.worker_id)
        # A process that is gone is gone; that a lease has run out may be this worker's own fault.
        late = [row for row in rows if on_time and row.renewed_us + row.lease_us < now_us]
        died = self._bury(worker, [row for row in rows if row in late or self._is_gone(worker, row)])
        self._sweep(rows, now_us)
        return Renewal(alive=True, attempts=booked, died=died)

    def _on_time(self, worker: WorkerInfo) -> bool:
        """Were the last two renewals of this worker, this one among them, on time?"""
        past = self._renewals.setdefault(worker.worker_id, deque(maxlen=2))
        now_us = self.now_us()
        times = [*past, now_us]
        past.append(now_us)
        gaps = [later - earlier for earlier, later in pairwise(times)]
        return len(gaps) == 2 and all(0 <= gap <= worker.lease_us // 2 for gap in gaps)

    def _workers(self) -> list[WorkerRow]:
        return [WorkerRow(*row) for row in self._lease_db.read(self._sql.workers)]

    def _is_gone(self, worker: WorkerInfo, row: WorkerRow) -> bool:
        same_host = row.dead_us is None and row.host == worker.host and row.worker_id != worker.worker_id
        return same_host and row.worker_id not in self._signs and signs.is_gone(self._sign_directory, row.worker_id)

    def _bury(self, worker: WorkerInfo, rows: Iterable[WorkerRow]) -> list[str]:
        """Declare workers dead, each only if it has not renewed since it was read; who is."""
        died: list[str] = []
        for row in rows:
            if row.dead_us is None and row.worker_id != worker.worker_id and self._declare_dead(row):
                died.append(row.worker_id)
        return died

    def _declare_dead(self, row: WorkerRow) -> bool:
        db, now_us = self._lease_db, self.now_us()
        with db.writing():
            if not db.write(self._sql.declare_dead, (now_us, row.worker_id, row.renewed_us)):
                return False
            db.write(self._sql.free_runs, (row.worker_id,))
            db.write(self._sql.lose_tasks, (now_us, row.worker_id))
            db.add_pulse()
        with explained(db.path):
            signs.forget(self._sign_directory, row.worker_id)
        return True

    def _sweep(self, rows: Iterable[WorkerRow], now_us: int) -> None:
        """Remove what is kept for a while only: the dead, and answers that nobody fetched."""
        self._sweeps += 1
        before_us = now_us - KEEP_DEAD_US
        if any(row.dead_us is not None and row.dead_us < before_us for row in rows):
            self._lease_db.write_alone(self._sql.forget_dead, (before_us,))
        if self._sweeps % REPLIES_SWEPT_EVERY == 0:
            self._lease_db.write_alone(self._sql.forget_replies, (now_us,))

    def _measure_time(self) -> None:
        """The wall clock is the same for all processes of this machine, also after it was set, or slept.

        A Machine's clock goes on from what it once read; so it is set right before each renewal.
        """
        if isinstance(self._host, Machine):
            with explained(self._lease_db.path):
                wall_us: int = self._lease_db.one(self._sql.wall_clock_us)
            if abs(wall_us - self._host.now_us()) > CLOCK_ERROR_US:
                self._host.adjust(wall_us)

    async def release(self, worker_id: str) -> None:
        await self._renewing.run(lambda: self._release(worker_id))

    def _release(self, worker_id: str) -> None:
        db, now_us = self._lease_db, self.now_us()
        with db.writing():
            tasks = [activity_task(row) for row in db.read(self._sql.held_tasks, (worker_id,))]
            back = [(task, attempts.handed_back(task, now_us)) for task in tasks if not task.lost]
            db.write_many(
                self._sql.hand_back,
                [
                    (again.attempt, again.due_us, again.deadline_us, task.run_id, task.scheduled_event_id)
                    for task, again in back
                ],
            )
            db.write(self._sql.free_runs, (worker_id,))
            db.write(self._sql.release_worker, (worker_id,))
            db.add_pulse()
        self._renewals.pop(worker_id, None)
        sign = self._signs.pop(worker_id, None)
        if sign is not None:
            sign.remove()

    async def unpark(self, namespace: str, task_queues: Sequence[str]) -> int:
        return await self._writing.run(lambda: self._unpark(namespace, task_queues))

    def _unpark(self, namespace: str, task_queues: Sequence[str]) -> int:
        db, now_us = self._db, self.now_us()
        unparked: set[str] = set()
        with db.writing():
            for queue in task_queues:
                waiting = db.read(self._sql.parked_due, (namespace, queue, now_us)).fetchall()
                unparked.update(run_id for _, run_id in waiting)
                db.write_many(self._sql.set_due, [(now_us, message_id) for message_id, _ in waiting])
            if unparked:
                db.add_pulse()
        return len(unparked)

    # Reading. -----------------------------------------------------------------------------------------------------

    def changed(self) -> bool:
        """Tells of commits that matter to whoever polls; a renewed lease does not."""
        with explained(self._watch_db.path):
            version = self._data_version()
            if version == self._version:
                return False
            done = self._db.pulses_done + self._lease_db.pulses_done
            pulses: int = self._watch_db.one(READ_PULSE)
            begun = self._db.pulses_begun + self._lease_db.pulses_begun
        if pulses - begun <= self._foreign <= pulses - done:
            # What came may be all our own. While a commit of ours is under way that is not certain: look again then.
            if begun == done:
                self._version = version
            return False
        self._version, self._foreign = version, pulses - done
        return True

    def _data_version(self) -> int:
        return int(self._watch_db.one("PRAGMA data_version"))

    async def _read(self, work: Callable[[Connection], T]) -> T:
        def explaining() -> T:
            with explained(self._read_db.path):
                return work(self._read_db)

        return await self._reading.run(explaining)

    async def find(self, namespace: str, workflow_id: str, run_id: str | None = None) -> RunInfo | None:
        def work(db: Connection) -> RunInfo | None:
            if run_id is None:
                row = db.read(self._sql.find_latest, (namespace, workflow_id)).fetchone()
                return None if row is None else run_info(row)
            run = self._runs_by_id(db, [run_id]).get(run_id)
            return run if run and run.namespace == namespace and workflow_id in ("", run.workflow_id) else None

        try:
            return await self._read(work)
        except UnicodeEncodeError:
            return None  # a lone surrogate: no database holds such an id

    async def runs(self, run_ids: Sequence[str]) -> list[RunInfo]:
        return await self._read(lambda db: list(self._runs_by_id(db, run_ids).values()))

    async def list_runs(
        self, namespace: str, *, status: RunStatus | None = None, limit: int = 1000, before: str | None = None
    ) -> list[RunInfo]:
        end = "\U0010ffff" if before is None else before
        statement, values = self._sql.list_runs, [namespace, end, limit]
        if status is not None:
            statement, values = self._sql.list_by_status, [namespace, end, int(status), limit]
        return await self._read(lambda db: [run_info(row) for row in db.read(statement, values)])

    async def history(self, run_id: str, after: int = 0) -> list[bytes]:
        values = (run_id, run_id, after + 1, after + 1)
        return await self._read(lambda db: [row[0] for row in db.read(self._sql.history, values)])

    async def inbox(self, run_id: str) -> list[StoredMessage]:
        return await self._read(lambda db: [stored_message(row) for row in db.read(self._sql.inbox, (run_id,))])

    async def tasks(self, run_id: str) -> list[ActivityTask]:
        return await self._read(lambda db: [activity_task(row) for row in db.read(self._sql.tasks, (run_id,))])

    async def replies(self, ids: Sequence[str]) -> dict[str, bytes]:
        return await self._read(lambda db: dict(db.read(self._sql.replies, (_listed(ids),)).fetchall()))


class _Found:
    """What a claim may take: run ids in order, those of them that are not the claimer's yet, rows of tasks."""

    def __init__(self, *, now_us: int, alive: set[str]) -> None:
        self.now_us = now_us
        self.alive = alive
        self.run_ids: dict[str, None] = {}
        self.not_mine: list[str] = []
        self.busy: dict[str, None] = {}
        self.tasks: list[Sequence[Any]] = []
        self.later_us: list[int] = []
        self.more = False


def _nothing() -> None:
    """What a lane does after all that was handed over before."""


def _taken_id(worker: WorkerInfo) -> ValueError:
    return ValueError(f"worker id {worker.worker_id} is taken: every start of a worker needs a new id")


def _listed(values: Sequence[object]) -> str:
    """Many values as one parameter."""
    return msgspec.json.encode(values).decode()


def _turn(write: Indexed) -> int:
    match write[1]:
        case Transition():
            return 0
        case ActivityReport():
            return 1
        case Send():
            return 2


def _answers(writes: Sequence[tuple[int, Write]], outcomes: Sequence[Outcome]) -> Iterable[tuple[int, Outcome]]:
    return zip((place for place, _ in writes), outcomes, strict=True)


def _concerns_others(write: Write, outcome: Outcome) -> bool:
    """Is it written, and more than a heartbeat?"""
    if not isinstance(outcome, Committed) or outcome.existing:
        return False
    return not (isinstance(write, ActivityReport) and isinstance(write.what, Beat))


def _taken(task: ActivityTask) -> plan.Row:
    return (task.owner, task.attempt, task.started_us, task.deadline_us, task.run_id, task.scheduled_event_id)
