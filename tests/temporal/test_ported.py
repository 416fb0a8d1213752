"""A program written for Temporal runs with its imports changed: its worker and its starter, on the default database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("ported.py")


def test_worker_and_starter_meet_at_their_default_address(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TEMPORAL_", "DURABLE_"))}
    environment |= {"PYTHONPATH": str(PROGRAM.parents[2]), "XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    command = [sys.executable, str(PROGRAM)]
    with subprocess.Popen(
        [*command, "worker"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stdout is not None and worker.stdin is not None
        assert worker.stdout.readline() == "ready\n"
        started = subprocess.run(
            [*command, "starter"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        _, log = worker.communicate()
    assert started.stdout == "False Hello, World!\n"
    assert (tmp_path / "durable.db").exists()
    assert "this program uses the default database" in started.stderr
    assert "saying hello to World ({'attempt': 1, 'namespace': 'default'" in log and "composing for World (" in log
    assert worker.returncode == 0
