"""`durable check`: what it prints, what it exits with, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from durable.check import RULES
from tests.cli.processes import Shell

FAULTY = """\
import random, time
from durable import workflow

@workflow.defn
async def dice() -> float:
    return random.random() + time.time()
"""


@pytest.fixture
def faulty(shell: Shell) -> None:
    (shell.directory / "pkg" / ".venv").mkdir(parents=True)
    for place in ("pkg", "pkg/.venv"):
        (shell.directory / place / "faulty.py").write_text(FAULTY)


@pytest.mark.usefixtures("faulty")
def test_findings_are_told_by_place_and_rule_with_what_to_do_instead(command: Callable[..., Result]) -> None:
    ended = command("check", "pkg", "flows.py")

    assert ended.exit_code == 1
    assert ended.stdout.splitlines() == [
        "pkg/faulty.py:6:12: DUR103 random.random() draws chance, in code of workflow dice: use workflow.random()",
        "pkg/faulty.py:6:30: DUR101 time.time() reads the clock, in code of workflow dice: "
        "use workflow.now() or workflow.time()",
    ]
    assert ended.stderr == "2 found in 2 files\n"


@pytest.mark.usefixtures("faulty")
def test_findings_are_told_as_json(command: Callable[..., Result]) -> None:
    ended = command("check", "pkg/faulty.py", "--format", "json", "--select", "DUR101")

    assert ended.exit_code == 1
    assert json.loads(ended.stdout) == [
        {
            "path": "pkg/faulty.py",
            "line": 6,
            "column": 30,
            "rule": "DUR101",
            "what": "time.time()",
            "workflow": "dice",
            "name": "clock",
            "sentence": "time.time() reads the clock, in code of workflow dice: use workflow.now() or workflow.time()",
        }
    ]


@pytest.mark.usefixtures("faulty")
def test_rules_are_selected_and_ignored_by_their_beginnings(command: Callable[..., Result]) -> None:
    assert command("check", "pkg", "--select", "DUR2,DUR3").exit_code == 0
    assert command("check", "pkg", "--ignore", "DUR101", "--ignore", "DUR103").exit_code == 0
    assert "DUR101" not in command("check", "pkg", "--ignore", "dur101").stdout


@pytest.mark.parametrize(
    "beginning",
    [b"\xef\xbb\xbf", b"# -*- coding: latin-1 -*-\n# \xe4\n", b"# \xc3\xa4\r\n"],
    ids=["byte order mark", "latin-1", "crlf"],
)
def test_a_file_is_read_in_the_encoding_that_python_reads_it_in(
    command: Callable[..., Result], shell: Shell, beginning: bytes
) -> None:
    (shell.directory / "faulty.py").write_bytes(beginning + FAULTY.encode())

    ended = command("check", "faulty.py")

    assert (ended.exit_code, ended.stderr) == (1, "2 found in 1 files\n")


@pytest.mark.usefixtures("faulty")
def test_a_file_that_can_not_be_read_is_told_and_the_others_are_checked(
    command: Callable[..., Result], shell: Shell
) -> None:
    for name, source in {"broken": b"def f(:", "odd": b"# \xe4", "hex": b"# coding: hex", "deep": b"-" * 9000}.items():
        (shell.directory / "pkg" / f"{name}.py").write_bytes(source)

    told, told_as_json = command("check", "pkg"), command("check", "pkg", "--format", "json")

    assert (told.exit_code, told_as_json.exit_code) == (2, 2)
    assert len(told.stdout.splitlines()) == len(json.loads(told_as_json.stdout)) == 2
    assert told.stderr.startswith("2 found in 1 files\n")
    for ended in (told, told_as_json):
        lines = [line for line in ended.stderr.splitlines() if line.startswith("not checked: ")]
        assert sorted(line.split()[2] for line in lines) == [
            f"pkg/{name}.py" for name in ("broken", "deep", "hex", "odd")
        ]


@pytest.mark.usefixtures("faulty")
def test_what_is_named_as_python_but_is_no_file_is_passed_by(command: Callable[..., Result], shell: Shell) -> None:
    (shell.directory / "pkg" / "loop.py").symlink_to("loop.py")
    (shell.directory / "pkg" / "directory.py").mkdir()

    ended = command("check", "pkg")

    assert (ended.exit_code, ended.stderr) == (1, "2 found in 1 files\n")


def test_a_program_without_faults_is_fine(command: Callable[..., Result]) -> None:
    ended = command("check", ".")

    assert (ended.exit_code, ended.stdout, ended.stderr) == (0, "", "nothing found in 1 files\n")


def test_the_rules_are_listed(command: Callable[..., Result]) -> None:
    lines = command("check", "--rules").stdout.splitlines()

    assert [line.split()[0] for line in lines] == list(RULES)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name the files or directories"),
        (["nowhere"], "there is no nowhere"),
        ([".", "--select", "DUR9"], "there is no rule DUR9"),
        (["broken.py"], "broken.py"),
        (["latin.py"], "latin.py can't be read"),
    ],
)
def test_what_can_not_be_checked_is_wrong_usage(
    command: Callable[..., Result], shell: Shell, words: list[str], told: str
) -> None:
    (shell.directory / "broken.py").write_text("def f(:")
    (shell.directory / "latin.py").write_bytes(b"# \xe4")
    ended = command("check", *words)

    assert ended.exit_code == 2 and told in " ".join(ended.stderr.split()), ended.stderr
