"""A process's sign of life: a file per worker, locked for as long as the process lives.

The operating system drops the lock when the process ends, however it ends; so whoever gets the lock knows.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: only the lease tells
    fcntl = None  # type: ignore[assignment]


class Sign:
    """The sign of one worker of this process."""

    def __init__(self, directory: Path, worker_id: str) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        self._path = directory / worker_id
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if fcntl is not None:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _held.add(self)

    def close(self) -> None:
        """From now on others see that the worker is gone."""
        _held.discard(self)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
        self.close()


_held: weakref.WeakSet[Sign] = weakref.WeakSet()


def _let_go_in_child() -> None:
    for sign in list(_held):
        sign.close()


# A forked child shares the lock: its parent would seem alive for as long as the child lives.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)


def is_gone(directory: Path, worker_id: str) -> bool:
    """Has the process of this worker ended? False too when nothing tells."""
    if fcntl is None:
        return False
    try:
        fd = os.open(f"{directory}{os.sep}{worker_id}", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


def forget(directory: Path, worker_id: str) -> None:
    """Remove the sign of a worker that is dead."""
    (directory / worker_id).unlink(missing_ok=True)
