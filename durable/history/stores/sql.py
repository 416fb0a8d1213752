"""The rows of every database: which columns are read, and the values that they become."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from durable.history import codec
from durable.history.errors import CorruptHistory
from durable.history.messages import MessageKind
from durable.history.stores.plan import HeldTask, TaskKey
from durable.history.stores.tables import activity_tasks, inbox, runs, workers
from durable.history.transition import (
    ActivityControl,
    ActivityProgress,
    ActivitySpec,
    ActivityTask,
    AttemptToken,
    RunInfo,
    StoredMessage,
    WorkerInfo,
)
from durable.history.values import RunStatus, WorkflowExecution

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
    activity_tasks.c.control,
    activity_tasks.c.priority,
)
HELD_COLUMNS = (
    activity_tasks.c.run_id,
    activity_tasks.c.scheduled_event_id,
    activity_tasks.c.owner,
    activity_tasks.c.attempt,
    activity_tasks.c.cancel_requested,
    activity_tasks.c.lost,
    activity_tasks.c.namespace,
    activity_tasks.c.workflow_task_queue,
    activity_tasks.c.control,
    activity_tasks.c.due_us,
)
WORKER_COLUMNS = tuple(workers.c)

STATUS = {int(status): status for status in RunStatus}
KIND = {int(kind): kind for kind in MessageKind}


UNREADABLE = ActivitySpec(activity_id="?", activity_type="?", workflow_id="?", workflow_type="?", scheduled_us=0)
"""The spec of a row that can't be read: no timeouts, and tried again for ever, later and later."""


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
        deaths=row[15],
        execution_us=row[16] or row[10],
        parent=_execution(row[17], row[18]),
        root=_execution(row[19], row[20]),
        memo=row[21],
        search_attributes=row[22],
        sort_keys=tuple(row[len(RUN_COLUMNS) :]),
    )


def _execution(workflow_id: str | None, run_id: str | None) -> WorkflowExecution | None:
    return None if workflow_id is None else WorkflowExecution(workflow_id=workflow_id, run_id=run_id or "")


def stored_message(row: Sequence[Any]) -> StoredMessage:
    """A row of `MESSAGE_COLUMNS`."""
    kind = KIND.get(row[1], MessageKind.UNKNOWN)
    return StoredMessage(id=row[0], kind=kind, body=row[2], due_us=row[3], key=row[4])


def activity_task(row: Sequence[Any]) -> ActivityTask:
    """A row of `TASK_COLUMNS`. One that can't be read must not keep others from being claimed with it."""
    spec, progress, control, unreadable = UNREADABLE, ActivityProgress(), ActivityControl(), ""
    try:
        progress, control = codec.decode_progress(row[10]), codec.decode_control(row[13])
        spec = codec.decode_spec(row[5])
    except CorruptHistory as error:
        unreadable = f"activity {row[1]} of run {row[0]}: {error}"
    return ActivityTask(
        run_id=row[0],
        scheduled_event_id=row[1],
        task_queue=row[2],
        workflow_task_queue=row[3],
        due_us=row[4],
        spec=spec,
        deadline_us=row[6],
        owner=row[7],
        attempt=row[8],
        started_us=row[9],
        progress=progress,
        cancel_requested=bool(row[11]),
        lost=bool(row[12]),
        control=control,
        unreadable=unreadable,
    )


def held_task(row: Sequence[Any]) -> tuple[TaskKey, HeldTask]:
    """A row of `HELD_COLUMNS`."""
    try:
        control = codec.decode_control(row[8])
    except CorruptHistory:
        control = ActivityControl()  # what nobody can read, nobody can follow
    return (row[0], row[1]), HeldTask(row[2], row[3], bool(row[4]), bool(row[5]), row[6], row[7], control, row[9])


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
    signed_us: int | None
    """The server that has its sign of life, see `postgres_signs`; None: that its sign is missing says nothing."""


def workers_with_booked(rows: Iterable[Sequence[Any]], worker_id: str) -> tuple[list[WorkerRow], list[AttemptToken]]:
    """Rows of `WORKER_COLUMNS`, and rows of attempts that are booked on this worker, behind as many empty columns."""
    found: list[WorkerRow] = []
    booked: list[AttemptToken] = []
    width = len(WORKER_COLUMNS)
    for row in rows:
        if row[0] is not None:
            found.append(WorkerRow(*row[:width]))
        else:
            run_id, event_id, attempt = row[width:]
            booked.append(AttemptToken(run_id=run_id, scheduled_event_id=event_id, owner=worker_id, attempt=attempt))
    return found, booked


def worker_row(worker: WorkerInfo, now_us: int) -> tuple[object, ...]:
    """A new worker, as a row of `WORKER_COLUMNS`."""
    facts = (worker.worker_id, worker.namespace, worker.identity, worker.host, worker.pid, worker.lease_us)
    return (*facts, now_us, now_us, None, None)
