"""What holds for every file of the house."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = sorted((ROOT / "durable").rglob("*.py"))
PYTHON = PACKAGE + sorted(path for room in ("tests", "samples") for path in (ROOT / room).rglob("*.py"))
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError\(?\)?\s*$", re.MULTILINE)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PACKAGE, ids=name)
def test_a_files_first_line_says_its_one_job(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))

    assert docstring, f"{name(path)} has no docstring"
    assert docstring.splitlines()[0].endswith((".", ":", "?")), f"{name(path)}: the first line is no sentence"


@pytest.mark.parametrize("path", [path for path in PYTHON if path != Path(__file__).resolve()], ids=name)
def test_nothing_is_left_unfinished(path: Path) -> None:
    assert not UNFINISHED.findall(path.read_text())


def test_the_ground_floor_loads_without_the_floors_above() -> None:
    """A read of the import graph can't see what `__init__` files pull in; a fresh interpreter can."""
    code = "import sys, durable.history.rules; print('\\n'.join(sys.modules))"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout

    ours = {module for module in loaded.split() if module.startswith("durable.")}
    assert {module for module in ours if not module.startswith("durable.history")} == set()
    assert not {"sqlalchemy", "sqlite3", "aiosqlite", "alembic", "pydantic"} & set(loaded.split())
