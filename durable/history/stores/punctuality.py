"""Pure: whose lease has run out, and who is punctual enough to say so of others."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

from durable.history.stores.sql import WorkerRow
from durable.history.transition import WorkerInfo


def is_late(row: WorkerRow, now_us: int) -> bool:
    """Has its lease run out? It may be the reader's own fault: see `Renewals`."""
    return row.renewed_us + row.lease_us < now_us


class Renewals:
    """When the workers of this process renewed their leases."""

    def __init__(self) -> None:
        self._times: dict[str, deque[int]] = {}

    def begin(self, worker_id: str, now_us: int) -> None:
        self._times[worker_id] = deque([now_us], maxlen=2)

    def end(self, worker_id: str) -> None:
        self._times.pop(worker_id, None)

    def are_on_time(self, worker: WorkerInfo, now_us: int) -> bool:
        """Were the last two renewals of this worker, the one of now among them, on time?"""
        past = self._times.setdefault(worker.worker_id, deque(maxlen=2))
        times = [*past, now_us]
        past.append(now_us)
        gaps = [later - earlier for earlier, later in pairwise(times)]
        return len(gaps) == 2 and all(0 <= gap <= worker.lease_us // 2 for gap in gaps)
