"""Imports for types, and annotations."""

# ruff: noqa
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    import subprocess
    from pathlib import Path

from durable import activity, workflow


@workflow.defn
async def echo(path: Path, ended: subprocess.CompletedProcess[str] | None = None) -> str:
    lock: threading.Lock | None = None
    return f"{path} {ended} {lock}"
