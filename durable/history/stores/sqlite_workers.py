"""The workers of a SQLite file: their leases and signs of life, how they are declared dead, what they hand back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from durable.history.host import Host
from durable.history.stores import plan, signs
from durable.history.stores.punctuality import Renewals, is_late
from durable.history.stores.sql import WorkerRow, activity_task, worker_row, workers_with_booked
from durable.history.stores.sqlite_file import Connection, explained
from durable.history.stores.sqlite_sql import statements
from durable.history.transition import Renewal, WorkerInfo

KEEP_DEAD_US = 3600 * 1_000_000
REPLIES_SWEPT_EVERY = 60


class Workers:
    """What the renewal lane does, on a connection of its own."""

    def __init__(self, db: Connection, host: Host) -> None:
        self._db = db
        self._host = host
        self._sql = statements().workers
        self._sign_directory = Path(f"{db.path}-workers")
        self._signs: dict[str, signs.Sign] = {}
        self._renewals = Renewals()
        self._sweeps = 0

    def close(self) -> None:
        for sign in self._signs.values():
            sign.close()
        self._signs.clear()

    def register(self, worker: WorkerInfo) -> None:
        self._host.measure_time()
        try:
            with explained(self._db.path):
                sign = signs.Sign(self._sign_directory, worker.worker_id)
        except BlockingIOError as error:
            raise _taken_id(worker) from error
        now_us = self._host.now_us()
        try:
            with self._db.writing():
                self._db.write(self._sql.insert_worker, worker_row(worker, now_us))
        except sqlite3.IntegrityError as error:
            sign.close()
            raise _taken_id(worker) from error
        except BaseException:
            sign.remove()
            raise
        self._signs[worker.worker_id] = sign
        self._renewals.begin(worker.worker_id, now_us)
        self._bury(worker, [row for row in self._rows() if self._is_gone(worker, row)])

    def renew(self, worker: WorkerInfo) -> Renewal:
        self._host.measure_time()
        db, now_us = self._db, self._host.now_us()
        if not db.write_alone(self._sql.renew, (now_us, worker.worker_id)):
            return Renewal(alive=False, attempts=[], died=[])
        # A process that is gone is gone; that a lease has run out may be this worker's own fault.
        on_time = self._renewals.are_on_time(worker, self._host.now_us())
        with explained(db.path):
            found = db.read(self._sql.with_booked, (worker.worker_id,))
            rows, booked = workers_with_booked(found, worker.worker_id)
        died = self._bury(
            worker, [row for row in rows if (on_time and is_late(row, now_us)) or self._is_gone(worker, row)]
        )
        self._sweep(rows, now_us)
        return Renewal(alive=True, attempts=booked, died=died)

    def release(self, worker_id: str) -> None:
        """Hand all back with one transaction."""
        db, now_us = self._db, self._host.now_us()
        with db.writing():
            tasks = [activity_task(row) for row in db.read(self._sql.held_tasks, (worker_id,))]
            back = [
                plan.handed_back_row(task, now_us)
                for task in tasks
                if not task.lost and task.spec.retry_policy.maximum_attempts != 1
            ]
            db.write_many(statements().commit_tasks.retry, back)
            # What may begin only once may have begun, its report under way: its attempt is over.
            db.write(self._sql.lose_tasks, (now_us, worker_id))
            db.write(self._sql.free_runs, (worker_id,))
            db.write(self._sql.release_worker, (worker_id,))
            db.add_pulse()
        self._renewals.end(worker_id)
        sign = self._signs.pop(worker_id, None)
        if sign is not None:
            sign.remove()

    def _rows(self) -> list[WorkerRow]:
        return [WorkerRow(*row) for row in self._db.read(self._sql.workers)]

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
        db, now_us = self._db, self._host.now_us()
        with db.writing():
            if not db.write(self._sql.declare_dead, (now_us, row.worker_id, row.renewed_us)):
                return False
            db.write(statements().own.bereave_runs, (now_us, row.worker_id))
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
            self._db.write_alone(self._sql.forget_dead, (before_us,))
        if self._sweeps % REPLIES_SWEPT_EVERY == 1:
            self._db.write_alone(self._sql.forget_replies, (now_us,))


def _taken_id(worker: WorkerInfo) -> ValueError:
    return ValueError(f"worker id {worker.worker_id} is taken: every start of a worker needs a new id")
