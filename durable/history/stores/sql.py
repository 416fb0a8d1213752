"""The statements that every database speaks: compiled once from the tables, run on the driver itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Table,
    Text,
    bindparam,
    delete,
    false,
    func,
    insert,
    literal_column,
    null,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

from durable.history import codec
from durable.history.messages import HOLDS_OPEN, OUTLIVES, MessageKind
from durable.history.stores.tables import activity_tasks, history, inbox, replies, runs, workers
from durable.history.transition import ActivityTask, RunInfo, StoredMessage, WorkerInfo
from durable.history.values import RunStatus

Among = Callable[[ColumnElement[str] | ColumnElement[int], str], ColumnElement[bool]]
"""How a database says "this column is one of the values in that one parameter"."""

RUN_COLUMNS = tuple(runs.c)
MESSAGE_COLUMNS = (inbox.c.id, inbox.c.kind, inbox.c.body, inbox.c.due_us, inbox.c.key)
TASK_COLUMNS = (
    activity_tasks.c.run_id,
    activity_tasks.c.scheduled_event_id,
    activity_tasks.c.task_queue,
    activity_tasks.c.workflow_task_queue,
    activity_tasks.c.due_us,
    activity_tasks.c.spec,
    activity_tasks.c.deadline_us,
    activity_tasks.c.owner,
    activity_tasks.c.attempt,
    activity_tasks.c.started_us,
    activity_tasks.c.progress,
    activity_tasks.c.cancel_requested,
    activity_tasks.c.lost,
)
WORKER_COLUMNS = tuple(workers.c)

STATUS = {int(status): status for status in RunStatus}
KIND = {int(kind): kind for kind in MessageKind}


class Statements:
    """SQL texts with positional parameters; the comment at each one names them, in order."""

    def __init__(self, dialect: Dialect, among: Among) -> None:
        def text(statement: ClauseElement, *names: str) -> str:
            return compiled(statement, dialect, names)

        def every(table: Table) -> str:
            columns = [column.name for column in table.c if not (table is inbox and column.name == "id")]
            return text(insert(table).values({name: given(name) for name in columns}), *columns)

        run, message, task, worker = runs.c, inbox.c, activity_tasks.c, workers.c
        ns, queue, now = given("ns"), given("queue"), given("now")
        none = number(0)  # SQLAlchemy would write an offset of its own, as a parameter
        this_key = ("b_run", "b_event")
        this_task = (task.run_id == given("b_run"), task.scheduled_event_id == given("b_event"))

        # What commits read. ---------------------------------------------------------------------------------------
        self.runs_by_id = text(select(*RUN_COLUMNS).where(among(run.run_id, "ids")), "ids")
        self.runs_by_request = text(select(*RUN_COLUMNS).where(among(run.request_id, "ids")), "ids")
        self.messages_by_id = text(
            select(message.id, message.run_id, message.due_us).where(among(message.id, "ids")), "ids"
        )
        holds_open = message.kind.in_([number(kind) for kind in HOLDS_OPEN])
        self.unread = text(
            select(message.run_id, message.id).where(among(message.run_id, "ids"), message.due_us <= now, holds_open),
            "ids",
            "now",
        )
        self.alive = text(select(worker.worker_id).where(worker.dead_us.is_(None)))

        # What commits write. --------------------------------------------------------------------------------------
        self.insert_run = every(runs)
        self.insert_history = every(history)
        self.insert_message = every(inbox)
        self.insert_task = every(activity_tasks)
        self.insert_worker = every(workers)
        self.update_run = text(
            update(runs)
            .ordered_values(
                (run.owner, given("owner")),
                (run.last_event_id, given("last")),
                (run.history_bytes, given("size")),
                (run.status, given("status")),
                (run.closed_us, given("closed")),
                (run.parked, given("parked")),
            )
            .where(run.run_id == given("b_run")),
            *("owner", "last", "size", "status", "closed", "parked", "b_run"),
        )
        self.delete_message = text(delete(inbox).where(message.id == given("b_id")), "b_id")
        self.delete_timer = text(
            delete(inbox).where(
                message.run_id == given("b_run"),
                message.key == given("b_key"),
                message.key > number(0),
                message.kind == number(MessageKind.TIMER),
            ),
            *("b_run", "b_key"),
        )
        self.delete_inbox = text(
            delete(inbox).where(
                message.run_id == given("b_run"), message.kind.not_in([number(kind) for kind in OUTLIVES])
            ),
            "b_run",
        )
        self.delete_task = text(delete(activity_tasks).where(*this_task), *this_key)
        self.delete_tasks = text(delete(activity_tasks).where(task.run_id == given("b_run")), "b_run")
        self.task_owner = text(select(task.owner).where(*this_task), *this_key)
        self.ask_cancel = text(
            update(activity_tasks).values(cancel_requested=true()).where(*this_task), "b_run", "b_event"
        )
        self.beat = text(
            update(activity_tasks)
            .ordered_values((task.deadline_us, given("deadline")), (task.progress, given("progress")))
            .where(*this_task),
            *("deadline", "progress", *this_key),
        )
        self.retry = text(
            update(activity_tasks)
            .ordered_values(
                (task.attempt, given("attempt")),
                (task.due_us, given("due")),
                (task.deadline_us, given("deadline")),
                (task.progress, given("progress")),
                (task.owner, null()),
                (task.lost, false()),
                (task.started_us, number(0)),
            )
            .where(*this_task),
            *("attempt", "due", "deadline", "progress", *this_key),
        )

        # A reply is written once; a second one for the same question says the same.
        self.delete_reply = text(delete(replies).where(replies.c.id == given("b_id")), "b_id")
        self.insert_reply = every(replies)

        # Claims. --------------------------------------------------------------------------------------------------
        mine = (message.namespace == ns, message.task_queue == queue)
        self.due_messages = text(
            select(message.run_id, message.due_us, run.owner)
            .join(runs, run.run_id == message.run_id)
            .where(*mine, message.due_us >= given("since"), message.due_us <= now)
            .where(~among(message.run_id, "decided"))
            .order_by(message.due_us),
            *("ns", "queue", "since", "now", "decided"),
        )
        self.next_message = text(
            select(func.min(message.due_us)).where(*mine, message.due_us > now), *("ns", "queue", "now")
        )
        offered = (task.namespace == ns, task.task_queue == queue, task.owner.is_(None))
        in_time = task.deadline_us.is_(None) | (task.deadline_us > given("late"))
        self.due_tasks = text(
            select(*TASK_COLUMNS)
            .where(*offered, task.due_us <= now, in_time)
            .order_by(task.due_us)
            .limit(given("limit"))
            .offset(none),
            *("ns", "queue", "now", "late", "limit"),
        )
        self.next_task = text(select(func.min(task.due_us)).where(*offered, task.due_us > now), *("ns", "queue", "now"))
        watched = (task.namespace == ns, task.workflow_task_queue == queue)
        self.overdue_tasks = text(
            select(*TASK_COLUMNS)
            .where(*watched, task.deadline_us <= now)
            .order_by(task.deadline_us)
            .limit(given("limit"))
            .offset(none),
            *("ns", "queue", "now", "limit"),
        )
        self.next_deadline = text(
            select(func.min(task.deadline_us)).where(*watched, task.deadline_us > now), *("ns", "queue", "now")
        )
        self.cancelled_tasks = text(
            select(task.run_id, task.scheduled_event_id, task.attempt).where(
                task.owner == given("owner"), task.cancel_requested
            ),
            "owner",
        )
        self.take_run = text(
            update(runs).values(owner=given("owner")).where(run.run_id == given("b_run")), *("owner", "b_run")
        )
        self.take_task = text(
            update(activity_tasks)
            .ordered_values(
                (task.owner, given("owner")),
                (task.attempt, given("attempt")),
                (task.started_us, given("started")),
                (task.deadline_us, given("deadline")),
            )
            .where(*this_task),
            *("owner", "attempt", "started", "deadline", *this_key),
        )
        self.due_inbox = text(
            select(*MESSAGE_COLUMNS)
            .where(message.run_id == given("run"), message.due_us <= now)
            .order_by(message.id)
            .limit(given("limit"))
            .offset(none),
            *("run", "now", "limit"),
        )
        self.histories = text(
            select(history.c.run_id, history.c.data)
            .where(among(history.c.run_id, "ids"))
            .order_by(history.c.run_id, history.c.first_id),
            "ids",
        )

        # Workers. -------------------------------------------------------------------------------------------------
        this_worker = worker.worker_id == given("b_worker")
        self.workers = text(select(*WORKER_COLUMNS))
        self.renew = text(
            update(workers).values(renewed_us=given("renewed")).where(this_worker, worker.dead_us.is_(None)),
            *("renewed", "b_worker"),
        )
        self.declare_dead = text(
            update(workers)
            .values(dead_us=given("dead"))
            .where(this_worker, worker.dead_us.is_(None), worker.renewed_us == given("b_renewed")),
            *("dead", "b_worker", "b_renewed"),
        )
        self.free_runs = text(update(runs).values(owner=null()).where(run.owner == given("b_worker")), "b_worker")
        self.lose_tasks = text(
            update(activity_tasks)
            .ordered_values((task.lost, true()), (task.deadline_us, given("deadline")))
            .where(task.owner == given("b_worker")),
            *("deadline", "b_worker"),
        )
        self.booked = text(
            select(task.run_id, task.scheduled_event_id, task.attempt).where(task.owner == given("b_worker")),
            "b_worker",
        )
        self.held_tasks = text(select(*TASK_COLUMNS).where(task.owner == given("b_worker")), "b_worker")
        self.hand_back = text(
            update(activity_tasks)
            .ordered_values(
                (task.attempt, given("attempt")),
                (task.due_us, given("due")),
                (task.deadline_us, given("deadline")),
                (task.owner, null()),
                (task.started_us, number(0)),
            )
            .where(*this_task),
            *("attempt", "due", "deadline", *this_key),
        )
        self.release_worker = text(delete(workers).where(this_worker, worker.dead_us.is_(None)), "b_worker")
        self.forget_dead = text(delete(workers).where(worker.dead_us < given("before")), "before")
        self.forget_replies = text(delete(replies).where(replies.c.expires_us < given("before")), "before")
        parked = select(run.run_id).where(run.namespace == ns, run.task_queue == queue, run.parked.is_not(None))
        self.parked_due = text(
            select(message.id, message.run_id).where(
                message.run_id.in_(parked), message.kind == number(MessageKind.TASK_DUE), message.due_us > now
            ),
            *("ns", "queue", "now"),
        )
        self.set_due = text(
            update(inbox).values(due_us=given("due")).where(message.id == given("b_id")), *("due", "b_id")
        )

        # Reading. -------------------------------------------------------------------------------------------------
        of_workflow = (run.namespace == ns, run.workflow_id == given("workflow"))
        self.find_latest = text(
            select(*RUN_COLUMNS).where(*of_workflow).order_by(run.generation.desc()).limit(number(1)).offset(none),
            *("ns", "workflow"),
        )
        self.list_by_status = text(
            select(*RUN_COLUMNS)
            .where(run.namespace == ns, run.run_id < given("before"), run.status == given("status"))
            .order_by(run.run_id.desc())
            .limit(given("limit"))
            .offset(none),
            *("ns", "before", "status", "limit"),
        )
        # The index knows runs by status: seven short walks, merged, need no other one.
        of_status = [
            select(run.run_id).where(
                run.namespace == given(f"ns{status}"),
                run.status == number(status),
                run.run_id < given(f"before{status}"),
            )
            for status in STATUS
        ]
        last_first = literal_column("run_id", Text()).desc()
        newest = union_all(*of_status).order_by(last_first).limit(given("limit")).offset(none)
        self.list_runs = text(
            select(*RUN_COLUMNS).where(run.run_id.in_(newest)).order_by(run.run_id.desc()),
            *(name for status in STATUS for name in (f"ns{status}", f"before{status}")),
            "limit",
        )
        earlier = history.alias()
        first_row = select(func.max(earlier.c.first_id)).where(
            earlier.c.run_id == given("run2"), earlier.c.first_id <= given("next2")
        )
        self.history = text(
            select(history.c.data)
            .where(
                history.c.run_id == given("run"),
                history.c.first_id >= func.coalesce(first_row.scalar_subquery(), number(0)),
                history.c.first_id + history.c.count > given("next"),
            )
            .order_by(history.c.first_id),
            *("run", "run2", "next2", "next"),
        )
        self.inbox = text(select(*MESSAGE_COLUMNS).where(message.run_id == given("run")).order_by(message.id), "run")
        self.tasks = text(
            select(*TASK_COLUMNS).where(task.run_id == given("run")).order_by(task.scheduled_event_id), "run"
        )
        self.replies = text(select(replies.c.id, replies.c.body).where(among(replies.c.id, "ids")), "ids")


def compiled(statement: ClauseElement, dialect: Dialect, names: Sequence[str]) -> str:
    """The text of a statement whose positional parameters are ``names``, in this order."""
    compiler = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    assert isinstance(compiler, SQLCompiler)
    taken = tuple(compiler.positiontup or ())
    constants = {name: value for name, value in compiler.params.items() if name not in names}
    if constants:
        raise ValueError(f"constants {constants} would have to be parameters: {compiler}")
    if taken != tuple(names):
        raise ValueError(f"parameters are {taken}, not {tuple(names)}: {compiler}")
    return str(compiler)


def given(name: str) -> BindParameter[Any]:
    """A parameter."""
    return bindparam(name)


def number(value: int) -> ColumnElement[int]:
    """A constant, written into the statement."""
    return literal_column(str(int(value)), BigInteger())


def run_info(row: Sequence[Any]) -> RunInfo:
    """A row of `RUN_COLUMNS`."""
    return RunInfo(
        run_id=row[0],
        namespace=row[1],
        workflow_id=row[2],
        generation=row[3],
        workflow_type=row[4],
        task_queue=row[5],
        status=STATUS[row[6]],
        owner=row[7],
        last_event_id=row[8],
        history_bytes=row[9],
        started_us=row[10],
        closed_us=row[11],
        first_execution_run_id=row[12],
        request_id=row[13],
        parked=row[14],
    )


def stored_message(row: Sequence[Any]) -> StoredMessage:
    """A row of `MESSAGE_COLUMNS`."""
    return StoredMessage(id=row[0], kind=KIND[row[1]], body=row[2], due_us=row[3], key=row[4])


def activity_task(row: Sequence[Any]) -> ActivityTask:
    """A row of `TASK_COLUMNS`."""
    return ActivityTask(
        run_id=row[0],
        scheduled_event_id=row[1],
        task_queue=row[2],
        workflow_task_queue=row[3],
        due_us=row[4],
        spec=codec.decode_spec(row[5]),
        deadline_us=row[6],
        owner=row[7],
        attempt=row[8],
        started_us=row[9],
        progress=codec.decode_progress(row[10]),
        cancel_requested=bool(row[11]),
        lost=bool(row[12]),
    )


class WorkerRow(msgspec.Struct, frozen=True):
    """A row of `WORKER_COLUMNS`."""

    worker_id: str
    namespace: str
    identity: str
    host: str
    pid: int
    lease_us: int
    started_us: int
    renewed_us: int
    dead_us: int | None


def worker_row(worker: WorkerInfo, now_us: int) -> tuple[object, ...]:
    """A new worker, as a row of `WORKER_COLUMNS`."""
    facts = (worker.worker_id, worker.namespace, worker.identity, worker.host, worker.pid, worker.lease_us)
    return (*facts, now_us, now_us, None)
