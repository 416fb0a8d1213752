"""The index of the rules names tests that exist, and every rule."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parent.parent


def test_the_index_names_every_rule_and_tests_that_exist() -> None:
    rows = re.findall(r"^\| (\d+\.\d+) \|.*\| ([^|]*)\|$", (HERE / "README.md").read_text(), re.MULTILINE)
    assert [rule for rule, _ in rows] == [
        *(f"0.{number}" for number in range(1, 17)),
        *(f"13.{number}" for number in range(1, 16)),
    ]
    for rule, held_by in rows:
        assert held_by.strip(), f"nothing holds rule {rule}"
        for place in held_by.split(";"):
            for file in re.findall(r"`(\S+\.py)`", place):
                source = (TESTS / file).read_text()
                for name in re.findall(r"\btest_\w+\b(?!\.py)", place):
                    assert f"def {name}(" in source, f"{file} has no {name}"
