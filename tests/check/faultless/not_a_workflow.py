"""A class that has nothing to do with workflows, and a name that one has."""

# ruff: noqa
import random
import threading

from durable import activity, workflow


class Pool:
    _lock = threading.Lock()
    free: list[int] = []

    def take(self) -> int:
        with self._lock:
            self.free.append(random.randint(1, 6))
            return self.free.pop()


@workflow.defn
async def take(pool: list[int]) -> int:
    return pool.pop()
