"""The thread of a sync attempt, in which cancelling raises an exception."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from durable.exceptions import CancelledError


class AttemptThread:
    """A sync attempt's thread, in which a cancelled attempt gets an exception unless it is shielded."""

    def __init__(self, *, raises: bool) -> None:
        self._raises = raises
        self._lock = threading.Lock()
        self._thread_id: int | None = None
        self._shields = 0
        self._pending = False

    def run(self, call: Callable[[], Any]) -> Any:
        with self._lock:
            self._thread_id = threading.get_ident()
            if self._pending:
                raise CancelledError("Cancelled")
        try:
            return call()
        finally:
            with self._lock:
                self._thread_id = None

    def cancel(self) -> None:
        with self._lock:
            if not self._raises:
                return
            if self._thread_id is None or self._shields:
                self._pending = True
                return
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._thread_id), ctypes.py_object(CancelledError)
            )

    @contextmanager
    def shield(self) -> Generator[None]:
        with self._lock:
            self._shields += 1
        try:
            yield
        finally:
            with self._lock:
                self._shields -= 1
                pending = self._pending and not self._shields
                self._pending = self._pending and not pending
            if pending:
                raise CancelledError("Cancelled")
