"""What a worker shares with the processes that run its sync activities: events to them, heartbeats from them."""

from __future__ import annotations

import asyncio
import logging
import pickle
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor
from multiprocessing.managers import SyncManager
from typing import Any

logger = logging.getLogger("durable.worker")

HEARTBEATS_MAX = 1000
"""So many heartbeats wait for the worker; whoever sends one more waits until it has taken one."""
LOOK_INTERVAL = 1.0

Heartbeat = Callable[..., None]


class SharedHeartbeatSender(ABC):
    """Sends heartbeats to the worker from another process. It can be pickled."""

    @abstractmethod
    def send_heartbeat(self, task_token: bytes, *details: Any) -> None:
        """Hand over a heartbeat of the attempt with this token; ``details`` must be picklable."""


class SharedStateManager(ABC):
    """Shares a worker's state with processes: `Worker` needs one when its ``activity_executor`` has no threads.

    `create_from_multiprocessing` makes one; subclass it for executors of another kind.
    """

    @staticmethod
    def create_from_multiprocessing(
        mgr: SyncManager, queue_poller_executor: Executor | None = None
    ) -> SharedStateManager:
        """One on a ``multiprocessing.Manager()``, which is yours to shut down, after the worker.

        Heartbeats are taken in by one thread while process activities are under way: of ``queue_poller_executor``, a
        ThreadPoolExecutor, else one of its own.
        """
        return _MultiprocessingSharedStateManager(mgr, queue_poller_executor)

    @abstractmethod
    def new_event(self) -> threading.Event:
        """An event that is the same in all processes. Called in a thread; it may block."""

    @abstractmethod
    async def register_heartbeater(self, task_token: bytes, heartbeat: Heartbeat) -> SharedHeartbeatSender:
        """Call ``heartbeat(*details)``, in whichever thread, for what the sender is told under this token."""

    @abstractmethod
    async def unregister_heartbeater(self, task_token: bytes) -> None:
        """Stop that, once every heartbeat that was sent before is delivered."""


class _Sender(SharedHeartbeatSender):
    def __init__(self, heartbeats: queue.Queue[Any]) -> None:
        self._heartbeats = heartbeats

    def send_heartbeat(self, task_token: bytes, *details: Any) -> None:
        # As bytes, for neither the manager's process nor the loop that takes them in need know their types.
        self._heartbeats.put((task_token, pickle.dumps(details)))


class _MultiprocessingSharedStateManager(SharedStateManager):
    """One queue for the heartbeats of all attempts. The end of an attempt goes through the queue as well, as a token
    without details, so that it is noticed after the heartbeats that were sent before it."""

    def __init__(self, mgr: SyncManager, executor: Executor | None) -> None:
        self._mgr = mgr
        self._heartbeats: queue.Queue[Any] = mgr.Queue(HEARTBEATS_MAX)
        self._sender = _Sender(self._heartbeats)
        self._executor = executor
        self._lock = threading.Lock()
        self._heartbeaters: dict[bytes, Heartbeat] = {}
        self._ends: dict[bytes, Callable[[], object]] = {}
        self._polling = False

    def new_event(self) -> threading.Event:
        return self._mgr.Event()

    async def register_heartbeater(self, task_token: bytes, heartbeat: Heartbeat) -> SharedHeartbeatSender:
        with self._lock:
            self._heartbeaters[task_token] = heartbeat
            begins, self._polling = not self._polling, True
        if begins and self._executor is not None:
            self._executor.submit(self._poll)
        elif begins:
            threading.Thread(target=self._poll, name="durable-heartbeats", daemon=True).start()
        return self._sender

    async def unregister_heartbeater(self, task_token: bytes) -> None:
        loop = asyncio.get_running_loop()
        delivered = asyncio.Event()
        with self._lock:
            if task_token not in self._heartbeaters:
                return
            self._ends[task_token] = lambda: loop.call_soon_threadsafe(delivered.set)
        try:
            await asyncio.to_thread(self._heartbeats.put, (task_token, None))
        except (EOFError, OSError) as error:
            self._give_up(error)
        await delivered.wait()

    def _poll(self) -> None:
        """Deliver heartbeats while an attempt is registered."""
        try:
            while self._take_in():
                pass
        except (EOFError, OSError) as error:
            self._give_up(error)

    def _take_in(self) -> bool:
        """The next heartbeat or end, if one comes soon. Is there an attempt left to wait for?"""
        try:
            found = self._heartbeats.get(timeout=LOOK_INTERVAL)
        except queue.Empty:
            return True
        if found is None:  # what a manager says that is just ending, to whatever it is asked
            raise EOFError("the manager of shared state is ending")
        token, details = found
        if details is None:
            return self._end(token)
        with self._lock:
            heartbeat = self._heartbeaters.get(token)
        if heartbeat is None:
            return True  # it is late, and belongs to nobody
        try:
            heartbeat(*pickle.loads(details))
        except Exception:  # of one attempt: the others are to be heard
            logger.exception("a heartbeat of a process activity could not be taken in")
        return True

    def _end(self, token: bytes) -> bool:
        with self._lock:
            self._heartbeaters.pop(token, None)
            end = self._ends.pop(token, None)
            self._polling = bool(self._heartbeaters)
            goes_on = self._polling
        if end is not None:
            end()
        return goes_on

    def _give_up(self, error: Exception) -> None:
        """The manager's process is gone: no heartbeat comes any more, and nobody is to wait for one."""
        with self._lock:
            ends, self._ends = list(self._ends.values()), {}
            any_waits = bool(self._heartbeaters)
            self._heartbeaters.clear()
            self._polling = False
        if any_waits:
            logger.error(
                "the multiprocessing manager of shared_state_manager is gone, so process activities can't be heard: "
                "keep it until the worker has stopped, and make a new worker with a new one (%r)",
                error,
            )
        for end in ends:
            end()
