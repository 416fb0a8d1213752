"""Runs Python as a user would, in a fork of a process that has loaded the library, pytest and the command line.

What a process loads takes it longer than most of what is asked of it here.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.forkserver import processes

PATIENCE_S = 50.0


def run(
    *arguments: str, directory: Path, environment: Mapping[str, str] = os.environ, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """``python ARGUMENTS``, where these are ``-m MODULE …`` or ``SCRIPT …``; ``typed`` is its stdin. It is killed when
    it does not end."""
    with tempfile.TemporaryDirectory() as beside:
        streams = [Path(beside, name) for name in ("stdin", "stdout", "stderr")]
        streams[0].write_text(typed)
        process = processes.Process(target=_run, args=(arguments, directory, dict(environment), streams))
        process.start()
        process.join(PATIENCE_S)
        if process.is_alive():
            process.kill()
            process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(
            arguments, process.exitcode, streams[1].read_text(), streams[2].read_text() if streams[2].exists() else ""
        )


def _run(arguments: tuple[str, ...], directory: Path, environment: dict[str, str], streams: list[Path]) -> None:
    for number, stream in enumerate(streams):
        opened = os.open(stream, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # multiprocessing has closed the one there was
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    if arguments[0] == "-m":
        sys.argv[:] = arguments[1:]
        sys.path.insert(0, str(directory))
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        script = Path(directory, arguments[0])
        sys.argv[:] = [str(script), *arguments[1:]]
        sys.path.insert(0, str(script.parent))
        runpy.run_path(str(script), run_name="__main__")
