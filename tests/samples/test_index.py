"""samples/README.md lists every sample with its lesson."""

from __future__ import annotations

import ast
import re

import pytest

from tests.samples.conftest import SAMPLES

ROW = re.compile(r"^\| \[(\w+)\.py\]\(\1\.py\) \| (.*) \|$", re.MULTILINE)
PARTS_OF_ANOTHER = {"shop", "demo_audit", "demo_postgres", "demo_report", "demo_worker"}

listed = dict(ROW.findall((SAMPLES / "README.md").read_text()))


def test_every_sample_is_listed_and_nothing_else() -> None:
    assert set(listed) == {path.stem for path in SAMPLES.glob("*.py")} - PARTS_OF_ANOTHER


@pytest.mark.parametrize("name", listed)
def test_the_list_says_what_the_sample_says(name: str) -> None:
    lesson = ast.get_docstring(ast.parse((SAMPLES / f"{name}.py").read_text()))

    assert lesson is not None and listed[name] == lesson.splitlines()[0]
