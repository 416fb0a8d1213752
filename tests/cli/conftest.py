"""A directory with the definitions in it, and the command in that directory."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from durable.cli.commands import app
from tests.cli.databases import empty as empty
from tests.cli.databases import empty_postgres as empty_postgres
from tests.cli.processes import Shell
from tests.short import is_short


@pytest.fixture
def shell(tmp_path: Path, request: pytest.FixtureRequest) -> Shell:
    shutil.copy(Path(__file__).with_name("flows.py"), tmp_path / "flows.py")
    return Shell(tmp_path, forks=is_short(request.config))


@pytest.fixture
def command(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The whole command inside this process, in the directory of ``shell``: for the many ways to be refused."""
    monkeypatch.chdir(shell.directory)
    monkeypatch.delenv("DURABLE_ADDRESS", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return lambda *args: CliRunner().invoke(app, args)
