"""What the operating system tells about files: who has them locked, and who that is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


class Lock(NamedTuple):
    """A lock on bytes ``first`` to ``last`` (None: to the end); ``waits``: it is wanted, and not there yet."""

    kind: str
    exclusive: bool
    pid: int
    first: int
    last: int | None
    waits: bool

    def covers(self, byte: int) -> bool:
        return self.first <= byte and (self.last is None or byte <= self.last)


class Process(NamedTuple):
    name: str
    stopped: bool


def locks(path: Path) -> list[Lock] | None:
    """The locks on a file; None where the system does not tell."""
    try:
        told, file = (PROC / "locks").read_text(), path.stat()
    except OSError:
        return None
    return locks_in(told, (os.major(file.st_dev), os.minor(file.st_dev), file.st_ino))


def locks_in(told: str, file: tuple[int, int, int]) -> list[Lock]:
    """The same from the text of /proc/locks; a file is its device's numbers and its inode."""
    found: list[Lock] = []
    for line in told.splitlines():
        words = line.split()[1:]
        waits = words[:1] == ["->"]
        kind, _, mode, pid, where, first, last = words[1:] if waits else words
        major, minor, inode = where.split(":")
        if (int(major, 16), int(minor, 16), int(inode)) == file:
            end = None if last == "EOF" else int(last)
            found.append(Lock(kind, mode == "WRITE", int(pid), int(first), end, waits))
    return found


def process(pid: int) -> Process:
    """Who that is, as far as it can be seen from here."""
    try:
        facts = dict(
            line.split(":\t", 1) for line in (PROC / f"{pid}/status").read_text().splitlines() if ":\t" in line
        )
    except OSError:
        return Process("unknown", stopped=False)
    return Process(facts["Name"], facts["State"][0] in "Tt")
