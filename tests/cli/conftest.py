"""A directory with the definitions in it, and the command in that directory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.processes import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shutil.copy(Path(__file__).with_name("flows.py"), tmp_path / "flows.py")
    return Shell(tmp_path)
