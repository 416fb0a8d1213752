"""`durable check` on workflows with one fault each, and on workflows that come near one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from durable.check import RULES, Finding, check

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FAULTY = sorted((HERE / "faulty").glob("*.py"))
FAULTLESS = sorted((HERE / "faultless").glob("*.py"))
EXPECTED = re.compile(r"# (DUR\d+)$")


def sources(paths: list[Path]) -> dict[str, str]:
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths}


def expected(path: Path) -> list[tuple[str, int, str]]:
    lines = enumerate(path.read_text().splitlines(), 1)
    name = str(path.relative_to(ROOT))
    return [(name, number, match[1]) for number, line in lines if (match := EXPECTED.search(line))]


def places(findings: list[Finding]) -> list[tuple[str, int, str]]:
    return [(each.path, each.line, each.rule) for each in findings]


found = places(check(sources(FAULTY)))


@pytest.mark.parametrize("path", FAULTY, ids=lambda path: path.stem)
def test_a_fault_is_found_on_its_line_and_nothing_else(path: Path) -> None:
    assert [each for each in found if each[0] == str(path.relative_to(ROOT))] == expected(path)


@pytest.mark.parametrize("path", FAULTLESS, ids=lambda path: path.stem)
def test_a_near_miss_is_no_finding(path: Path) -> None:
    assert check(sources([path])) == []


def test_there_is_a_faulty_workflow_for_each_rule() -> None:
    assert {rule for _, _, rule in found} == set(RULES)


def test_the_samples_are_faultless() -> None:
    assert check(sources(sorted((ROOT / "samples").glob("*.py")))) == []


def test_near_misses_are_none_together() -> None:
    assert check(sources(FAULTLESS)) == []


def test_the_sets_are_as_large_as_promised() -> None:
    assert len(FAULTY) - 1 >= 30  # one is what another imports
    assert len(FAULTLESS) >= 30
