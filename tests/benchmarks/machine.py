"""What it ran on: machine, versions, and how fast the disk syncs."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3
import tempfile
import time
from pathlib import Path

SYNCS = 100
PACKAGES = ("msgspec", "pydantic-core", "sqlalchemy")


def description(directory: Path) -> dict[str, str]:
    """Facts by name; ``directory`` is where the databases are."""
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in PACKAGES)
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB, {platform.platform()}",
        "load before": f"{load} (1, 5 and 15 minutes; figures of a busy machine are worth less)",
        "disk": f"{_syncs_per_s(directory):,.0f} fdatasync/s",
        "python": f"{platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "packages": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def _syncs_per_s(directory: Path) -> float:
    sync = getattr(os, "fdatasync", os.fsync)
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        began = time.perf_counter()
        for _ in range(SYNCS):
            file.write(b"\0" * 4096)
            file.flush()
            sync(file.fileno())
        return SYNCS / (time.perf_counter() - began)
