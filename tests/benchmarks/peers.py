"""Peers that install from PyPI, each in a virtual environment of its own in a cache: only DBOS is there.

Absurd's package on PyPI has no SQL of its tables, Restate is a server, and Prefect is another class of speed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import msgspec

from tests.benchmarks.child import Figures, empty, run
from tests.benchmarks.figures import Sizes
from tests.benchmarks.server import Databases

DBOS = "3.4.0"
NAMES = ("W1", "W2", "W3", "W4")


def installed() -> str:
    """Make the environment, unless it is there; what is in it."""
    python = _python()
    if not (python.parent.parent / "complete").exists():
        print(f"DBOS {DBOS} is installed from PyPI in {python.parent.parent}", file=sys.stderr, flush=True)
        venv.create(python.parent.parent, with_pip=True, clear=True)
        pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        subprocess.run((*pip, f"dbos=={DBOS}", f"msgspec=={msgspec.__version__}"), check=True)
        (python.parent.parent / "complete").touch()
    return f"DBOS {DBOS}"


def _python() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return cache / "durable-benchmarks" / f"dbos-{DBOS}-python-{version}" / "bin" / "python"


def measure(name: str, sizes: Sizes, directory: Path, databases: Databases | None) -> Figures:
    """One benchmark of DBOS in a process of its own, on a new database. Raises `child.Failed`."""
    with empty(directory, databases) as url:
        said = run(
            f"DBOS {name}",
            (str(_python()), "-m", "tests.benchmarks.peer_dbos", name, msgspec.json.encode(sizes).decode(), url),
        )
    return msgspec.json.decode(said.splitlines()[-1], type=Figures)
